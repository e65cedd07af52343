"""Start, restart, remove; and what happens when a container ends, by itself or not (stops.py).

Each container has a lock that holds one change of its life at a time. A start pushes the undo of each thing right
after the thing, and drops them all as its last act; so a start that fails at any point leaves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

from minidock.db import WriteFailed
from minidock.engine import bundle, create, health, namespaces, remap, reports
from minidock.engine.containers import Live
from minidock.engine.model import Container, EndpointRecord, Status
from minidock.engine.networking import links
from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.parts import Parts
from minidock.engine.recent import Recent
from minidock.engine.requests import StepReport, WaitResult
from minidock.engine.restarts import Restarts, wanted
from minidock.engine.stops import Stops
from minidock.runtime.exit_record import Exit, remove_monitor_directory
from minidock.runtime.monitor import Monitor, StartFailed
from minidock.runtime.plan import container_plan, encode
from minidock.wire import times
from minidock.wire.errors import Conflict, Error, ExecFailed, NotModified, ServerError

log = logging.getLogger(__name__)


class Lifecycle:
    """The verbs that change a container's state."""

    def __init__(self, parts: Parts, endpoints: Endpoints) -> None:
        self._parts = parts
        self.restarts = Restarts(parts, self._start, self._start_failed)
        self.stops = Stops(parts, self.restarts)
        self._endpoints = endpoints
        self.removed: Recent[WaitResult] = Recent(1000)
        self.starts: Recent[tuple[StepReport, ...]] = Recent(20)
        self.probe: Callable[[Container, Live], None] | None = None

    # Start

    async def start(self, container: Container) -> None:
        """created or exited → running. Raises NotModified if it runs; ExecFailed, StepFailed if a step fails."""
        live = self._parts.containers.live(container)
        async with live.lock:
            status = container.state.status
            if status in (Status.RUNNING, Status.RESTARTING):
                raise NotModified(f"container {container.name} is running")
            if status is Status.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if status is Status.REMOVING:
                raise Conflict(f"container is marked for removal and cannot be started: {container.name}")
            live.backoff = 0.0
            if container.state.stopped_by_hand or container.state.restart_count:
                self._parts.containers.change(container, stopped_by_hand=False, restart_count=0)
            try:
                await self._start(container, live)
            except Error as error:
                await self._start_failed(container, live, error)
                raise
            except (OSError, sqlite3.Error) as error:
                failure = ServerError(f"start container {container.name}: {error}")
                await self._start_failed(container, live, failure)
                raise failure from error

    async def _start(self, container: Container, live: Live) -> None:
        parts, settings, ident = self._parts, self._parts.settings, container.id
        directory, image = settings.container_directory(ident), parts.images.of_container(container.definition.image_id)
        if live.letting_go:
            await live.letting_go
        remove_monitor_directory(settings.monitor_directory(ident))  # of an end that could not be put on record
        async with AsyncExitStack() as undo, AsyncExitStack() as fds_of_start:
            parts.cgroups.place(container.id, container.host.cgroup_parent)
            cgroup, _ = parts.cgroups.create(container.id, create.limits(container.host))
            undo.push_async_callback(asyncio.to_thread, self._undo_cgroup, container)
            user = await remap.namespace(container, parts.containers, settings.remap, fds_of_start)
            joined = await self._endpoints.join(container, undo, fds_of_start, user.fd if user else None)
            if links.DEFAULT in joined.endpoints:
                links.check(container, parts.containers)
            linked = links.hosts(container, parts.containers)
            bundle.write_etc_files(container, directory, joined.endpoints, self._host_gateway(), linked)
            undo.push_async_callback(self._unpublish, container)
            await parts.ports.publish(container, self._endpoints.bridged(self._endpoints.ways(joined.endpoints)))
            bundle.forget_volatile(directory)
            variables, ids = links.environment(container, parts.containers), user.ids if user else None
            place = bundle.Place(settings, parts.images, cgroup, parts.accounts, bool(joined.fds), variables, ids)
            plan = container_plan(bundle.container_spec(container, image, place))
            monitor = await Monitor.spawn(
                container.id,
                settings.monitor_directory(container.id),
                parts.monitor_binary,
                encode(plan),
                [
                    *joined.fds,
                    *namespaces.donors(container.host, parts.containers, fds_of_start),
                    *([user.fd] if user else []),
                ],
                parts.cgroups.monitors,
            )
            undo.callback(self._forget_monitor, container.id, monitor)
            # An intent, too: if this daemon does not get to see the start succeed, the next one knows of what it took.
            parts.containers.change(container, endpoints=joined.endpoints)
            undo.callback(parts.containers.note, container, container.state.status, endpoints={})
            live.waiting.hand_to(monitor)
            try:
                results = await monitor.start()
            except StartFailed as error:
                self.starts.put(container.id, reports.write(directory, plan, error.results))
                raise reports.failure(error, container.definition.path) from None
            undo.push_async_callback(self._kill_and_wait, container.id, monitor)
            self._running(container, live, monitor, joined.endpoints)
            self.starts.put(container.id, reports.write(directory, plan, results))
            undo.pop_all()

    def _undo_cgroup(self, container: Container) -> None:
        """What failed is the news, not that a process hangs in a step that no signal ends, and keeps its cgroup."""
        try:
            self._parts.cgroups.remove(container.id)
        except Error as error:
            log.error("container %s: of a start that failed there is left: %s", container.shown, error)

    def _host_gateway(self) -> str:
        """What ``--add-host NAME:host-gateway`` means: the host as containers reach it."""
        return str(self._parts.bridge.gateway.ip) if self._parts.bridge else ""

    async def _unpublish(self, container: Container) -> None:
        self._parts.ports.withdraw(container)
        await asyncio.to_thread(self._parts.ports.settle)

    def _running(
        self, container: Container, live: Live, monitor: Monitor, endpoints: dict[str, EndpointRecord]
    ) -> None:
        self._parts.containers.change(
            container,
            Status.RUNNING,
            pid=monitor.pid,
            exit_code=0,
            error="",
            oom_killed=False,
            health=health.at_start(container.config),
            stop_deadline=0,
            started_at=times.now(),
            finished_at=container.state.finished_at,
            endpoints=endpoints,
        )
        self.watch(container, live, monitor)
        with suppress(OSError):  # who is linked to it looks it up in vain then, which must not end this start
            links.follow(container, self._parts.containers, self._parts.settings.container_directory)
        self._endpoints.publish(container, "connect", endpoints)
        self._parts.volumes.tell_of_use(container, "mount")
        self._parts.events.container(container, "start")

    async def _start_failed(self, container: Container, live: Live, error: Error) -> None:
        code = error.exit_code if isinstance(error, ExecFailed) else 128
        status = container.state.status
        if status is not Status.RUNNING:
            after = Status.EXITED if status is Status.RESTARTING else status
            self._parts.containers.note(container, after, exit_code=code, error=str(error))
        live.waiting.close()
        result = WaitResult(code, str(error))
        live.waits.fire("next-exit", result)
        live.waits.fire("not-running", result)
        if container.host.auto_remove:
            await self._remove(container, live, volumes=True)

    def _forget_monitor(self, ident: str, monitor: Monitor) -> None:
        monitor.close()
        remove_monitor_directory(self._parts.settings.monitor_directory(ident))

    async def _kill_and_wait(self, ident: str, monitor: Monitor) -> None:
        self._parts.cgroups.kill(ident)
        await monitor.exited

    # The end

    def watch(self, container: Container, live: Live, monitor: Monitor) -> None:
        """From here on its end will be noticed; for a container just started and for one that was found running."""
        live.monitor = monitor
        monitor.on_detach(partial(self._parts.events.container, container, "detach"))
        live.waiting.hand_to(monitor)
        live.finished = asyncio.Event()
        live.watcher = asyncio.get_running_loop().create_task(self._watch(container, live, monitor))
        if self.probe:
            self.probe(container, live)

    async def _watch(self, container: Container, live: Live, monitor: Monitor) -> None:
        ended = await monitor.exited
        async with live.lock:
            try:
                await self.finish(container, live, ended)
            except Exception:
                log.exception("container %s: its end could not be recorded whole", container.id)
            finally:
                live.finished.set()

    async def finish(self, container: Container, live: Live, ended: Exit) -> None:
        """running → exited: the state, the events, the waiters, and everything that belonged to the run is let go."""
        parts = self._parts
        oom = parts.cgroups.oom_killed(container.id)
        parts.ports.withdraw(container)
        live.letting_go = self._let_go(container)
        endpoints, started = container.state.endpoints, container.state.started_at
        finished = times.parse_rfc3339(ended.finished) or times.now()
        again = wanted(container, ended.code)
        if live.probing:
            live.probing.cancel()
        noted = parts.containers.note(
            container, Status.RESTARTING if again else Status.EXITED, pid=0, exit_code=ended.code, error=ended.error,
            oom_killed=oom, finished_at=finished, endpoints={}, restart_count=container.state.restart_count + again,
            health=health.at_end(container.state), stop_deadline=0,
        )  # fmt: skip
        if live.monitor:
            live.monitor.release()
            live.monitor.close()
            live.monitor = None
            live.waiting.ended()
        if noted:  # else its exit record is for the next daemon to read
            remove_monitor_directory(parts.settings.monitor_directory(container.id))
        if oom:
            self._parts.events.container(container, "oom")
        self._endpoints.publish(container, "disconnect", endpoints)
        parts.volumes.tell_of_use(container, "unmount")
        seconds = max(finished - started, 0) // times.SECOND
        self._parts.events.container(container, "die", exitCode=str(ended.code), execDuration=str(seconds))
        result = WaitResult(ended.code, ended.error)
        live.waits.fire("next-exit", result)
        live.waits.fire("not-running", result)
        if again:
            self.restarts.schedule(container, live, finished - started)
        if container.host.auto_remove and not live.restarts:
            try:
                await self._remove(container, live, volumes=True)
            except (Error, OSError, sqlite3.Error) as error:
                log.error("container %s: could not be removed, rm tries again: %s", container.shown, error)
                live.waits.fire("removed", result)  # who ran it with --rm would wait for ever

    def _let_go(self, container: Container) -> asyncio.Future[None]:
        """Strays at once; then cgroup and network in a thread: taking a link down waits 20 ms for the kernel.

        Nobody who only waits for the exit code waits for that. The next start does, and the removal: what is reported
        as removed is gone.
        """
        self._parts.cgroups.kill(container.id)
        self._endpoints.resolvers.close(container.id)
        return asyncio.get_running_loop().run_in_executor(None, self._take_down, container)

    def _take_down(self, container: Container) -> None:
        """Raises nothing: the next start and the removal wait for this, and would fail each time."""
        parts, ident = self._parts, container.id
        release = self._endpoints.release
        for step in (partial(parts.cgroups.remove, ident), parts.ports.settle, partial(release, ident)):
            try:
                step()
            except Exception as error:
                log.error("container %s: something of it could not be let go: %s", container.shown, error)

    async def restart(self, container: Container, timeout: int | None, signal_name: str) -> None:
        """stop, if it runs, and start. A container with AutoRemove stays, as Docker has it."""
        live = self._parts.containers.live(container)
        live.restarts += 1
        try:
            if container.state.up:
                await self.stops.stop(container, timeout, signal_name)
        finally:
            live.restarts -= 1
        with suppress(NotModified):  # another client was faster, and the container runs
            await self.start(container)
        self._parts.events.container(container, "restart")

    # Removal

    async def remove(self, container: Container, force: bool, volumes: bool) -> None:
        """The end of a container. A running one only with ``force``."""
        live = self._parts.containers.live(container)
        if container.state.up:
            if not force:
                raise Conflict(
                    f'cannot remove container "/{container.name}": container is {container.state.status.value}: '
                    "stop the container before removing or force remove"
                )
            await self.stops.end(container)
        async with live.lock:
            if self._parts.containers.get(container.id) is None:
                return
            if container.state.alive:
                raise Conflict(f"removal of container {container.name}: it was started again meanwhile")
            await self._remove(container, live, volumes)

    async def finish_removal(self, container: Container) -> None:
        """A removal that an earlier daemon did not get to the end of."""
        live = self._parts.containers.live(container)
        async with live.lock:
            live.letting_go = self._let_go(container)
            await self._remove(container, live, container.state.removes_volumes or container.host.auto_remove)

    async def _remove(self, container: Container, live: Live, volumes: bool) -> None:
        """With the lock held. Each part is idempotent, so that a removal that was cut short can be finished."""
        parts, settings = self._parts, self._parts.settings
        if live.letting_go:
            await live.letting_go
        await asyncio.to_thread(self._take_down, container)  # once more: what could not be let go may be by now
        if container.state.status is not Status.REMOVING:
            parts.containers.note(container, Status.REMOVING, removes_volumes=volumes)
        remove_monitor_directory(settings.monitor_directory(container.id))
        parts.trash.take(settings.container_directory(container.id))
        if volumes:
            parts.volumes.remove_anonymous(create.anonymous(container.definition.mounts), container.id)
        try:
            parts.containers.discard(container)
        except WriteFailed:
            await asyncio.to_thread(parts.trash.wait)  # the disk is full: what was just deleted makes room,
            parts.containers.forget(container)  # unless somebody else has taken it: then the row goes later
        live.waiting.close()
        self._parts.events.container(container, "destroy")
        result = WaitResult(container.state.exit_code)
        self.removed.put(container.id, result)
        for condition in ("not-running", "next-exit", "removed"):
            live.waits.fire(condition, result)
        await asyncio.to_thread(parts.images.release, parts.containers.users_of)
