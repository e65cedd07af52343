"""`GET /containers/{c}/stats` as JSON: two samples side by side, from which clients reckon the percentages.

Docker's names for cgroup v2. A container that does not run has zeros, and no time. Memory has no numbers where the
memory controller is missing, which clients show as 0. See: Docker Engine API 1.45, ContainerStats.
"""

from __future__ import annotations

from typing import Any

from minidock.cgroup.stats import Stats
from minidock.engine.model import Container
from minidock.engine.statistics import Sample
from minidock.wire import times

_OTHER_IO = ("io_serviced", "io_queue", "io_service_time", "io_wait_time", "io_merged", "io_time")


def stats(container: Container, now: Sample, before: Sample) -> dict[str, Any]:
    """One object of the stream."""
    value = {
        "read": times.rfc3339(now.time),
        "preread": times.rfc3339(before.time),
        "pids_stats": _pids(now.stats),
        "blkio_stats": _block_io(now.stats),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now),
        "name": f"/{container.name}",
        "id": container.id,
    }
    return {**value, "networks": now.networks} if now.networks else value


def _cpu(sample: Sample) -> dict[str, Any]:
    used = sample.stats
    value: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": used.cpu_usage * 1000 if used else 0,
            "usage_in_kernelmode": used.cpu_system * 1000 if used else 0,
            "usage_in_usermode": used.cpu_user * 1000 if used else 0,
        },
        "throttling_data": {
            "periods": used.cpu_periods if used else 0,
            "throttled_periods": used.cpu_throttled if used else 0,
            "throttled_time": used.cpu_throttled_time * 1000 if used else 0,
        },
    }
    return {**value, "system_cpu_usage": sample.system, "online_cpus": sample.cpus} if used else value


def _pids(used: Stats | None) -> dict[str, int]:
    if used is None or used.pids_current is None:
        return {}
    limit = {} if used.pids_limit is None else {"limit": used.pids_limit}
    return {"current": used.pids_current, **limit}


def _memory(sample: Sample) -> dict[str, Any]:
    used = sample.stats
    if used is None or used.memory_current is None:
        return {}
    limit = min(used.memory_limit or sample.memory, sample.memory)
    return {"usage": used.memory_current, "stats": dict(used.memory_stat), "limit": limit}


def _block_io(used: Stats | None) -> dict[str, Any]:
    bytes_moved: list[dict[str, Any]] | None = None
    if used and used.io is not None:
        bytes_moved = [
            {"major": device.major, "minor": device.minor, "op": op, "value": value}
            for device in used.io
            for op, value in (("read", device.rbytes), ("write", device.wbytes))
        ]
    others = dict.fromkeys((f"{name}_recursive" for name in _OTHER_IO), None)
    return {"io_service_bytes_recursive": bytes_moved, **others, "sectors_recursive": None}
