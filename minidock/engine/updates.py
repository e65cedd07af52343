"""`docker update`: other limits and another restart policy for a container that exists, at once if it runs.

Only what the request names changes; the whole is then checked as it is at create. The kernel is told first and the
database second: a limit that the kernel refuses is not written down as if it held. See: Docker Engine API 1.45,
ContainerUpdate; moby container/container_unix.go for the conflicts. Read next: cgroup/limits.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from minidock.engine import create, throttles
from minidock.engine.config import HostConfig
from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.wire.errors import Conflict, NotImplemented

LIMITS = (
    "memory", "memory_swap", "memory_reservation", "nano_cpus", "cpu_shares", "cpu_period", "cpu_quota", "cpuset_cpus",
    "cpuset_mems", "blkio_weight",
)  # fmt: skip
_OTHERS = ("cpu_realtime_period", "cpu_realtime_runtime", "devices", "device_cgroup_rules", "ulimits")


class Updates:
    """The verb."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def update(self, reference: str, wish: HostConfig) -> list[str]:
        """Changes what ``wish`` sets; returns the warnings. Raises InvalidArgument, Conflict, NotImplemented."""
        parts, container = self._parts, self._parts.containers.resolve(reference)
        async with parts.containers.live(container).lock:  # also of the look: two updates at once must both come true
            host = merged(container, wish)
            create.check_host(host)
            warnings = parts.cgroups.check(create.limits(host))
            if container.state.alive:
                await asyncio.to_thread(parts.cgroups.update, container.id, create.limits(host))
            kept = throttles.without_zeros(host)
            parts.containers.redefine(container, dataclasses.replace(container.definition, host=kept))
        self._parts.events.container(container, "update")
        return warnings


def merged(container: Container, wish: HostConfig) -> HostConfig:
    """The container's settings with those of a wish put over them. A 0 and an empty text wish nothing."""
    host = container.host
    for name in _OTHERS:
        if getattr(wish, name):
            raise NotImplemented(f"update of {name.replace('_', ' ')}: not there yet in minidock", "create it anew")
    _check_conflicts(container, host, wish)
    changes: dict[str, Any] = {name: getattr(wish, name) for name in LIMITS if getattr(wish, name)}
    if wish.pids_limit is not None:
        changes["pids_limit"] = wish.pids_limit or -1
    if wish.hugepage_limits:
        named = {one.page_size for one in wish.hugepage_limits}
        others = [one for one in host.hugepage_limits or () if one.page_size not in named]
        changes["hugepage_limits"] = (*others, *wish.hugepage_limits)
    if wish.restart_policy.name:
        if host.auto_remove and wish.restart_policy.name != "no":
            raise _refusal(
                container, "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        changes["restart_policy"] = wish.restart_policy
    return throttles.updated(dataclasses.replace(host, **changes), wish)


def _check_conflicts(container: Container, host: HostConfig, wish: HostConfig) -> None:
    if wish.nano_cpus and (host.cpu_period or host.cpu_quota):
        already = "CPU Period" if host.cpu_period else "CPU Quota"
        raise _refusal(container, f"Conflicting options: Nano CPUs cannot be updated as {already} has already been set")
    for name, words in (("cpu_period", "CPU Period"), ("cpu_quota", "CPU Quota")):
        if getattr(wish, name) and host.nano_cpus:
            text = f"Conflicting options: {words} cannot be updated as NanoCPUs has already been set"
            raise _refusal(container, text)
    if not wish.memory_swap and 0 < host.memory_swap < wish.memory:
        text = (
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
        raise _refusal(container, text)


def _refusal(container: Container, text: str) -> Conflict:
    return Conflict(f"Cannot update container {container.id}: {text}")
