"""Limits: Docker's options turned into what is written to the files of a cgroup.

    Docker                      file              value
    --memory                    memory.max        bytes
                                memory.oom.group  1: who runs out of memory ends whole, not by one process
    --memory-swap               memory.swap.max   Docker counts memory + swap, the kernel swap alone: the difference
    --memory-reservation        memory.low        bytes that are reclaimed last
    --cpus, --cpu-quota/period  cpu.max           "QUOTA PERIOD" in microseconds
    --cpu-shares                cpu.weight        2..262144 around 1024 becomes 1..10000 around 100
    --cpuset-cpus, -mems        cpuset.cpus, .mems  a list such as 0-2,5
    --pids-limit                pids.max          a number
    --blkio-weight, -device     io.weight         10..1000 becomes 1..10000 in a straight line, as runc has it
    --device-read-bps, …        io.max            a line for each device and rate
    --hugetlb-limit 2MB=…       hugetlb.2MB.max, .rsvd.max   bytes, which the kernel rounds down to whole pages

The last is not Docker's; the API calls it as the OCI runtime spec does. It takes both files. rsvd.max makes an mmap(2)
that would reserve too much fail (ENOMEM); without it a container could reserve the host's whole pool, touching no page.
But it does not count what is mapped with MAP_NORESERVE: there max ends who touches a page too many (SIGBUS).

All functions here are pure. A limit whose file does not exist on this machine becomes a warning, as in Docker, and
never a silence.

Serves tree.py. See: cgroup-v2.rst, "Controllers"; cgroup-v1/hugetlb.rst, "reservation usage"; the OCI runtime spec,
config-linux.md. Read next: tree.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minidock.wire.errors import InvalidArgument

MIN_MEMORY = 6 << 20
"""Docker's floor: with less, not even the container's set-up fits."""

PERIOD = 100_000
"""The period in microseconds over which --cpus is measured, Docker's and the kernel's default."""

_PAGE_SIZE = re.compile(r"[1-9]\d{0,3}[KMG]B", re.ASCII)
_CPU_LIST = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What a container may use. None is "not set"; 0 means the same, as in Docker's JSON; -1 is "without limit".

    Memory in bytes; ``memory_swap`` is memory and swap together; ``nano_cpus`` in 10^-9 of a core; ``cpu_period`` and
    ``cpu_quota`` in microseconds; ``hugepages`` by size of page, where 0 is none at all. For an update give the whole
    wish (the swap limit depends on the memory limit).
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    io_weight: int | None = None
    io_weights: tuple[tuple[str, int], ...] = ()
    io_max: tuple[str, ...] = ()
    hugepages: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Setting:
    """One write: ``value`` into ``file``, and what Docker calls the thing where the file is missing."""

    file: str
    value: str
    missing: str


_NO = "Your kernel does not support {} or the cgroup is not mounted. {}"
_MISSING = {
    "memory.max": _NO.format("memory limit capabilities", "Limitation discarded"),
    "memory.swap.max": _NO.format("swap limit capabilities", "Memory limited without swap"),
    "memory.oom.group": _NO.format("memory limit capabilities", "Limitation discarded"),
    "memory.low": _NO.format("memory soft limit capabilities", "Limitation discarded"),
    "cpu.max": _NO.format("CPU CFS scheduler", "CPU limit discarded"),
    "cpu.weight": _NO.format("CPU shares", "Shares discarded"),
    "cpuset.cpus": _NO.format("cpuset", "CPUs/Mems discarded"),
    "cpuset.mems": _NO.format("cpuset", "CPUs/Mems discarded"),
    "pids.max": _NO.format("PIDs limit capabilities", "PIDs limit discarded"),
    "io.weight": _NO.format("Block I/O weight", "Weight discarded"),
    "io.max": _NO.format("Block I/O throttling", "Block I/O limit discarded"),
}


_NO_HUGETLB = _NO.format("hugetlb limits", "Limit of huge pages discarded")


def settings(limits: Limits) -> list[Setting]:
    """The writes for a set of limits, in an order that the kernel takes; what is not set is not named.

    memory.swap.max goes before memory.max: a container that is to get less memory may then swap out what it must lose.
    Huge pages go first of all, since they can't be taken back: a limit below what is in use is refused (EBUSY).
    """
    wanted = {
        "memory.swap.max": _swap_max(limits),
        "memory.max": _amount(limits.memory or None),
        "memory.oom.group": "1" if limits.memory else None,
        "memory.low": _amount(limits.memory_reservation or None),
        "cpu.max": _cpu_max(limits),
        "cpu.weight": str(weight(limits.cpu_shares)) if limits.cpu_shares else None,
        "cpuset.cpus": limits.cpuset_cpus or None,
        "cpuset.mems": limits.cpuset_mems or None,
        "pids.max": _amount(limits.pids_limit),
        "io.weight": f"default {_io_weight(limits.io_weight)}" if limits.io_weight else None,
    }
    writes = [
        (file, str(most) if most >= 0 else "max") for size, most in limits.hugepages for file in _hugetlb_files(size)
    ]
    writes += [(file, value) for file, value in wanted.items() if value is not None]
    writes += [
        ("io.weight", f"{device} {_io_weight(wanted) if wanted else 'default'}") for device, wanted in limits.io_weights
    ]
    writes += [("io.max", line) for line in limits.io_max]
    return [Setting(file, value, _MISSING.get(file, _NO_HUGETLB)) for file, value in writes]


def _hugetlb_files(size: str) -> tuple[str, str]:
    return f"hugetlb.{size}.rsvd.max", f"hugetlb.{size}.max"


def _amount(number: int | None) -> str | None:
    """A number as the kernel takes it; 0 and less is Docker's way to say "no limit"."""
    if number is None:
        return None
    return str(number) if number > 0 else "max"


