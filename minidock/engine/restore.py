"""After a start of the daemon: what is written, what is there, and making the two agree.

For each container the database says where it stood; its monitor, if it lives, says where it stands; its exit record
says how it ended meanwhile. Whatever is there and belongs to nobody (a start that was cut short) is taken away. In the
end every container is in one legal state, and the machine holds nothing of one that does not run.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from pathlib import Path

from minidock.engine import restarts
from minidock.engine.endpoints import Endpoints
from minidock.engine.lifecycle import Lifecycle, remove_monitor_directory, short
from minidock.engine.model import Container, Status
from minidock.engine.parts import Parts
from minidock.runtime.exit_record import lost, read_exit_record
from minidock.runtime.monitor import Monitor
from minidock.wire.errors import Error

log = logging.getLogger(__name__)


async def restore(parts: Parts, lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Brings all containers into a legal state. A failure with one does not keep the others from it."""
    for container in parts.containers.all():
        try:
            await _restore(parts, lifecycle, container)
        except (Error, OSError) as error:
            log.error("container %s: not restored: %s", short(container), error)
    await _sweep(parts, endpoints)
    await endpoints.adopt()
    for container in parts.containers.all():
        if container.state.status is Status.EXITED and restarts.wanted_at_boot(container):
            parts.containers.change(container, Status.RESTARTING)
            lifecycle.restarts.after(container, 0)
    if parts.bridge:
        await parts.ports.restore(parts.bridge.mark)
    lifecycle.restarts.begin()


async def _restore(parts: Parts, lifecycle: Lifecycle, container: Container) -> None:
    if container.state.status in (Status.REMOVING, Status.DEAD):
        log.info("container %s: finishing its removal", short(container))
        return await lifecycle.finish_removal(container)
    monitor = await _adopt(parts, container)
    live = parts.containers.live(container)
    if monitor is not None:
        if not container.state.alive:
            # The daemon went between the start and writing it down; the start itself was whole.
            parts.containers.change(container, Status.RUNNING, pid=monitor.pid, error="", exit_code=0)
        live.monitor = monitor
        if container.state.status is Status.RUNNING:  # frozen for a copy, or to be paused, when the daemon went
            await asyncio.to_thread(parts.cgroups.thaw, container.id)
        lifecycle.watch(container, live, monitor)
        log.info("container %s: runs on, pid %d", short(container), monitor.pid)
    elif container.state.alive:
        ended = read_exit_record(parts.settings.monitor_directory(container.id)) or lost()
        log.info("container %s: ended meanwhile, exit code %d", short(container), ended.code)
        async with live.lock:
            await lifecycle.finish(container, live, ended)
    elif container.state.status is Status.RESTARTING:
        lifecycle.restarts.after(container, 0)


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
    """Takes away what belongs to no running container: cgroups, leases and links, directories."""
    alive = {container.id for container in parts.containers.all() if container.state.alive}
    known = parts.containers.known_ids()
    for ident in parts.cgroups.list() - alive:
        log.info("cgroup of %s: nothing runs in it that should, removed", ident[:12])
        parts.cgroups.kill(ident)
        await asyncio.to_thread(parts.cgroups.remove, ident)
    await asyncio.to_thread(endpoints.sweep, alive)
    containers = parts.settings.data_root / "containers"
    for entry in containers.iterdir():
        if entry.name not in known:
            parts.trash.take(entry)
    await _sweep_monitors(parts, alive)


async def _sweep_monitors(parts: Parts, alive: set[str]) -> None:
    """Directories of monitors that ended; an exec's monitor that lives is waited for."""
    for entry in (parts.settings.exec_root / "monitors").iterdir():
        if entry.name in alive:
            continue
        try:
            monitor = await Monitor.adopt(entry.name, entry)
        except (OSError, Error):
            remove_monitor_directory(entry)
            continue
        log.info("exec %s: runs on", entry.name[:12])
        monitor.exited.add_done_callback(functools.partial(_exec_ended, monitor, entry))


def _exec_ended(monitor: Monitor, entry: Path, _: object) -> None:
    monitor.release()
    monitor.close()
    remove_monitor_directory(entry)
