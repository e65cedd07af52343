"""What happened, for whoever asks: a short memory and any number of listeners.

Names, order and attributes are Docker's. The memory is bounded, and so is what waits for one listener: who reads too
slowly loses the oldest, never holds up the engine.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator

from minidock.engine.model import Container
from minidock.engine.requests import Event
from minidock.wire import times

MEMORY = 1000
_BACKLOG = 4096


class Events:
    """The bus. All calls are made on the daemon's loop."""

    def __init__(self) -> None:
        self._memory: deque[Event] = deque(maxlen=MEMORY)
        # Weakly: who gives up before he listens leaves a generator that never ran, and so never ends.
        self._listeners: weakref.WeakSet[asyncio.Queue[Event]] = weakref.WeakSet()

    def publish(self, kind: str, action: str, ident: str, attributes: dict[str, str] | None = None) -> None:
        """Notes an event and tells all listeners."""
        event = Event(kind, action, ident, dict(attributes or {}), times.now())
        self._memory.append(event)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def container(self, container: Container, action: str, **attributes: str) -> None:
        """A container's event with Docker's attributes: labels, image, name, then the action's own."""
        shown = {**container.config.labels, **attributes, "image": container.config.image, "name": container.name}
        self.publish("container", action, container.id, shown)

    def subscribe(self, since: int | None = None, until: int | None = None) -> AsyncIterator[Event]:
        """Events as they come. With ``since`` the kept ones from then on first; ends at ``until`` (nanoseconds).

        Listening begins at this call, not at the first iteration.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(_BACKLOG)
        for event in self._memory if since is not None or until is not None else ():
            if event.time >= (since or 0):
                queue.put_nowait(event)
        self._listeners.add(queue)
        return self._follow(queue, until)

    async def _follow(self, queue: asyncio.Queue[Event], until: int | None) -> AsyncIterator[Event]:
        try:
            while True:
                left = None if until is None else (until - times.now()) / times.SECOND
                try:
                    async with asyncio.timeout(left if queue.empty() else None):
                        event = await queue.get()
                except TimeoutError:
                    return
                if until is not None and event.time > until:
                    return
                yield event
        finally:
            self._listeners.discard(queue)
