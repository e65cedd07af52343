"""What a container uses: the counters of its cgroup and of its network interfaces, beside those of the machine.

A sample is a moment; whoever wants a rate takes two. The interfaces are read through the first process's
/proc/PID/net/dev, which shows its network namespace without entering it; a container in the host's namespace has none
of its own. See: proc(5), /proc/stat and /proc/pid/net; cgroup/stats.py. Read next: api/render/stats.py.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from minidock.cgroup.stats import Stats
from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.wire import times
from minidock.wire.errors import NotFound

_COUNTED = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
_COLUMNS = (0, 1, 2, 3, 8, 9, 10, 11)
_BUSY_AND_IDLE = slice(1, 8)  # user nice system idle iowait irq softirq: what Docker calls the machine's CPU time


@dataclass(frozen=True)
class Sample:
    """A moment. ``stats`` is None for a container that does not run; ``system`` is the machine's CPU time in ns."""

    time: int = 0
    stats: Stats | None = None
    system: int = 0
    cpus: int = 0
    memory: int = 0
    networks: dict[str, dict[str, int]] = field(default_factory=dict)


class Statistics:
    """The samples of all containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def sample(self, container: Container) -> Sample:
        """Its counters now; an empty sample if it does not run."""
        return await asyncio.to_thread(self._sample, container) if container.state.alive else Sample()

    def _sample(self, container: Container) -> Sample:
        try:
            stats = self._parts.cgroups.stats(container.id)
        except (NotFound, OSError):  # it has just ended
            return Sample()
        system, cpus = machine(Path("/proc/stat").read_text())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Sample(times.now(), stats, system, cpus, memory, self._networks(container))

    def _networks(self, container: Container) -> dict[str, dict[str, int]]:
        if container.host.network_mode == "host":
            return {}
        try:
            return interfaces(Path(f"/proc/{container.state.pid}/net/dev").read_text())
        except OSError:
            return {}


def interfaces(text: str) -> dict[str, dict[str, int]]:
    """The counters of /proc/PID/net/dev by interface, without lo."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        values = [int(number) for number in numbers.split()]
        if name.strip() != "lo":
            found[name.strip()] = {key: values[at] for key, at in zip(_COUNTED, _COLUMNS, strict=True)}
    return found


def machine(text: str) -> tuple[int, int]:
    """(CPU time of all cores in nanoseconds, number of cores) of /proc/stat."""
    lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    ticks = sum(int(number) for number in lines[0][_BUSY_AND_IDLE])
    return ticks * (times.SECOND // os.sysconf("SC_CLK_TCK")), len(lines) - 1
