"""What flows: attach, logs, wait, events, and the size of the terminal at the other end.

Rules that clients depend on, each learnt from one that broke: the head of a response that follows something is sent at
once, before there is data; a wait is registered before its head is sent; a hijacked connection belongs to the container
before the client is told 101; framing depends on the container's terminal alone, the content type also on the version.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from minidock.api.filters import Filters
from minidock.api.hijack import stream_type
from minidock.api.render import system as render
from minidock.api.request import Request
from minidock.api.response import Answer, dump
from minidock.engine.requests import AttachRequest, Event, LogEntry, LogRequest
from minidock.wire import detach, frames, times
from minidock.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

EVENT_FILTERS = (
    "config", "container", "daemon", "event", "id", "image", "label", "network", "node", "plugin", "scope", "secret",
    "service", "type", "volume",
)  # fmt: skip
_FUZZY_EVENTS = ("health_status", "exec_create", "exec_start")


async def attach(engine: Engine, request: Request) -> None:
    """POST /containers/{c}/attach"""
    engine.attach(request.name, _attach_request(engine, request), request.hijack())


async def attach_websocket(engine: Engine, request: Request) -> None:
    """GET /containers/{c}/attach/ws; before API 1.42 all streams, whatever was asked for"""
    from minidock.api.websocket import Handover  # wsproto: 1 MB, for those who need it

    wanted = replace(_attach_request(engine, request), raw=True)
    if request.version < (1, 42):
        wanted = replace(wanted, stdin=True, stdout=True, stderr=True)
    handover = Handover(request)
    request.follow()  # the daemon's end is this one's, too
    engine.attach(request.name, wanted, handover)
    await handover.carry()


def _attach_request(engine: Engine, request: Request) -> AttachRequest:
    keys = detach.parse(request.text("detachKeys"))
    return AttachRequest(
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        logs=request.flag("logs"),
        stream=request.flag("stream"),
        # Only a terminal's keys are watched for: in a pipe these bytes are data.
        detach_keys=keys if engine.container(request.name).config.tty else b"",
    )


async def resize(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/resize"""
    rows, columns = terminal_size(request)
    engine.resize(request.name, rows, columns)
    return Answer(200)


def terminal_size(request: Request) -> tuple[int, int]:
    """``h`` and ``w`` of a resize."""
    rows, columns = request.integer("h"), request.integer("w")
    if rows is None or columns is None:
        raise InvalidArgument("resize: give the terminal's size as h and w")
    return rows, columns


async def wait(engine: Engine, request: Request) -> None:
    """POST /containers/{c}/wait"""
    future = engine.wait(request.name, request.text("condition") or "not-running")
    try:
        stream = request.stream()
        stream.open()
        request.follow()
        result = await future
        failure = {"Error": {"Message": result.error}} if result.error else {}
        stream.put(dump({**failure, "StatusCode": result.status_code}))
    finally:
        future.cancel()


async def logs(engine: Engine, request: Request) -> None:
    """GET /containers/{c}/logs"""
    container = engine.container(request.name)
    wanted = LogRequest(
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
        since=request.time("since"),
        until=request.time("until"),
        tail=_tail(request.text("tail")),
    )
    entries = engine.logs(container.id, wanted)
    framed = not container.config.tty
    stream = request.stream(stream_type(framed, request.version))
    stream.open()
    request.follow()
    stamps = _Stamps() if wanted.timestamps else None
    async with aclosing(_generator(entries)) as source:
        async for entry in source:
            data = stamps.put_before(entry) if stamps else entry.data
            stream.put(frames.frame(entry.stream, data) if framed else data)
            await stream.drain()


def _generator(entries: AsyncIterator[Any]) -> Any:
    """The engine's iterators are generators, which hold files and queues until they are closed."""
    return cast(Any, entries)


def _tail(text: str) -> int | None:
    """``all``, or a number of lines. What is neither means all, as in dockerd."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class _Stamps:
    """The time before each line, with all nine digits; a line that was logged in pieces gets one."""

    def __init__(self) -> None:
        self._at_start = {frames.STDOUT: True, frames.STDERR: True}

    def put_before(self, entry: LogEntry) -> bytes:
        fresh, self._at_start[entry.stream] = self._at_start.get(entry.stream, True), entry.data.endswith(b"\n")
        return f"{fixed_time(entry.time)} ".encode() + entry.data if fresh else entry.data


def fixed_time(ns: int) -> str:
    """RFC 3339 with nine digits always, so that columns line up: Docker's form for logs."""
    return f"{times.rfc3339(ns - ns % times.SECOND)[:-1]}.{ns % times.SECOND:09d}Z"


async def events(engine: Engine, request: Request) -> None:
    """GET /events"""
    since, until = request.time("since"), request.time("until")
    if since and until and until < since:
        raise InvalidArgument("`since` time cannot be after `until` time")
    wanted = request.filters(*EVENT_FILTERS)
    source = engine.events.subscribe(since or None, until or None)
    stream = request.stream()
    stream.open()
    request.follow()
    async with aclosing(_generator(source)) as found:
        async for event in found:
            if shows(wanted, event):
                stream.put(dump(render.event(event)))
                await stream.drain()


def shows(wanted: Filters, event: Event) -> bool:
    """Whether an event passes the filters, by Docker's rules: ids and names by prefix, the rest exactly."""
    name = event.attributes.get("name", "")
    action = event.action.partition(":")[0]
    fuzzy = any(value in _FUZZY_EVENTS for value in wanted.get("event"))
    image = event.attributes.get("image", "") if event.type == "container" else name
    return (
        wanted.exact("type", event.type)
        and wanted.exact("scope", "local")
        and (wanted.prefix("event", event.action) if fuzzy else wanted.exact("event", event.action, action))
        and wanted.labels(event.attributes)
        and wanted.exact("image", event.id, image, image.rpartition(":")[0] or image)
        and wanted.prefix("id", event.id)
        and all(wanted.prefix(kind, event.id, name) for kind in _OBJECTS)
    )


_OBJECTS = ("config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume")
