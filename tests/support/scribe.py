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
from weakref import WeakKeyDictionary

from minidock.api import response
from minidock.api.connection import Connection
from minidock.api.hijack import Hijacked
from minidock.api.request import Request
from minidock.api.response import Answer, Stream
from minidock.api.router import Route, Router

Sink = Callable[[dict[str, Any]], None]
_request: contextvars.ContextVar[Request | None] = contextvars.ContextVar("request", default=None)


def install(sink: Sink) -> None:
    """From here on every response of this process is told to ``sink``."""
    _follow_requests()
    _record_answers(sink)
    _record_streams(sink)


def _follow_requests() -> None:
    """Each connection is a task: what it was asked last is what it answers next."""
    resolve = Router.resolve

    def resolved(self: Router, request: Request) -> Route | Answer:
        _request.set(request)
        return resolve(self, request)

    Router.resolve = resolved  # type: ignore[method-assign]


def _record_answers(sink: Sink) -> None:
    whole, take = response.whole, Hijacked.take

    def written(answer: Answer, close: bool, without_body: bool) -> bytes:
        body = b"" if without_body else answer.body
        sink(_about(_request.get(), answer.status, answer.content_type, body, dict(answer.headers)))
        _request.set(None)  # what is answered next may be no request at all
        return whole(answer, close, without_body)

    def taken(self: Hijacked, answer: bytes) -> Any:
        status, *fields = answer.decode("latin-1").split("\r\n")
        kind = next((line[14:] for line in fields if line.startswith("Content-Type: ")), "")
        sink(_about(_request.get(), int(status.split()[1]), kind))
        return take(self, answer)

    response.whole = written
    Hijacked.take = taken  # type: ignore[method-assign]


def _record_streams(sink: Sink) -> None:
    begin, open_, put, finish = Connection.stream, Stream.open, Stream.put, Stream.finish
    records: WeakKeyDictionary[Stream, tuple[Request | None, str, dict[str, str]]] = WeakKeyDictionary()

    def begun(self: Connection, content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        stream = begin(self, content_type, headers)
        records[stream] = (_request.get(), content_type, dict(headers))
        return stream

    def head(self: Stream) -> None:
        request, content_type, headers = records[self]
        if not self.opened:
            sink(_about(request, 200, content_type, b"", headers))

    def opened(self: Stream) -> None:
        head(self)
        open_(self)

    def piece(self: Stream, data: bytes) -> None:
        request, content_type, headers = records[self]
        head(self)
        if content_type == response.JSON:
            sink(_about(request, 200, content_type, data, headers))
        put(self, data)

    async def finished(self: Stream) -> None:
        head(self)
        _request.set(None)
        await finish(self)

    Connection.stream, Stream.open, Stream.put, Stream.finish = begun, opened, piece, finished  # type: ignore[method-assign]


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
