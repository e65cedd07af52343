"""A daemon that only plays one: real HTTP on a real Unix socket, answers as a test lays them down.

For the tests of minidock/client and minidock/cli. `fake.on("GET", "/containers/json", [...])` answers with JSON; a
function instead of an answer gets the Exchange and does as it likes (stream chunks, hijack, hang up). What nobody laid
down is a 404 as the daemon's. `fake.requests` holds what came, in order of arrival.
"""

from __future__ import annotations

import json
import re
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """One request: the path without its version, the query with lists of values, the body as sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        pairs = "&".join(f"{key}={value}" for key, values in sorted(self.query.items()) for value in values)
        return f"{self.method} {self.path}" + (f"?{pairs}" if pairs else "")


class Exchange:
    """One request and the connection it came on."""

    def __init__(self, request: Request, handler: BaseHTTPRequestHandler, matched: re.Match[str]) -> None:
        self.request = request
        self.handler = handler
        self.matched = matched

    def head(self, status: int, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.flush()

    def reply(self, answer: object, status: int = 200) -> None:
        body = b"" if status in (204, 304) else json.dumps(answer).encode() + b"\n"
        length = {} if status in (204, 304) else {"Content_Length": str(len(body))}
        self.head(status, Content_Type="application/json", Api_Version="1.45", **length)
        self.handler.wfile.write(body)

    def chunks(self, pieces: Iterable[bytes], content_type: str = "application/json") -> None:
        self.head(200, Content_Type=content_type, Transfer_Encoding="chunked")
        for piece in pieces:
            self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.handler.wfile.flush()
        self.handler.wfile.write(b"0\r\n\r\n")

    def hijack(self, framed: bool = True) -> BaseHTTPRequestHandler:
        """Answers 101; the test then uses `rfile.read1` and `wfile.write`. The connection ends with the function."""
        kind = "multiplexed" if framed else "raw"
        content_type = f"application/vnd.docker.{kind}-stream"
        self.head(101, Content_Type=content_type, Connection="Upgrade", Upgrade="tcp")
        self.handler.close_connection = True
        return self.handler

    def hang_up(self) -> None:
        self.handler.close_connection = True


Answer = Callable[[Exchange], None]


@dataclass
class FakeDaemon:
    """The server. Later rules go before earlier ones, so that a test can override what a fixture laid down."""

    socket: Path
    requests: list[Request] = field(default_factory=list)
    _rules: list[tuple[str, re.Pattern[str], Answer]] = field(default_factory=list)
    _server: socketserver.BaseServer | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def on(self, method: str, path: str, answer: object = None, status: int = 200) -> None:
        """`path` is a regular expression for the whole path; `answer` a function of the Exchange, or JSON."""
        if callable(answer):
            act: Answer = answer
        else:

            def act(exchange: Exchange) -> None:
                exchange.reply(answer, status)

        self._rules.insert(0, (method, re.compile(path), act))

    def seen(self) -> list[str]:
        """The requests as lines, such as `POST /containers/c/start`."""
        return [str(request) for request in self.requests]

    def handle(self, request: Request, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(request)
        for method, pattern, act in self._rules:
            matched = pattern.fullmatch(request.path)
            if matched and method == request.method:
                return act(Exchange(request, handler, matched))
        message = "page not found"
        if found := re.fullmatch(r"/(container|image|network|volume)s/(.+?)(/json)?", request.path):
            message = f"No such {found[1]}: {found[2]}"
        Exchange(request, handler, re.fullmatch("", "") or _never()).reply({"message": message}, 404)

    def __enter__(self) -> FakeDaemon:
        self._server = _Server(str(self.socket), _handler_of(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No new connections; the socket is gone."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self.socket.unlink(missing_ok=True)
        self._server = None


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone before it has read all is no error; told on stderr, it would be the client's there."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler_of(fake: FakeDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(re.sub(r"^/v\d+\.\d+", "", parts.path))
            query = parse_qs(parts.query, keep_blank_values=True)
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.handle(Request(self.command, path, query, headers, self._body()), self)

        do_POST = do_DELETE = do_HEAD = do_PUT = do_GET

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

    return Handler


def _never() -> re.Match[str]:
    raise AssertionError("an empty pattern matches an empty text")
