"""Kill and stop: signals from outside, and the patience between the two.

None of these takes the container's lock: they send signals only, and the end is noticed by the watcher (lifecycle.py),
whoever caused it. A stop with a time limit is an intent in the database before its first signal, so that the KILL
still comes if the daemon dies while it waits. See: Docker Engine API 1.45, ContainerStop and ContainerKill.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from minidock.engine import pausing
from minidock.engine.containers import Live
from minidock.engine.model import Container, Status
from minidock.engine.parts import Parts
from minidock.engine.restarts import Restarts
from minidock.wire import signals, times
from minidock.wire.errors import Conflict, NotModified

log = logging.getLogger(__name__)
_STOP_SECONDS = 10  # until KILL, where neither the client nor the container says; Docker's
_KILL_SECONDS = 10  # that a client waits to be told of the end that it asked for


class Stops:
    """The verbs that want a container to end, or to hear a signal."""

    def __init__(self, parts: Parts, restarts: Restarts) -> None:
        self._parts, self._restarts = parts, restarts

    async def kill(self, container: Container, signal_name: str) -> None:
        """One signal to the first process; KILL goes to every process of the container.

        As with dockerd any signal counts as a wish to end it, and keeps the restart policy from starting it again, but
        where the container names its stop signal: then that one and KILL do.
        """
        number = signals.number(signal_name or "KILL")
        named = container.config.stop_signal
        if (not named or number in (9, signals.number(named))) and await self._restarts.by_hand(container):
            return
        if not container.state.alive:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        live = self._parts.containers.live(container)
        self._send(container, number)
        if number == 9:
            await _over(live.finished, _KILL_SECONDS)

    async def end(self, container: Container) -> None:
        """KILL, for a removal by force, and the wait for the end of the run; what is about to start again is kept."""
        live = self._parts.containers.live(container)
        if not await self._restarts.by_hand(container) and container.state.alive:
            self._send(container, 9)
            await _over(live.finished, None)

    async def stop(self, container: Container, timeout: int | None, signal_name: str) -> None:
        """The stop signal, then KILL after the timeout (seconds; -1: never). Raises NotModified if it does not run."""
        if await self._restarts.by_hand(container):
            return self._parts.events.container(container, "stop")
        if not container.state.alive:
            raise NotModified(f"container {container.name} is not running")
        await self._stop(container, timeout, signal_name)

    async def see_out(self, containers: list[Container]) -> None:
        """All that run, at once, each with its own signal and time; nobody's wish: restart policies stay in force."""
        running = [self._stop(container, None, "") for container in containers if container.state.alive]
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, BaseException):
                log.warning("a container was not seen out: %s", result)

    async def _stop(self, container: Container, timeout: int | None, signal_name: str) -> None:
        config, live = container.config, self._parts.containers.live(container)
        number = signals.number(signal_name or config.stop_signal or "TERM")
        seconds = timeout if timeout is not None else config.stop_timeout
        seconds = _STOP_SECONDS if seconds is None else seconds
        if container.state.status is Status.PAUSED:
            await pausing.unpause(self._parts, container)
        if seconds >= 0:  # the intent comes first: if this daemon dies while it waits, the next one sends the KILL
            self._parts.containers.note(
                container, container.state.status, stop_deadline=times.now() + seconds * times.SECOND
            )
        self._send(container, number)
        await self._see_out(container, live, None if seconds < 0 else seconds)

    def carry_on(self, container: Container, live: Live) -> None:
        """A stop that an earlier daemon had begun: what is left of its time, then KILL."""
        left = max(container.state.stop_deadline - times.now(), 0) / times.SECOND
        log.info("container %s: is being stopped, KILL in %.1f s", container.shown, left)
        live.stopping = asyncio.get_running_loop().create_task(self._see_out(container, live, left))

    def _send(self, container: Container, number: int) -> None:
        if number == 9:
            self._parts.cgroups.kill(container.id)
        else:
            with suppress(ProcessLookupError):
                self._parts.containers.live(container).running().signal(number)
        self._parts.events.container(container, "kill", signal=str(number))

    async def _see_out(self, container: Container, live: Live, seconds: float | None) -> None:
        run = live.finished
        if not await _over(run, seconds):
            self._send(container, 9)
            await _over(run, None)
        self._parts.events.container(container, "stop")


async def _over(run: asyncio.Event, seconds: float | None) -> bool:
    """Waits until the end of this run is recorded; False if that took longer."""
    try:
        async with asyncio.timeout(seconds):
            await run.wait()
    except TimeoutError:
        return run.is_set()  # it may have ended, and another run begun, while the waiting was called off
    return True
