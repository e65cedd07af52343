"""A recording proxy on a Unix socket: stands between a real client and a daemon, passes every byte on, keeps a copy.

For test_golden_replay.py, which holds what a client and the daemon said to each other against what the same client and
dockerd said. Nothing is parsed on the way (half-closes, hijacked streams and hang-ups arrive as they left); the copies
are read as HTTP afterwards. Read next: golden.py.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.wait import eventually


@dataclass(frozen=True)
class Exchange:
    """One request and its answer: status 0 if the client went before one came, not complete if before its end."""

    method: str
    target: str
    status: int = 0
    content_type: str | None = None
    body: bytes = b""  # of the answer, unframed; not of a stream
    complete: bool = True


@dataclass
class _Connection:
    """One client's connection: both directions as far as they have come."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class Recorder:
    """Listens at ``path`` for clients of the daemon at ``upstream``; a context manager."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path, self._upstream = path, upstream
        self._taken: list[_Connection] = []
        self._open = 0
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink()

    def take(self) -> list[Exchange]:
        """What was said since the last time, once all that said it have hung up."""
        eventually(lambda: not self._open, "the client's connections to close", timeout=60)
        with self._lock:
            taken, self._taken = self._taken, []
        return [exchange for one in taken for exchange in exchanges(bytes(one.up), bytes(one.down))]

    def seen(self, what: str) -> bool:
        """Whether the head of an answer has come to a request that holds ``what``, on a connection not yet taken."""
        with self._lock:
            return any(
                what in exchange.target and exchange.status
                for connection in self._taken
                for exchange in exchanges(bytes(connection.up), bytes(connection.down))
            )

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection = _Connection()
            with self._lock:
                self._taken.append(connection)
                self._open += 1
            threading.Thread(target=self._serve, args=(client, connection), daemon=True).start()

    def _serve(self, client: socket.socket, connection: _Connection) -> None:
        try:
            with client, socket.socket(socket.AF_UNIX) as daemon, contextlib.suppress(OSError):
                daemon.connect(str(self._upstream))
                _pass_on(client, daemon, connection)
        finally:
            with self._lock:
                self._open -= 1


def _pass_on(client: socket.socket, daemon: socket.socket, connection: _Connection) -> None:
    """Until the client has hung up, or both sides have said their last."""
    routes = {client.fileno(): (client, daemon, connection.up), daemon.fileno(): (daemon, client, connection.down)}
    poll = select.poll()
    for fd in routes:
        poll.register(fd, select.POLLIN)
    reading = set(routes)
    while reading:
        for fd, event in poll.poll():
            source, sink, copy = routes[fd]
            data = source.recv(65536) if event & select.POLLIN and fd in reading else b""
            if data:
                copy += data
                sink.sendall(data)
            elif source is client and event & (select.POLLHUP | select.POLLERR):
                return
            elif fd in reading:
                reading.discard(fd)
                poll.modify(fd, 0)  # POLLHUP is still told
                sink.shutdown(socket.SHUT_WR)


# -- reading the copies as HTTP ---------------------------------------------------------------------------------------


class _Unclosed(io.BufferedReader):
    """http.client closes the file after each answer, but the next one is in the same file."""

    def close(self) -> None:
        """Stays open."""


def exchanges(up: bytes, down: bytes) -> Iterator[Exchange]:
    """The requests of one connection, each with its answer; what follows an upgrade is the stream's."""
    answers = _Unclosed(io.BytesIO(down))
    for method, target in _requests(io.BytesIO(up)):
        response = http.client.HTTPResponse(_Opened(answers), method=method)  # type: ignore[arg-type]
        try:
            response.begin()
        except (http.client.HTTPException, OSError):
            yield Exchange(method, target, complete=False)
            continue
        body, complete = _body(response)
        yield Exchange(method, target, response.status, response.getheader("Content-Type"), body, complete)


class _Opened:
    """What http.client asks of a socket: the file to read from."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return self._file


def _body(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """The body, and whether it has its end."""
    if response.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
        return b"", True
    try:
        return response.read(), True
    except http.client.IncompleteRead as cut:
        return cut.partial, False


def _requests(data: io.BytesIO) -> Iterator[tuple[str, str]]:
    """Method and target of each request; its body is passed over."""
    while line := data.readline():
        words = line.decode("latin-1").split()
        if len(words) != 3:
            return
        headers = http.client.parse_headers(data)
        if "chunked" in headers.get("Transfer-Encoding", ""):
            _skip_chunks(data)
        data.seek(int(headers.get("Content-Length", 0)), os.SEEK_CUR)
        yield words[0], words[1]
        if headers.get("Upgrade"):
            return


def _skip_chunks(data: io.BytesIO) -> None:
    while size := int(data.readline().split(b";")[0] or b"0", 16):
        data.seek(size + 2, os.SEEK_CUR)
    data.readline()
