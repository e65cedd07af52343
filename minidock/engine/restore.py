"""After a start of the daemon: what is written, what is there, and making the two agree.

For each container the database says where it stood; its monitor, if it lives, says where it stands; its exit record
says how it ended meanwhile. Whatever is there and belongs to nobody (a start that was cut short) is taken away. In the
end every container is in one legal state, and the machine holds nothing of one that does not run.

All of it has happened already, so a full disk keeps none of it from being known (Containers.note) and served.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from minidock.engine import create, health, leftovers
from minidock.engine.lifecycle import Lifecycle
from minidock.engine.model import Container, Status
from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.parts import Parts
from minidock.runtime.exit_record import lost, read_exit_record, remove_monitor_directory
from minidock.runtime.monitor import Monitor
from minidock.wire import times
from minidock.wire.errors import Error, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
PAUSE = 5  # seconds until a monitor that does not answer is asked again
_AT_ONCE = 32  # monitors that are asked


async def restore(parts: Parts, lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Brings all containers into a legal state. A failure with one does not keep the others from it."""
    parts.volumes.remake()
    await _each(parts.containers.all(), functools.partial(_restore, parts, lifecycle))
    await _sweep(parts, endpoints)
    await asyncio.to_thread(parts.images.release, parts.containers.users_of)
    await endpoints.adopt()
    for container in parts.containers.all():
        if container.state.status is Status.EXITED and container.definition.wanted_at_boot(container.state):
            parts.containers.note(container, Status.RESTARTING)
            lifecycle.restarts.after(container, 0)
    await parts.ports.restore(endpoints.mark, parts.settings.instance, parts.bridge is not None)
    lifecycle.restarts.begin()


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Several at a time: a monitor may take its time to answer, and the daemon serves nobody before all are asked."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> None:
        async with room:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))


async def _restore(parts: Parts, lifecycle: Lifecycle, container: Container) -> None:
    try:
        await _settle(parts, lifecycle, container)
    except Unavailable as error:
        log.warning("container %s: %s; asked again later", container.shown, error)
        work = _ask_again(parts, lifecycle, container)
        parts.containers.live(container).watcher = asyncio.get_running_loop().create_task(work)
    except (Error, OSError, sqlite3.Error) as error:
        log.error("container %s: not restored: %s", container.shown, error)


async def _ask_again(parts: Parts, lifecycle: Lifecycle, container: Container) -> None:
    """Its monitor is there and does not answer: stopped, or held up by a file system that hangs. Its turn comes."""
    while container.state.alive and parts.containers.live(container).monitor is None:
        await asyncio.sleep(PAUSE)
        try:
            await _settle(parts, lifecycle, container)
        except Unavailable:
            continue
        except (Error, OSError, sqlite3.Error) as error:
            log.error("container %s: not restored: %s", container.shown, error)
            return


async def _settle(parts: Parts, lifecycle: Lifecycle, container: Container) -> None:
    await _agree(parts, lifecycle, container)
    if container.definition.build and parts.containers.get(container.id):
        log.info("container %s: the build that it was a step of is over, removed", container.shown)
        await lifecycle.remove(container, force=True, volumes=True)


