"""A request as handlers see it: names from the path, query parameters by type, the body.

Query parameters follow dockerd's rules, which are lenient where Go's are: a flag is on unless it is empty, 0, no, false
or none. Numbers are bounded before they are used, because Python's integers are not.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from minidock.api import body, filters
from minidock.api.errors import ProtocolError
from minidock.api.hijack import Hijacked
from minidock.api.response import JSON, ClientGone, Stream
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_OFF = ("", "0", "no", "false", "none")
JSON_SECONDS = 60
STALL_SECONDS = 120


class Exchange(Protocol):
    """What a request needs of the connection it came by."""

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end."""

    def stream(self, content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        """Begins a streamed response; nothing is sent until the stream is opened or written to."""

    def follow(self) -> None:
        """Makes the client's hanging up cancel the handler."""

    def hijack(self, upgrade: bool, version: tuple[int, int]) -> Hijacked:
        """The connection, ready to be given away."""


def decode(text: str) -> str:
    """Undoes %-escapes. Raises InvalidArgument for what is no escape, no UTF-8, or a control character."""
    if "%" in text:
        if _BAD_ESCAPE.search(text):
            raise InvalidArgument(f"invalid escape in {text!r}")
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidArgument(f"{text!r} is not UTF-8") from None
    if not text.isprintable() and any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise InvalidArgument(f"a control character in {text!r}")
    return text


def parse_query(text: str) -> dict[str, list[str]]:
    """``a=1&b=2&a=3`` → {"a": ["1", "3"], "b": ["2"]}. Control characters in values are kept: a label may have them."""
    found: dict[str, list[str]] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.replace("+", " ").partition("=")
        if _BAD_ESCAPE.search(part):
            raise InvalidArgument(f"invalid escape in the query: {part!r}")
        try:
            key = unquote_to_bytes(name).decode("utf-8")
            found.setdefault(key, []).append(unquote_to_bytes(value).decode("utf-8"))
        except UnicodeDecodeError:
            raise InvalidArgument(f"the query is not UTF-8: {part!r}") from None
    return found


class Request:
    """One request. ``name`` is what the route's placeholder stood for, ``version`` the API version of the path."""

    __slots__ = ("_exchange", "_query", "headers", "method", "name", "path", "query_text", "version")

    def __init__(self, exchange: Exchange, method: str, path: str, query: str, headers: Mapping[bytes, bytes]) -> None:
        self._exchange = exchange
        self.query_text = query
        self._query: dict[str, list[str]] | None = None
        self.method = method
        self.path = path
        self.headers = headers
        self.name = ""
        self.version = (1, 45)

    @property
    def query(self) -> dict[str, list[str]]:
        """All parameters."""
        if self._query is None:
            self._query = parse_query(self.query_text)
        return self._query

    def header(self, name: bytes) -> str:
        """A header's value, "" if it is not there. ``name`` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def text(self, key: str, default: str = "") -> str:
        """A parameter as it is. Raises InvalidArgument for a NUL."""
        values = self.query.get(key)
        if not values:
            return default
        if "\0" in values[0]:
            raise InvalidArgument(f"invalid {key}: a NUL in the text")
        return values[0]

    def flag(self, key: str, default: bool = False) -> bool:
        """A yes-or-no parameter."""
        return self.text(key).strip().lower() not in _OFF if key in self.query else default

    def integer(self, key: str, default: int | None = None) -> int | None:
        """A number; ``default`` if it is missing or empty. Raises InvalidArgument."""
        text = self.text(key)
        if not text:
            return default
        if not _INTEGER.fullmatch(text):
            raise InvalidArgument(f"invalid {key}: {text!r} is not a number")
        return int(text)

    def time(self, key: str) -> int:
        """A point in time as nanoseconds, 0 if it is missing. ``0`` itself means "from the beginning"."""
        text = self.text(key)
        return times.parse_query_time(text) if text and text != "0" else 0

    def filters(self, *allowed: str) -> filters.Filters:
        """The ``filters`` parameter; a key that is not among ``allowed`` is refused."""
        return filters.parse(self.text("filters"), frozenset(allowed))

    @property
    def has_body(self) -> bool:
        """Whether the client announced a body."""
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0").strip(b"0") != b""

    async def json(self) -> Any:
        """The body's JSON value. Raises InvalidArgument, for a body of another type and for an empty one too."""
        self._check_content_type()
        parts = bytearray()
        try:
            async with asyncio.timeout(JSON_SECONDS):
                while piece := await self._exchange.read():
                    parts += piece
                    if len(parts) > body.LIMIT:
                        break
        except TimeoutError:
            raise ProtocolError(408, f"the body did not arrive in {JSON_SECONDS} seconds") from None
        if not parts.strip():
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        return body.parse_json(bytes(parts))

    def _check_content_type(self) -> None:
        given = self.header(b"content-type")
        if given.partition(";")[0].strip().lower() != JSON and (given or self.has_body):
            raise InvalidArgument(f"unsupported Content-Type header ({given}): must be '{JSON}'")

    def reader(self) -> io.BufferedReader:
        """The body as a blocking file, for a thread: archives are read while they come in, not collected."""
        return io.BufferedReader(_BodyFile(self.piece), 1 << 18)

    async def piece(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises ClientGone if nothing comes for long."""
        try:
            async with asyncio.timeout(STALL_SECONDS):
                return await self._exchange.read()
        except TimeoutError:
            raise ClientGone(f"nothing of the body came for {STALL_SECONDS} seconds") from None

    def stream(self, content_type: str = JSON, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        """Begins a streamed response."""
        return self._exchange.stream(content_type, headers)

    def follow(self) -> None:
        """From here on the end of input means that nobody listens any more, and cancels the handler."""
        self._exchange.follow()

    def hijack(self) -> Hijacked:
        """The connection, to be given away."""
        return self._exchange.hijack(b"upgrade" in self.headers, self.version)


class _BodyFile(io.RawIOBase):
    """Reads pieces of a body on the event loop from a thread that waits for them."""

    def __init__(self, piece: Callable[[], Coroutine[Any, Any, bytes]]) -> None:
        self._piece = piece
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest and not self._ended:
            piece = asyncio.run_coroutine_threadsafe(self._piece(), self._loop).result()
            self._rest, self._ended = memoryview(piece), not piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
