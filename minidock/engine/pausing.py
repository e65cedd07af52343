"""Pause and unpause: every process of a container frozen by its cgroup, and let go on.

The kernel freezes a whole tree of processes at once and tells when it is done, so nothing inside can notice or escape
it. The event is published with the container's lock still held, so that events come in the order of the changes.
See: cgroup-v2.rst, cgroup.freeze. Read next: stops.py.
"""

from __future__ import annotations

import asyncio

from minidock.engine.model import Container, Status
from minidock.engine.parts import Parts
from minidock.engine.restarts import check_not_restarting
from minidock.wire.errors import Conflict, Error


async def pause(parts: Parts, container: Container) -> None:
    """running → paused. Raises Conflict."""
    async with parts.containers.live(container).lock:
        if container.state.status is Status.PAUSED:
            raise Conflict(f"Container {container.id} is already paused")
        check_not_restarting(container)
        if container.state.status is not Status.RUNNING:
            raise Conflict(f"Container {container.id} is not running")
        await asyncio.to_thread(parts.cgroups.freeze, container.id)
        parts.containers.change(container, Status.PAUSED)
        parts.events.container(container, "pause")


async def unpause(parts: Parts, container: Container) -> None:
    """paused → running. Raises Error (Docker's 500) for one that is not paused."""
    async with parts.containers.live(container).lock:
        if container.state.status is not Status.PAUSED:
            raise Error(f"Container {container.id} is not paused")
        await asyncio.to_thread(parts.cgroups.thaw, container.id)
        parts.containers.change(container, Status.RUNNING)
        parts.events.container(container, "unpause")