async def _agree(parts: Parts, lifecycle: Lifecycle, container: Container) -> None:
    parts.cgroups.place(container.id, container.host.cgroup_parent)
    if container.state.status is Status.REMOVING:
        log.info("container %s: finishing its removal", container.shown)
        return await lifecycle.finish_removal(container)
    if container.state.status is Status.CREATED and create.half_made(parts.settings.container_directory(container.id)):
        log.info("container %s: was half made, removed", container.shown)
        parts.containers.note(container, Status.REMOVING, removes_volumes=True)
        return await lifecycle.finish_removal(container)
    directory = parts.settings.monitor_directory(container.id)
    monitor, record = await _adopt(parts, container), read_exit_record(directory)
    live = parts.containers.live(container)
    if not container.state.alive and (monitor or record):
        if record and times.parse_rfc3339(record.finished) == container.state.finished_at:
            if monitor:  # this end is on record; the monitor still waits for a word
                monitor.release()
                monitor.close()
            monitor = None
        else:
            _note_start(parts, container, monitor.pid if monitor else 0, directory)
    if monitor is not None:
        if container.state.status is Status.RUNNING:  # frozen for a copy, or to be paused, when the daemon went
            await asyncio.to_thread(parts.cgroups.thaw, container.id)
        elif not parts.cgroups.frozen(container.id):
            parts.containers.note(container, Status.RUNNING)  # it went between the thaw and writing it down
        lifecycle.watch(container, live, monitor)
        log.info("container %s: runs on, pid %d", container.shown, monitor.pid)
        if container.state.stop_deadline:
            lifecycle.stops.carry_on(container, live)
    elif container.state.alive:
        ended = record or lost()
        log.info("container %s: ended meanwhile, exit code %d", container.shown, ended.code)
        async with live.lock:
            await lifecycle.finish(container, live, ended)
    elif container.state.status is Status.RESTARTING:
        lifecycle.restarts.after(container, 0)
    elif container.state.endpoints:  # of a start that did not come to be
        parts.containers.note(container, container.state.status, endpoints={})


def _note_start(parts: Parts, container: Container, pid: int, directory: Path) -> None:
    """The daemon went between the start and writing it down; the start itself was whole."""
    parts.containers.note(
        container,
        Status.RUNNING,
        pid=pid,
        error="",
        exit_code=0,
        stop_deadline=0,
        started_at=directory.stat().st_mtime_ns,
        health=health.at_start(container.config),
    )


async def _adopt(parts: Parts, container: Container) -> Monitor | None:
    """The container's monitor, if it lives and supervises a process; None if not."""
    try:
        monitor = await Monitor.adopt(container.id, parts.settings.monitor_directory(container.id))
    except (FileNotFoundError, ConnectionError):
        return None
    if monitor.state == "waiting":
        monitor.close()
        return None
    return monitor


async def _sweep(parts: Parts, endpoints: Endpoints) -> None:
    """Takes away what belongs to nobody, as ``doctor --leaks`` would name it; then ends what monitors are left."""
    alive = parts.containers.in_use()
    for leftover in await asyncio.to_thread(leftovers.find, parts, endpoints, alive):
        log.info("%s %s: %s, removed", leftover.kind, leftover.name, leftover.why)
        try:
            await asyncio.to_thread(leftover.take)
        except (Error, OSError) as error:
            log.error("%s %s: could not be removed: %s", leftover.kind, leftover.name, error)
    await _sweep_monitors(parts, alive)


async def _sweep_monitors(parts: Parts, alive: set[str]) -> None:
    """Directories of monitors that ended; an exec's monitor that lives is waited for.

    An exit record that the database does not have yet, for want of room, is kept for the next daemon.
    """
    known = alive | parts.containers.unwritten
    found = (parts.settings.exec_root / "monitors").iterdir()
    await _each([entry for entry in found if entry.name not in known], _sweep_monitor)


async def _sweep_monitor(entry: Path) -> None:
    try:
        monitor = await Monitor.adopt(entry.name, entry)
    except Unavailable as error:
        return log.warning("exec %s: %s", entry.name[:12], error)
    except (OSError, Error):
        return remove_monitor_directory(entry)
    if monitor.state == "waiting":  # for a start that nobody will ask for: without us it ends
        monitor.close()
        return remove_monitor_directory(entry)
    log.info("exec %s: runs on", entry.name[:12])
    monitor.exited.add_done_callback(functools.partial(_exec_ended, monitor, entry))


def _exec_ended(monitor: Monitor, entry: Path, _: object) -> None:
    monitor.release()
    monitor.close()
    remove_monitor_directory(entry)
