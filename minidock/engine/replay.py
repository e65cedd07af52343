"""Attach with ``logs``, where no monitor can do it: what the log has, and then what comes, without a gap or an echo.

Of a container that runs the monitor itself begins with the log (csrc/replay.h). Of one that does not, the daemon reads
the log to the client, which then waits for the start like any other. And should the start come while a slow client is
still being read to, the monitor gets one end of a pair of sockets in the client's place and begins with the log, too;
what the client has had of it is left out on the way through here. Both read the same files, which the monitor does not
rotate while somebody is behind.

Serves attach.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from minidock.engine.requests import LogEntry
from minidock.linux.hangup import HangUp
from minidock.wire import frames

_CHUNK = 1 << 16
_TAKING_SECONDS = 0.25

log = logging.getLogger(__name__)


class Replay:
    """Reads a log to a client. ``framed``: in frames, which a terminal's stream has not."""

    def __init__(self, sock: socket.socket, framed: bool, entries: AsyncIterator[LogEntry]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock, self._framed, self._entries = sock, framed, entries
        self._had: Counter[int] = Counter()  # bytes of each stream; without frames there is one
        self._inner: socket.socket | None = None

    def stand_in(self) -> socket.socket:
        """The container starts: the socket to give its monitor, for output that begins with the log, too."""
        self._inner, theirs = socket.socketpair()
        self._inner.setblocking(False)
        return theirs

    async def run(self) -> bool:
        """True if the client has had the log and waits for more. Else it is closed: it hung up, or had a stand-in and
        all that came through that. Raises nothing but CancelledError, and closes then, too.
        """
        task = asyncio.current_task()
        watch = HangUp(self._sock, lambda: task and task.cancel(), half=False)
        waits = False
        try:
            await self._read_out()
            if self._inner:
                await self._relay(self._inner)
            else:
                waits = True
        except OSError as error:
            log.debug("a client that is read to: %s", error)
        finally:
            watch.close()
            if self._inner:
                self._inner.close()
            if not waits:
                self._sock.close()
        return waits

    async def _read_out(self) -> None:
        async with aclosing(cast(Any, self._entries)) as entries:
            async for entry in entries:
                data = frames.frame(entry.stream, entry.data) if self._framed else entry.data
                await self._loop.sock_sendall(self._sock, data)
                self._had[entry.stream if self._framed else frames.STDOUT] += len(entry.data)

    async def _relay(self, inner: socket.socket) -> None:
        """Until the monitor hangs up. The end of the client's input is passed on, and is not its own end."""
        upward = self._loop.create_task(self._send_up(inner))
        parser = frames.FrameParser()
        try:
            while data := await self._loop.sock_recv(inner, _CHUNK):
                if new := self._unheard(parser, data):
                    await self._loop.sock_sendall(self._sock, new)
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)

    async def _send_up(self, inner: socket.socket) -> None:
        while data := await self._loop.sock_recv(self._sock, _CHUNK):
            await self._loop.sock_sendall(inner, data)
        inner.shutdown(socket.SHUT_WR)

    def _unheard(self, parser: frames.FrameParser, data: bytes) -> bytes:
        """What the client has not had yet. A frame may come out in pieces, each with a header of its own."""
        if not self._framed:
            return self._skip(frames.STDOUT, data)
        pieces = ((stream, self._skip(stream, piece)) for stream, piece in parser.feed(data))
        return b"".join(frames.frame(stream, piece) for stream, piece in pieces if piece)

    def _skip(self, stream: int, data: bytes) -> bytes:
        had = min(self._had[stream], len(data))
        self._had[stream] -= had
        return data[had:]


async def answer_taken(sock: socket.socket) -> None:
    """Waits until the client has read the answer to its request, for a moment at most.

    docker-py reads that through a buffer, and what of the stream gets into it is lost; a log comes at once, and would.
    Only a Unix socket tells what its peer has read. See: unix(7), SIOCOUTQ.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TAKING_SECONDS
    while sock.family == socket.AF_UNIX and loop.time() < deadline:
        (unread,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
        if not unread:
            return
        await asyncio.sleep(0.002)
