"""What a container has used: the counters of its cgroup, as numbers.

The files are ``cpu.stat`` (which exists even without the cpu controller), ``memory.current``, ``memory.stat``,
``memory.max``, ``pids.current`` and ``io.stat``. A counter whose controller is missing is None (or empty), so that
nobody takes "not counted" for "nothing used".

Serves the API's stats and top. See: cgroup-v2.rst, the "Interface Files" of each controller. Read next: tree.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BlockIo:
    """One block device: bytes and requests read and written."""

    major: int
    minor: int
    rbytes: int
    wbytes: int
    rios: int
    wios: int


@dataclass(frozen=True)
class Stats:
    """Counters since the cgroup was made. CPU times in microseconds, memory in bytes; a limit of None is "none set"."""

    cpu_usage: int
    cpu_user: int
    cpu_system: int
    cpu_periods: int
    cpu_throttled: int
    cpu_throttled_time: int
    memory_current: int | None
    memory_limit: int | None
    memory_stat: Mapping[str, int]
    pids_current: int | None
    pids_limit: int | None
    io: tuple[BlockIo, ...] | None


def read_stats(cgroup: Path) -> Stats:
    """The counters of one cgroup directory."""
    cpu = _pairs(cgroup / "cpu.stat")
    return Stats(
        cpu_usage=cpu.get("usage_usec", 0),
        cpu_user=cpu.get("user_usec", 0),
        cpu_system=cpu.get("system_usec", 0),
        cpu_periods=cpu.get("nr_periods", 0),
        cpu_throttled=cpu.get("nr_throttled", 0),
        cpu_throttled_time=cpu.get("throttled_usec", 0),
        memory_current=_number(cgroup / "memory.current"),
        memory_limit=_number(cgroup / "memory.max"),
        memory_stat=_pairs(cgroup / "memory.stat"),
        pids_current=_number(cgroup / "pids.current"),
        pids_limit=_number(cgroup / "pids.max"),
        io=_io(cgroup / "io.stat"),
    )


def read_counter(file: Path, key: str) -> int:
    """One counter of a ``key value`` file such as memory.events; 0 where the file or the key does not exist."""
    return _pairs(file).get(key, 0)


def _text(file: Path) -> str | None:
    """None where the file does not exist, which is how a missing controller looks."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return None


def _number(file: Path) -> int | None:
    text = (_text(file) or "").strip()
    return int(text) if text.isdigit() else None


def _pairs(file: Path) -> dict[str, int]:
    lines = (line.split() for line in (_text(file) or "").splitlines())
    return {key: int(value) for key, value in lines}


def _io(file: Path) -> tuple[BlockIo, ...] | None:
    text = _text(file)
    return None if text is None else tuple(_device(line) for line in text.splitlines() if " " in line)


def _device(line: str) -> BlockIo:
    """``8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0``"""
    device, *fields = line.split()
    major, _, minor = device.partition(":")
    values = dict(field.split("=", 1) for field in fields)
    rbytes, wbytes, rios, wios = (int(values.get(key, 0)) for key in ("rbytes", "wbytes", "rios", "wios"))
    return BlockIo(int(major), int(minor), rbytes, wbytes, rios, wios)
