"""Restart policies: whether a container that ended starts again, and after how long.

    no               never
    on-failure[:n]   if its exit code is not 0, n times at most
    always           whatever its exit code
    unless-stopped   the same

A stop by hand ends it for each of them. The daemon's next start makes an exception of ``always``, and starts what died
while no daemon was there; that is all that tells ``always`` from ``unless-stopped``. The first wait is 100 ms, and each
further one twice as long up to a minute, until the container has run for 10 s. All of this is Docker's.

Waits are timers on the loop: a stop cancels the timer, or comes second to its start and then stops what was started.
Who needs another container to run, by a link or by sharing its network, waits for it if that starts again, too: after a
boot all come at once.
See: moby daemon/restartmanager. Read next: lifecycle.py, finish.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress

from minidock.engine import remap
from minidock.engine.config import RestartPolicy
from minidock.engine.containers import Live
from minidock.engine.model import Container, Status
from minidock.engine.networking import links
from minidock.engine.parts import Parts
from minidock.wire import times
from minidock.wire.errors import Conflict, Error, InvalidArgument

log = logging.getLogger(__name__)
POLICIES = ("no", "always", "unless-stopped", "on-failure")
FIRST_WAIT, LONGEST_WAIT = 0.1, 60.0
CALM = 10 * times.SECOND
PATIENCE = 5.0  # seconds for those that a container needs; docker's for links


def check(policy: RestartPolicy, auto_remove: bool) -> None:
    """Raises InvalidArgument, with Docker's words, for a policy that can't be."""
    name, count = policy.name or "no", policy.maximum_retry_count
    if name not in POLICIES:
        raise InvalidArgument(f"invalid restart policy: unknown policy '{name}'", f"one of {', '.join(POLICIES)}")
    if name != "on-failure" and count:
        more = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(f"invalid restart policy: maximum retry count can only be used with 'on-failure'{more}")
    if count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy", "run without --restart")


def wanted(container: Container, code: int) -> bool:
    """Whether a container that has just ended with an exit code is to start again."""
    policy, state = container.host.restart_policy, container.state
    if state.stopped_by_hand:
        return False
    if policy.name == "on-failure":
        count = policy.maximum_retry_count
        return code != 0 and (count == 0 or state.restart_count < count)
    return policy.name in ("always", "unless-stopped")


def next_wait(before: float, ran: int) -> float:
    """Seconds to wait, after a wait of ``before`` and a run of ``ran`` nanoseconds."""
    return FIRST_WAIT if ran >= CALM or not before else min(before * 2, LONGEST_WAIT)


def check_not_restarting(container: Container) -> None:
    """Raises Conflict for a container that has no process just now, and will have one."""
    if container.state.status is Status.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")


class Restarts:
    """The containers that wait for their next start. ``start`` starts one, ``failed`` notes that this went wrong."""

    def __init__(
        self,
        parts: Parts,
        start: Callable[[Container, Live], Awaitable[None]],
        failed: Callable[[Container, Live, Error], Awaitable[None]],
    ) -> None:
        self._containers = parts.containers
        self._start, self._failed = start, failed
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ends: dict[str, asyncio.Event] = {}  # of waits and of the starts that follow
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: dict[str, tuple[Container, float]] | None = {}  # asked for when none is started, None else

    def begin(self) -> None:
        """The daemon has found its way: until here nothing is started, lest restore takes it for a leftover."""
        early, self._early = self._early or {}, None
        for container, seconds in early.values():
            self.after(container, seconds)

    def schedule(self, container: Container, live: Live, ran: int) -> None:
        """A container has ended after ``ran`` nanoseconds: starts it again, after its wait."""
        live.backoff = next_wait(live.backoff, ran)
        self.after(container, live.backoff)

    def after(self, container: Container, seconds: float) -> None:
        """Starts a container in so many seconds."""
        if self._early is not None:
            self._early[container.id] = (container, seconds)
            return
        log.info("container %s: starts again in %.1f s", container.id[:12], seconds)
        loop = asyncio.get_running_loop()
        self._ends[container.id] = asyncio.Event()
        self._timers[container.id] = loop.call_later(seconds, self._fire, container)

    def _fire(self, container: Container) -> None:
        self._timers.pop(container.id, None)
        end = self._ends[container.id]
        task = asyncio.get_running_loop().create_task(self._run(container))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._over(container, end))

    def _over(self, container: Container, end: asyncio.Event) -> None:
        end.set()
        if self._ends.get(container.id) is end:  # it may have ended again, and wait for its next start
            del self._ends[container.id]

    async def _needed(self, container: Container) -> None:
        """Waits for a moment until those that it needs have been started, too, as far as they are about to be."""
        needed = [child.id for _, child in links.linked(container, self._containers)] + remap.donors(container.host)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for end in [self._ends[ident] for ident in needed if ident in self._ends]:
                    await end.wait()

    async def _run(self, container: Container) -> None:
        """restarting → running, unless somebody stopped or removed it meanwhile. A start that fails is the last."""
        await self._needed(container)
        if self._early is not None or self._containers.get(container.id) is None:
            return
        live = self._containers.live(container)
        async with live.lock:
            if container.state.status is not Status.RESTARTING:
                return
            try:
                await self._start(container, live)
            except (Error, OSError, sqlite3.Error) as error:
                log.warning("container %s: its restart failed: %s", container.id[:12], error)
                await self._failed(container, live, error if isinstance(error, Error) else Error(str(error)))

    async def by_hand(self, container: Container) -> bool:
        """Somebody wants it to end: no policy starts it again. True if it was waiting for that, and so is stopped.

        A start that is under way is not broken off: it is waited for, and then the container runs and can be stopped.
        """
        if not container.state.up:
            return False
        self._containers.note(container, container.state.status, stopped_by_hand=True)  # a full disk stops no stop
        if container.state.status is not Status.RESTARTING:
            return False
        timer = self._timers.pop(container.id, None)
        if timer:
            timer.cancel()
            self._over(container, self._ends[container.id])
        async with self._containers.live(container).lock:
            if container.state.status is not Status.RESTARTING:
                return False
            self._containers.change(container, Status.EXITED)
            return True

    async def close(self) -> None:
        """The daemon ends: what waits is left to the next one, a start under way is finished."""
        self._early = {}  # and so is what ends while we do
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for end in self._ends.values():
            end.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
