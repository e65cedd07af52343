"""Progress lines, from the threads that work to the client that watches: pull, load, import.

A download may report more often than anybody can read. What waits to be sent is kept by layer, and a newer figure of
the same layer and phase takes the place of the older one; batches go out ten times a second. So a slow client never
slows the work down, and costs no more than its number of layers.

See: Docker Engine API, ImageCreate; github.com/moby/moby pkg/jsonmessage, whose lines these are.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any

from minidock.api.response import Stream, dump
from minidock.image.progress import Abandoned
from minidock.wire import units

if TYPE_CHECKING:
    from minidock.image.progress import ProgressLine

INTERVAL = 0.1
BAR = 50


class Progress:
    """A callable that takes ProgressLines in any thread and streams them. ``quiet`` drops all but ``stream`` lines."""

    def __init__(self, stream: Stream, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: dict[object, ProgressLine] = {}
        self._numbers = itertools.count()
        self._woken = False
        self._left = False
        self.begun = False

    def __call__(self, line: ProgressLine) -> None:
        """Takes a line. May be called from any thread. Raises Abandoned once the client has gone."""
        if self._left:
            raise Abandoned
        if self._quiet and not (line.stream or line.error):
            return
        with self._lock:
            self.begun = True
            key: object = next(self._numbers) if line.current is None else (line.id, line.status)
            self._waiting[key] = line
            woken, self._woken = self._woken, True
        if not woken and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tick)

    def leave(self) -> None:
        """The client has gone: who works for it alone may stop."""
        self._left = True

    def _tick(self) -> None:
        """Sends a batch, and comes back a little later for what has gathered by then."""
        if self._stream.full:
            self._loop.call_later(INTERVAL, self._tick)
            return
        if self._send():
            self._loop.call_later(INTERVAL, self._tick)

    def _send(self) -> bool:
        with self._lock:
            lines = list(self._waiting.values())
            self._waiting.clear()
            self._woken = bool(lines)
        for line in lines:
            self.put(encode(line))
        return bool(lines)

    def put(self, value: dict[str, Any]) -> None:
        """Streams one object."""
        self._stream.put(dump(value)[:-1] + b"\r\n")

    def flush(self) -> None:
        """Streams what has gathered. Called on the loop, when the work is done."""
        self._send()

    def fail(self, message: str) -> None:
        """An error after the first line: the status is long sent, so it goes in-stream."""
        self.flush()
        self.put({"errorDetail": {"message": message}, "error": message})


def encode(line: ProgressLine) -> dict[str, Any]:
    """A line as Docker's JSON."""
    if line.error:
        return {"errorDetail": {"message": line.error}, "error": line.error}
    if line.stream:
        return {"stream": line.stream}
    value: dict[str, Any] = {}
    if line.status or line.aux is None:
        value["status"] = line.status
    if line.id:
        value["progressDetail"] = {}
    if line.current is not None:
        value["progressDetail"] = {"current": line.current} | ({"total": line.total} if line.total else {})
        value["progress"] = _bar(line.current, line.total or 0)
    if line.id:
        value["id"] = line.id
    if line.aux is not None:
        value["aux"] = line.aux
    return value


def _bar(current: int, total: int) -> str:
    """``[=====>     ]  1.2MB/3MB``, as docker draws it."""
    done = units.decimal_size(current)
    if total <= 0 or current > total:
        return f"{done:>8}"
    filled = min(BAR, current * BAR // total)
    return f"[{'=' * filled}>{' ' * (BAR - filled)}] {done:>8}/{units.decimal_size(total)}"