def _io_weight(weight: int) -> int:
    return 1 + (weight - 10) * 9999 // 990


def _swap_max(limits: Limits) -> str | None:
    """Swap alone, from Docker's sum of memory and swap. Where only memory is set, Docker allows as much swap again."""
    if not limits.memory_swap:
        return _amount(limits.memory or None)
    if limits.memory_swap < 0 or not limits.memory:
        return "max"
    return str(limits.memory_swap - limits.memory)


def _cpu_max(limits: Limits) -> str | None:
    """--cpus is a quota over the default period; quota and period are taken as they are."""
    if limits.nano_cpus:
        return f"{limits.nano_cpus * PERIOD // 10**9} {PERIOD}"
    if not limits.cpu_quota and not limits.cpu_period:
        return None
    quota = limits.cpu_quota or -1
    return f"{quota if quota > 0 else 'max'} {limits.cpu_period or PERIOD}"


def weight(shares: int) -> int:
    """cpu.weight from Docker's shares: 2, 1024 and 262144 become 1, 100 and 10000.

    The quadratic in log2(shares) through these three points is what runc and crun use since 2025. A straight line
    (their first choice) made the default of 1024 a weight of 39, less than what the kernel gives a cgroup by default.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def warnings(limits: Limits, has: Callable[[str], bool], why: Callable[[str], str]) -> list[str]:
    """One line for each limit that can't be enforced here.

    ``has`` tells whether a file exists in our cgroups, ``why`` the reason for a controller that has none.
    A setting of "max" takes nothing away where the file is missing, so it is not worth a warning; nor is swap where
    memory has no limit either.
    """
    lines = [
        f"{setting.missing} ({why(setting.file)}; see minidock doctor)."
        for setting in settings(limits)
        if not setting.value.startswith("max") and not has(setting.file)
        if setting.file != "memory.swap.max" or has("memory.max")
    ]
    return list(dict.fromkeys(lines))


def check(limits: Limits, cpus: int) -> None:
    """Docker's rules for what may be asked for, in Docker's words. Raises InvalidArgument. ``cpus``: cores here."""
    _check_memory(limits.memory or 0, limits.memory_swap or 0, limits.memory_reservation or 0)
    _check_cpu(limits, cpus)
    if limits.io_weight and not 10 <= limits.io_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for device, wanted in limits.io_weights:
        if wanted and not 10 <= wanted <= 1000:
            raise InvalidArgument(f"Range of blkio weight is from 10 to 1000, not {wanted} for device {device}")
    _check_hugepages(limits.hugepages)
    for option, value in (
        ("cpuset-cpus", limits.cpuset_cpus),
        ("cpuset-mems", limits.cpuset_mems),
    ):
        if value and not _CPU_LIST.fullmatch(value):
            raise InvalidArgument(f"Invalid value {value} for {option}", "a list such as 0-2,5")


def _check_memory(memory: int, swap: int, reservation: int) -> None:
    if memory and memory < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if not memory and swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if reservation and reservation < MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(limits: Limits, cpus: int) -> None:
    nano, quota, period = (
        limits.nano_cpus or 0,
        limits.cpu_quota or 0,
        limits.cpu_period or 0,
    )
    if nano and (quota > 0 or period > 0):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
    if nano and not 10_000_000 <= nano <= cpus * 10**9:
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (limits.cpu_shares or 0) < 0:
        raise InvalidArgument(f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer")


def _check_hugepages(wanted: tuple[tuple[str, int], ...]) -> None:
    sizes = [size for size, _ in wanted]
    for size, most in wanted:
        if not _PAGE_SIZE.fullmatch(size):
            raise InvalidArgument(f"invalid size of huge pages: {size!r}", "such as 2MB or 1GB")
        if most < -1:
            raise InvalidArgument(
                f"invalid limit of huge pages of {size}: {most}", "bytes, 0 for none, -1 for unlimited"
            )
        if sizes.count(size) > 1:
            raise InvalidArgument(f"huge pages of {size} are limited twice")


def check_page_sizes(wanted: tuple[tuple[str, int], ...], files: Iterable[str]) -> None:
    """Refuses a size of huge pages that this kernel has not; one without the controller has none to compare with."""
    parts = [file.split(".") for file in sorted(files)]
    sizes = [part[1] for part in parts if part[0] == "hugetlb" and part[2:] == ["max"]]
    for size, _ in wanted:
        if sizes and size not in sizes:
            raise InvalidArgument(f"this kernel has no huge pages of {size}", f"it has {', '.join(sizes)}")


def cpu_list(text: str) -> frozenset[int]:
    """The numbers in a list such as ``0-2,5``; the kernel writes cpuset.cpus.effective in the same form."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def check_available(what: str, wanted: str | None, available: str) -> None:
    """Docker's refusal of cores or memory nodes that the machine lacks; the kernel would ignore them in silence."""
    if wanted and not cpu_list(wanted) <= cpu_list(available):
        raise InvalidArgument(
            f"Requested {what} are not available - requested {wanted}, available: {available.strip()}"
        )
