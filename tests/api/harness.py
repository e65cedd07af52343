"""The real server on a temporary unix socket, over the fake engine, and clients that speak HTTP by hand.

The server runs in a thread with a loop of its own; tests are plain functions with blocking sockets, so that they can do
what no HTTP library lets one do.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from minidock.api import listen
from minidock.api.server import Server
from tests.api.fake import FakeEngine

T = TypeVar("T")


class Reply(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    reason: str = ""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["message"])


class Talker:
    """A connection that says bytes and reads responses."""

    def __init__(self, path: Path, timeout: float = 10) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self._buffer = b""

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, method: str, target: str, body: bytes | Any = b"", **headers: str) -> None:
        """Sends a request; anything but bytes is sent as JSON."""
        fields = {"Host": "docker", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        if body or method == "POST":
            fields.setdefault("Content-Length", str(len(body)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.say(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)

    def _fill(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def head(self) -> tuple[int, dict[str, str], str]:
        """Status, headers in lower case, reason."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                raise ConnectionError(f"closed after {self._buffer!r}")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        _, status, reason = first.split(" ", 2)
        return int(status), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, reason

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._fill():
                raise ConnectionError(f"closed after {self._buffer!r}")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def chunk(self) -> bytes:
        """One chunk, b"" for the last."""
        while b"\r\n" not in self._buffer:
            if not self._fill():
                raise ConnectionError("closed in the middle of a chunk")
        size, _, self._buffer = self._buffer.partition(b"\r\n")
        data = self.exactly(int(size, 16))
        assert self.exactly(2) == b"\r\n"
        return data

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._fill():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def reply(self, method: str = "GET") -> Reply:
        """The response to a request that was sent."""
        status, headers, reason = self.head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while piece := self.chunk():
                body += piece
        elif "content-length" in headers and method != "HEAD":
            body = self.exactly(int(headers["content-length"]))
        return Reply(status, headers, body, reason)

    def closed(self) -> bool:
        """Whether the server has closed the connection; waits for it."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


class Harness:
    """The server, its engine and its loop."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "api.sock"
        self.engine: FakeEngine
        self.server: Server
        self.loop = asyncio.new_event_loop()
        self._more: list[socket.socket] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def _serve(self) -> None:
        self.engine = FakeEngine()
        self.listener = listen.open_unix(self.path, "")
        self.server = Server(self.engine, [self.listener])  # type: ignore[arg-type]
        self._stopped = asyncio.Event()
        self._ready.set()
        await self.server.serve()
        await self._stopped.wait()

    async def _stop(self) -> None:
        await self.server.shutdown()
        self._stopped.set()

    def tcp(self) -> socket.socket:
        """A further listening socket, on loopback; it is closed with the harness."""
        listener = listen.open_tcp("tcp://127.0.0.1:0", True)

        async def accept() -> None:
            self.server._acceptors.append(asyncio.create_task(self.server._accept(listener)))

        self.run(accept())
        self._more.append(listener)
        return listener

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(20)

    def soon(self, function: Any, *arguments: Any) -> None:
        """Calls a function on the server's loop."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def talk(self, timeout: float = 10) -> Talker:
        return Talker(self.path, timeout)

    def request(self, method: str, target: str, body: bytes | Any = b"", **headers: str) -> Reply:
        """One request on a connection of its own."""
        with self.talk() as talker:
            talker.ask(method, target, body, **headers)
            return talker.reply(method)

    def connections(self) -> int:
        return len(self.server._connections)

    def close(self) -> None:
        if not self.loop.is_closed():
            self.engine.gate.set()
            self.run(self._stop())
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server's thread did not end"
        for listener in (self.listener, *self._more):
            listener.close()
