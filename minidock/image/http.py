"""HTTP as a registry needs it, on urllib3: one request at a time, redirects and time limits in our own hands.

Credentials go to the host that asked for them and to nobody else: a redirect (to a storage server, usually) is
followed here, without the Authorization header as soon as scheme, host or port differ, and never from https to http
(CVE-2020-15157; urllib.request still gets the first wrong, cpython issue 77842). Bodies are read as they come: what
stands still or only drips is given up after a bounded time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3

from minidock.wire.errors import ServerError
from minidock.wire.version import VERSION

CHUNK = 256 << 10
SMALL = 64 << 10
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)

Response = urllib3.BaseHTTPResponse
# A body to be sent: a function opens a file anew for each time.
Body = bytes | Callable[[], contextlib.AbstractContextManager[Any]] | None
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Timing:
    """Seconds and counts. The defaults are for the world; tests shorten them."""

    connect: float = 10
    read: float = 30  # without a byte
    window: float = 30  # in which at least ``window_bytes`` must come
    window_bytes: int = 16 << 10
    attempts: int = 5
    pause: float = 0.5  # before the second attempt, doubled for each one after it
    longest_pause: float = 20  # also where the registry says how long (Retry-After)


class Unreachable(ServerError):
    """No answer, or one that broke off: refused, timed out, no such host, TLS. Another attempt or way may do."""


class Transport:
    """Connections to one registry and to where it redirects."""

    def __init__(self, verify: bool, timing: Timing) -> None:
        self._timing = timing
        if not verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the list of registries says so
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=4,
            blocksize=CHUNK,
            retries=False,
            timeout=urllib3.Timeout(connect=timing.connect, read=timing.read),
            cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
            assert_hostname=None if verify else False,
            headers={"User-Agent": f"minidock/{VERSION}", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Closes all connections now; urllib3 itself would leave them to the garbage collector."""
        pools = self._pool.pools
        for pool in map(pools.get, pools.keys()):
            if pool is not None:
                pool.close()
        self._pool.clear()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str = "", body: Body = None
    ) -> Response:
        """The answer to a request, redirects followed; its body is still to be read. Raises Unreachable."""
        home = origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization and origin(url) == home else {}
            response = self._once(method, url, {**self._pool.headers, **headers, **own}, body)
            target = response.headers.get("Location")
            if response.status not in REDIRECTS or not target:
                return response
            self.discard(response)
            url = redirected(url, target)
        raise ServerError(f"reach {home[1]}: more than {MAX_REDIRECTS} redirects")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Response:
        try:
            with contextlib.ExitStack() as files:
                data = files.enter_context(body()) if callable(body) else body
                return self._pool.request(
                    method, url, headers=headers, body=data, redirect=False, preload_content=False, decode_content=False
                )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"reach {urlsplit(url).netloc}: {reason(error)}") from None
        except ValueError:
            raise ServerError("reach registry: it named an address that is no URL") from None

    def pieces(self, response: Response) -> Iterator[bytes]:
        """The body as it comes. Raises Unreachable if it stands still or breaks off."""
        timing = self._timing
        since, received = time.monotonic(), 0
        try:
            while piece := response.read1(CHUNK, decode_content=False):
                yield piece
                received += len(piece)
                if time.monotonic() - since > timing.window:
                    if received < timing.window_bytes:
                        raise Unreachable(f"download: only {received} bytes came in {timing.window:.0f} seconds")
                    since, received = time.monotonic(), 0
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"download: {reason(error)}") from None
        finally:
            response.close()

    def body(self, response: Response, limit: int, what: str) -> bytes:
        """The whole of a small body. Raises ServerError past ``limit``."""
        data = bytearray()
        for piece in self.pieces(response):
            data += piece
            if len(data) > limit:
                raise ServerError(f"read {what}: larger than {limit} bytes")
        return bytes(data)

    def discard(self, response: Response) -> None:
        """Done with an answer that nobody needs. A small body is read, so that the connection can be used again."""
        with contextlib.suppress(ServerError):
            self.body(response, SMALL, "answer")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials are bound to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def redirected(url: str, target: str) -> str:
    """Where a redirect leads. Raises ServerError for what must not be followed."""
    try:
        after = urljoin(url, target)
        before_scheme, (scheme, host, _) = origin(url)[0], origin(after)
    except ValueError:
        raise ServerError(f"reach {urlsplit(url).netloc}: redirect to something that is no URL") from None
    if scheme not in _DEFAULT_PORTS or not host or (before_scheme == "https" and scheme != "https"):
        raise ServerError(
            f"reach {urlsplit(url).netloc}: refused to follow its redirect from {before_scheme} to {scheme}"
        )
    return after


def reason(error: BaseException) -> str:
    """Why a connection failed, in a few words: the system's own, where there are any."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({(cause.reason or str(cause)).lower().replace('_', ' ')})"
        if isinstance(cause, socket.gaierror):
            return f"the name can't be resolved ({(cause.strerror or 'no answer').lower()})"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    if any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in _causes(error)):
        return "timed out"
    return "the connection broke off" if isinstance(error, urllib3.exceptions.ProtocolError) else str(error)[:200]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those behind it; urllib3 keeps some of them as arguments."""
    while error is not None:
        yield error
        inner = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], BaseException) else None
        error = error.__cause__ or inner or error.__context__
