"""Answers: in one piece, or as a stream of unknown length.

Heads are written here and not by h11, which parses what we receive: what we send is ours to get right, and a hijacked
connection must leave HTTP at a point of our choosing. Every response carries Api-Version and Ostype, errors too,
because clients negotiate by them.

A ``Stream`` collects what is put into it during one turn of the event loop into one chunk and one system call, and
holds its producer up (``drain``) once a client has 64 KiB waiting: one that stops reading costs that much, no more.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minidock.wire.version import API_VERSION, VERSION

JSON = "application/json"
HIGH_WATER = 64 * 1024

COMMON = (
    f"Api-Version: {API_VERSION}\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
    f"Server: minidock/{VERSION} (linux)\r\n"
)
REASONS = {
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_WITHOUT_BODY = (204, 304)


class ClientGone(ConnectionError):
    """The client hung up in the middle; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def dump(value: Any) -> bytes:
    """JSON as dockerd writes it: compact, UTF-8, a newline at the end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def json_answer(value: Any, status: int = 200) -> Answer:
    """A JSON response."""
    return Answer(status, dump(value), JSON)


def head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """A status line and headers, with the blank line after them."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n{COMMON}{lines}\r\n".encode("latin-1")


def whole(answer: Answer, close: bool, without_body: bool) -> bytes:
    """An answer's bytes. ``without_body`` is for HEAD, whose Content-Length still tells the body's."""
    fields = [*answer.headers, ("Date", _date())]
    if answer.content_type:
        fields.append(("Content-Type", answer.content_type))
    if answer.status not in _WITHOUT_BODY:
        fields.append(("Content-Length", str(len(answer.body))))
    if close:
        fields.append(("Connection", "close"))
    body = b"" if without_body or answer.status in _WITHOUT_BODY else answer.body
    return head(answer.status, fields) + body


def stream_head(content_type: str, chunked: bool, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The head of a stream: chunked, or ended by the end of the connection for a client of HTTP/1.0."""
    end = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
    return head(200, (*headers, ("Content-Type", content_type), ("Date", _date()), end))


def _date() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


class Stream:
    """A response body that is written as it comes to be known."""

    def __init__(self, sock: socket.socket, first: bytes, chunked: bool) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._first = first
        self._chunked = chunked
        self._pending = bytearray()  # put, but not yet framed
        self._wire = bytearray()  # framed, but not yet taken by the kernel
        self._turn: asyncio.Handle | None = None
        self._writing = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: ClientGone | None = None
        self.opened = False

    def open(self) -> None:
        """Sends the head now, before there is anything to say."""
        self._begin()
        self._send()

    def put(self, data: bytes) -> None:
        """Queues data; it is sent at the end of this turn of the loop. Nothing is sent to a client that is gone."""
        self._begin()
        self._pending += data
        if self._turn is None and not self._writing:
            self._turn = self._loop.call_soon(self._send)

    @property
    def full(self) -> bool:
        """Whether the client is behind by so much that its producer should wait."""
        return len(self._pending) + len(self._wire) > HIGH_WATER

    async def drain(self) -> None:
        """Waits while the stream is full. Raises ClientGone."""
        if self.full:
            self._send()
            await asyncio.sleep(0)  # a producer that is never held up must not keep the loop from others
            await self._wait_below(HIGH_WATER)
        if self._error:
            raise self._error

    async def finish(self) -> None:
        """Sends what is left and the end mark."""
        self._begin()
        self._frame()
        if self._chunked:
            self._wire += b"0\r\n\r\n"
        self._send()
        await self._wait_below(0)
        if self._error:
            raise self._error

    def abort(self) -> None:
        """Forgets what is left; the connection is about to be closed."""
        self._fail("the stream was given up")

    async def _wait_below(self, limit: int) -> None:
        while not self._error and len(self._pending) + len(self._wire) > limit:
            self._waiter = self._loop.create_future()
            await self._waiter

    def _begin(self) -> None:
        if not self.opened:
            self.opened = True
            self._wire += self._first

    def _frame(self) -> None:
        if not self._pending:
            return
        self._wire += b"%x\r\n%b\r\n" % (len(self._pending), bytes(self._pending)) if self._chunked else self._pending
        self._pending.clear()

    def _send(self) -> None:
        """Gives the kernel what it takes. The rest goes when the socket is writable again."""
        if self._turn:
            self._turn.cancel()
            self._turn = None
        if self._error:
            self._pending.clear()
            return
        self._frame()
        try:
            sent = self._sock.send(self._wire) if self._wire else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._fail(str(error))
            return
        del self._wire[:sent]
        self._watch_writable(bool(self._wire))
        self._wake()

    def _watch_writable(self, wanted: bool) -> None:
        if wanted and not self._writing:
            self._loop.add_writer(self._sock, self._send)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._sock)
        self._writing = wanted

    def _fail(self, reason: str) -> None:
        self._error = ClientGone(reason)
        self._watch_writable(False)
        if self._turn:
            self._turn.cancel()
            self._turn = None
        self._pending.clear()
        self._wire.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None
