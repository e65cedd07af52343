"""What of the kernel's own file systems a container sees, as data: default mounts, masked and read-only paths.

/proc and /sys are not files but doors into the kernel, and not all of what lies behind them is namespaced: /proc/kcore
is the machine's memory, /proc/sysrq-trigger reboots it. The doors that nobody needs are masked (a file by a bind of
/dev/null, a directory by an empty read-only tmpfs), those that are read by ordinary programs become read-only. The
lists are Docker's; ``--privileged`` has neither.

Serves runtime/plan.py (steps ``mount``, ``mask`` and ``readonly``). Read next: docs/steps/mask.md, docs/steps/mount.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minidock.runtime.spec import Filesystem

SHM_SIZE = 64 << 20
"""Bytes of /dev/shm unless ``--shm-size`` says otherwise."""

_LOCKED = ("nosuid", "nodev", "noexec")

_MOUNTS = (
    Filesystem("proc", "/proc", _LOCKED),
    # 64 MiB bound what can be written to /dev itself; strictatime as every distribution mounts its devtmpfs.
    Filesystem("tmpfs", "/dev", ("nosuid", "strictatime"), ("mode=755", "size=65536k")),
    # A new instance each time, since Linux 4.7 without an option for it. Group 5 is tty; 0620 lets write(1) write.
    Filesystem(
        "devpts",
        "/dev/pts",
        ("nosuid", "noexec"),
        ("ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Filesystem("sysfs", "/sys", ("ro", *_LOCKED)),
    # Of the cgroup namespace: the container sees its own cgroup as the root of the tree, and can't write to it.
    Filesystem("cgroup2", "/sys/fs/cgroup", ("ro", *_LOCKED)),
    Filesystem("mqueue", "/dev/mqueue", _LOCKED),
)


def default_mounts(shm_size: int = SHM_SIZE, privileged: bool = False) -> tuple[Filesystem, ...]:
    """The mounts of every container, in an order in which each finds its parent mounted.

    ``shm_size`` in bytes; ``privileged`` makes /sys and the cgroup tree writable, as Docker does.
    """
    shm = Filesystem("tmpfs", "/dev/shm", _LOCKED, ("mode=1777", f"size={shm_size}"))
    return (*(_writable(mount) if privileged else mount for mount in _MOUNTS), shm)


def _writable(mount: Filesystem) -> Filesystem:
    return replace(mount, flags=tuple(flag for flag in mount.flags if flag != "ro"))


MASKED_PATHS: tuple[str, ...] = (
    "/proc/acpi",  # wakes and sleeps the machine
    "/proc/asound",  # what the host's sound cards play
    "/proc/interrupts",  # timing of the host's keyboard and network (a side channel)
    "/proc/kcore",  # the machine's memory
    "/proc/keys",  # keys of all users: the list is not namespaced
    "/proc/latency_stats",
    "/proc/sched_debug",  # every task of the host
    "/proc/scsi",  # attaches and removes disks
    "/proc/timer_list",  # kernel addresses, host's tasks
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",  # energy meters, precise enough to guess another process's keys (CVE-2020-8694)
    "/sys/firmware",  # ACPI tables, EFI variables
)
"""Always masked. A path that the kernel hasn't got is passed over."""

READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
"""Readable, never writable. What a container may set in /proc/sys comes as ``--sysctl``, before this is done."""

_CPUS = Path("/sys/devices/system/cpu")


def masked_paths(cpus: Path = _CPUS) -> tuple[str, ...]:
    """MASKED_PATHS, and the thermal counters of each processor of this machine (a side channel again)."""
    folders = sorted(cpus.glob("cpu[0-9]*/thermal_throttle"))
    return MASKED_PATHS + tuple(str(_CPUS / folder.relative_to(cpus)) for folder in folders)
