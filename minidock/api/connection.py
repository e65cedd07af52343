"""One client's connection: requests in, answers out, until one of the two sides has had enough.

h11 parses and frames what comes in; this module owns the socket, because a hijacked one is given away whole, and
because the rules around HTTP are decided here: what is refused before h11 sees it (two body lengths, bare line feeds,
heads over 64 KiB), how long a started request may take to arrive, that a client waits for ``100 Continue``, and that
the end of input means "cancel" on requests that follow something, but not on those that change something.

An idle connection has no time limit: Go's clients pool them, and one closed under them fails their next POST.
See: RFC 9112; h11's documentation, "Flow control" and "Switching protocols".
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from typing import TYPE_CHECKING

import h11

from minidock.api import errors, response
from minidock.api.errors import ProtocolError
from minidock.api.hijack import Hijacked
from minidock.api.request import Request
from minidock.api.response import Answer, ClientGone, Stream
from minidock.api.router import Router
from minidock.linux.hangup import HangUp

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

HEAD_LIMIT = 64 * 1024
HEAD_SECONDS = 30
DRAIN_LIMIT = 256 * 1024
DRAIN_SECONDS = 2
READ_SIZE = 256 * 1024

_LENGTHS = re.compile(rb"\r\ncontent-length[ \t]*:", re.IGNORECASE)
_LOCAL_HOSTS = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)

log = logging.getLogger("minidock.api")


class Connection:
    """Serves the requests of one socket. ``following`` says that the current one only watches, and may be cut short."""

    def __init__(self, engine: Engine, router: Router, sock: socket.socket, tls: bool = False) -> None:
        self._engine = engine
        self._tls = tls
        self._router = router
        self._sock: socket.socket | None = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._http = h11.Connection(h11.SERVER)
        self._body_ended = True
        self._reader: asyncio.Task[object] | None = None
        self._stream: Stream | None = None
        self._task: asyncio.Task[object] | None = None
        self._gone = False
        self._watch: HangUp | None = None
        self.idle = True
        self.following = False
        self.closing = False
        self.hijacked: socket.socket | None = None

    async def serve(self) -> None:
        """Until the connection ends, for whatever reason. Raises nothing but CancelledError."""
        self._task = asyncio.current_task()
        try:
            while not self.closing and await self._serve_one():
                pass
        except OSError as error:
            log.debug("connection: %s", error)
        except asyncio.CancelledError:
            if not self._gone and not self.closing:
                raise
        finally:
            self._close()

    def _close(self) -> None:
        if self._stream:
            self._stream.abort()
        if self._reader and self._reader is not self._task:
            self._reader.cancel()
        self._unwatch()
        sock, self._sock = self._sock, None
        if sock:
            self._loop.remove_reader(sock)
            sock.close()

    @property
    def _socket(self) -> socket.socket:
        if self._sock is None:
            raise ClientGone("the connection is closed")
        return self._sock

    # -- one request ------------------------------------------------------------------------------------------------

    async def _serve_one(self) -> bool:
        """One request and its answer. Returns whether another may follow."""
        self.idle = True
        try:
            head = await self._read_head()
            if head is None:
                return False
            self.idle = False
            request, close = self._parse(head)
        except ProtocolError as error:
            await self._refuse(error)
            return False
        started = time.monotonic()
        status = await self._answer(request, close)
        log.debug("%s %s %s %.1f ms", request.method, request.path, status, (time.monotonic() - started) * 1e3)
        if self._sock is None or close:
            return False
        return await self._skip_body()

    async def _answer(self, request: Request, close: bool) -> int:
        """Runs the handler and writes what it gives. Returns the status for the log."""
        try:
            answer = await self._handle(request)
        except ClientGone:
            raise
        except Exception as error:
            answer = errors.answer(error, f"{request.method} {request.path}")
            if self._sock is None or (self._stream and self._stream.opened):
                raise ClientGone(f"failed in the middle of the response: {error}") from error
        if self._stream and self._stream.opened:
            await self._stream.finish()
            self._stream = None
            return 200
        self._stream = None
        if answer is None:
            return 101
        must_close = close or self.closing or self._is_long(request)
        await self._loop.sock_sendall(self._socket, response.whole(answer, must_close, request.method == "HEAD"))
        return answer.status

    def _is_long(self, request: Request) -> bool:
        """Whether so much of the body is to come that the connection will not be read to its end."""
        announced = request.headers.get(b"content-length", b"0")
        return not self._body_ended and int(announced) > DRAIN_LIMIT

    async def _handle(self, request: Request) -> Answer | None:
        found = self._router.resolve(request)
        if isinstance(found, Answer):
            return found
        try:
            return await found.handler(self._engine, request)
        finally:
            if self.following:
                self.following = False
                self._unwatch()

    def follow(self) -> None:
        """From here on the request only watches: it is cancelled when the client hangs up or the daemon stops."""
        self.following = True
        if not self._watch:  # an early next request stays unread meanwhile
            self._watch = HangUp(self._socket, self._hung_up, half=True)

    def _unwatch(self) -> None:
        watch, self._watch = self._watch, None
        if watch:
            watch.close()

    def _hung_up(self) -> None:
        self._unwatch()
        self._gone = True
        if self._task:
            self._task.cancel()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _read_head(self) -> bytes | None:
        """The bytes of a request's head; what came behind it stays in the buffer. None if the client is done."""
        while not self._buffer:
            self._buffer = await self._loop.sock_recv(self._socket, READ_SIZE)
            if not self._buffer:
                return None
        end = self._head_end()
        if end < 0:
            self.idle = False
            try:
                async with asyncio.timeout(HEAD_SECONDS):
                    while end < 0:
                        data = await self._loop.sock_recv(self._socket, READ_SIZE)
                        if not data:
                            return None
                        self._buffer += data
                        end = self._head_end()
            except TimeoutError:
                raise ProtocolError(408, f"the request did not arrive in {HEAD_SECONDS} seconds") from None
        return self._buffer[:end]

    def _head_end(self) -> int:
        """Where the head ends, -1 if it is not all there. Raises ProtocolError as soon as it can't become one."""
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        head = self._buffer[: end + 4] if end >= 0 else self._buffer[:HEAD_LIMIT]
        if head.count(b"\n") != head.count(b"\r\n"):
            raise ProtocolError(400, "a line of the request ends without a carriage return")
        if end < 0 and len(self._buffer) >= HEAD_LIMIT:
            raise ProtocolError(431, f"the request's head is larger than {HEAD_LIMIT} bytes")
        if head[0] < 0x21:
            raise ProtocolError(400, "this is no HTTP; a TLS client must use a TLS port")
        return end + 4 if end >= 0 else -1

    def _parse(self, head: bytes) -> tuple[Request, bool]:
        """The request, and whether the connection ends with it. Raises ProtocolError."""
        if len(_LENGTHS.findall(head)) > 1:
            raise ProtocolError(400, "two Content-Length headers")
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * HEAD_LIMIT)
        self._body_ended = False
        data, self._buffer = self._buffer, b""
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise ProtocolError(error.error_status_hint, str(error).lower()) from None
        if not isinstance(event, h11.Request):
            raise ProtocolError(400, "this is no HTTP request")
        headers = dict(event.headers)
        if b"transfer-encoding" in headers and b"content-length" in headers:
            raise ProtocolError(400, "both Content-Length and Transfer-Encoding")
        self._check_origin(headers)
        path, _, query = _origin_form(event.target.decode("ascii")).partition("?")
        close = event.http_version < b"1.1" or b"close" in headers.get(b"connection", b"").lower()
        return Request(self, event.method.decode("ascii"), path, query, headers), close

    def _check_origin(self, headers: dict[bytes, bytes]) -> None:
        """On TCP a browser may be talked into speaking to us: it sends Origin, or a Host that is not ours.

        With TLS the daemon has whatever name its certificate says, and only a browser that has a certificate gets here.
        """
        over_tcp = self._socket.family != socket.AF_UNIX
        foreign = over_tcp and not _LOCAL_HOSTS.fullmatch(headers.get(b"host", b""))
        if foreign or (b"origin" in headers and (over_tcp or self._tls)):
            raise ProtocolError(403, "requests from browsers and for other hosts are refused")

    async def read(self) -> bytes:
        """The next piece of the current request's body, b"" at its end. Raises ClientGone, ProtocolError."""
        if self._body_ended:
            return b""
        self._reader = asyncio.current_task()
        try:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Data):
                    return bytes(event.data)
                if isinstance(event, h11.EndOfMessage):
                    self._body_ended = True
                    return b""
                await self._receive()
        except h11.RemoteProtocolError as error:
            self.closing = True
            raise ProtocolError(error.error_status_hint, str(error).lower()) from None
        finally:
            self._reader = None

    async def _receive(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            proceed = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._loop.sock_sendall(self._socket, proceed or b"")
        data = await self._loop.sock_recv(self._socket, READ_SIZE)
        if not data:
            self.closing = True
            raise ClientGone("the client hung up in the middle of the body")
        self._http.receive_data(data)

    async def _skip_body(self) -> bool:
        """Whether the next request can be told from what the handler left unread of this one."""
        skipped = 0
        if not self._body_ended and self._http.they_are_waiting_for_100_continue:
            return False
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._body_ended and skipped <= DRAIN_LIMIT:
                    skipped += len(await self.read())
        except (ProtocolError, TimeoutError):
            return False
        if not self._body_ended:
            await self._linger()
            return False
        self._buffer = self._http.trailing_data[0]
        return True

    async def _refuse(self, error: ProtocolError) -> None:
        answer = errors.message(error.status, str(error))
        await self._loop.sock_sendall(self._socket, response.whole(answer, True, False))
        await self._linger()

    async def _linger(self) -> None:
        """Lets a client that is still sending read our answer: closing at once would reset the connection under it."""
        self._socket.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self._loop.sock_recv(self._socket, READ_SIZE):
                    pass
        except TimeoutError:
            pass

    # -- what a request may ask of its connection ----------------------------------------------------------------------

    def stream(self, content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        """Begins a streamed response."""
        chunked = self._http.their_http_version != b"1.0"
        self._stream = Stream(self._socket, response.stream_head(content_type, chunked, headers), chunked)
        return self._stream

    def hijack(self, upgrade: bool, version: tuple[int, int]) -> Hijacked:
        """The connection, ready to be given away."""
        return Hijacked(self._socket, upgrade, version, self._release)

    def _release(self) -> bytes:
        """Forgets the socket. Returns the bytes that came behind the request."""
        sock = self._socket
        self._unwatch()
        self._loop.remove_reader(sock)
        self.hijacked, self._sock = sock, None
        return self._http.trailing_data[0]

    def interrupt(self) -> None:
        """The daemon is stopping: ends what is idle or only follows, lets the rest finish its request."""
        self.closing = True
        if self._task and (self.idle or self.following):
            self._task.cancel()


def _origin_form(target: str) -> str:
    """``http://docker/info`` → ``/info``: RFC 9112 3.2.2 wants proxies' form of a target accepted."""
    if target[:7].lower() == "http://":
        slash = target.find("/", 7)
        target = target[slash:] if slash > 0 else "/"
    if not target.startswith("/"):
        raise ProtocolError(400, "the request's target is no path")
    return target
