"""A minidockd that also writes down what it answers: a line of JSON for each response, and for each piece of a stream.

    python scribe.py FILE ARGUMENTS-OF-MINIDOCKD

Tests start their daemons so (daemon.py), and the API's tests put it around the server in their own process; what was
written is held to docs/openapi.yaml (openapi.py). Recorded at the one place where a response becomes bytes, before a
client can have it, so that a test has the records of all that it saw. Only JSON bodies are kept.

A record that can't be written is lost, since full disks and failing calls are what some tests are about. writev and not
write, which those tests count and break.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from minidock.api import response
from minidock.api.connection import Connection
from minidock.api.hijack import Hijacked
from minidock.api.request import Request
from minidock.api.response import Answer, Stream

Sink = Callable[[dict[str, Any]], None]
_request: contextvars.ContextVar[Request | None] = contextvars.ContextVar("request", default=None)


def install(sink: Sink) -> None:
    """From here on every response of this process is told to ``sink``."""
    _record_answers(sink)
    _record_streams(sink)
    take = Hijacked.take

    def taken(self: Hijacked, answer: bytes) -> Any:
        status, *fields = answer.decode("latin-1").split("\r\n")
        kind = next((line[14:] for line in fields if line.startswith("Content-Type: ")), "")
        sink(_about(_request.get(), int(status.split()[1]), kind))
        return take(self, answer)

    Hijacked.take = taken  # type: ignore[method-assign]


def _record_answers(sink: Sink) -> None:
    serve, whole = Connection._answer, response.whole

    async def answered(self: Connection, request: Request, close: bool) -> int:
        token = _request.set(request)
        try:
            return await serve(self, request, close)
        finally:
            _request.reset(token)

    def written(answer: Answer, close: bool, without_body: bool) -> bytes:
        body = b"" if without_body else answer.body
        sink(_about(_request.get(), answer.status, answer.content_type, body, dict(answer.headers)))
        return whole(answer, close, without_body)

    Connection._answer = answered  # type: ignore[method-assign]
    response.whole = written


def _record_streams(sink: Sink) -> None:
    begin, opened, put = Connection.stream, Stream._begin, Stream.put

    def begun(self: Connection, content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        stream = begin(self, content_type, headers)
        stream.record = (_request.get(), 200, content_type, b"", dict(headers))  # type: ignore[attr-defined]
        return stream

    def head(self: Stream) -> None:
        if not self.opened:
            sink(_about(*self.record))  # type: ignore[attr-defined]
        opened(self)

    def piece(self: Stream, data: bytes) -> None:
        request, status, content_type, _, headers = self.record  # type: ignore[attr-defined]
        if content_type == response.JSON:
            sink(_about(request, status, content_type, data, headers))
        put(self, data)

    Connection.stream, Stream._begin, Stream.put = begun, head, piece  # type: ignore[method-assign]


def _about(
    request: Request | None, status: int, content_type: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    target = f"{request.path}?{request.query_text}" if request and request.query_text else request and request.path
    return {
        "method": request.method if request else "",
        "target": target or "",
        "status": status,
        "type": content_type,
        "body": body.decode("utf-8", "replace") if content_type == response.JSON else "",
        "headers": sorted(headers or ()),
    }


def _to_file(path: str) -> Sink:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def sink(record: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            os.writev(fd, [json.dumps(record).encode() + b"\n"])

    return sink


if __name__ == "__main__":
    install(_to_file(sys.argv[1]))
    sys.argv = ["minidockd", *sys.argv[2:]]
    from minidock.daemon import main

    main()
