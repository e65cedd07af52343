"""When ready sandboxes are made: in the quiet after a start, so that no start ever waits for the next one's.

Each start puts the refilling off; it begins when none has come for a moment, and stops at the next. A burst of starts
so uses up what is ready, and then makes its own sandboxes as it would without any. Read next: ../network/ready.py.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from minidock.network.ready import Ready
from minidock.network.sandbox import Sandbox
from minidock.wire.errors import Error

log = logging.getLogger(__name__)
_QUIET = 0.1  # seconds without a start


class Refill:
    """The pool as the engine's loop uses it."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._closing = False

    def begin(self) -> None:
        """Once the daemon has put things in order."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def take(self, container_id: str) -> Sandbox | None:
        """A ready sandbox for a container that starts, or None."""
        self._again.set()
        return self._ready.take(container_id)

    @property
    def owners(self) -> set[str]:
        """The names in which ready sandboxes hold their leases."""
        return self._ready.owners

    async def make_room(self) -> bool:
        """Their addresses are wanted: gives them back; whether there were any."""
        return await asyncio.to_thread(self._ready.clear)

    async def close(self) -> None:
        """The daemon ends: none is made any more, and none stays."""
        self._closing = True
        self._again.set()
        if self._task:
            await self._task
        await asyncio.to_thread(self._ready.clear)

    async def _work(self) -> None:
        while not self._closing:
            self._again.clear()
            try:
                while self._ready.short and await self._quiet() and await asyncio.to_thread(self._ready.make_one):
                    pass
            except (Error, OSError, sqlite3.Error) as error:
                log.warning("ready sandboxes: %s", error)
            if not self._closing:
                await self._again.wait()

    async def _quiet(self) -> bool:
        """Waits until no start has come for a moment; False if the daemon ends."""
        while not self._closing:
            try:
                async with asyncio.timeout(_QUIET):
                    await self._again.wait()
            except TimeoutError:
                return True
            self._again.clear()
        return False
