"""What is mounted: /proc/PID/mountinfo, parsed.

One line a mount, as proc_pid_mountinfo(5) draws it:

    36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    id parent dev root target options  tags…   - fstype source super-options

``root`` is the directory of the filesystem that is mounted (not "/" for a bind mount), ``options`` belong to the mount,
``super_options`` to the filesystem. /proc/mounts lacks half of this, which is why nothing here reads it.

Serves cgroup/find.py (where is cgroup2?), doctor.py and the leak ledger of the tests. Read next: cgroup/find.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")

CGROUP1_NAMES = frozenset(
    "cpu cpuacct cpuset memory blkio devices freezer net_cls net_prio perf_event hugetlb pids rdma misc".split()
)


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo. ``tags`` are the propagation fields, such as ``shared:5``."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: frozenset[str]
    tags: tuple[str, ...]
    fstype: str
    source: str
    super_options: frozenset[str]


def parse(text: str) -> list[Mount]:
    """All mounts in the kernel's order: what was mounted later stands later. A malformed line raises ValueError."""
    return [_parse_line(line) for line in text.splitlines() if line]


def read(pid: int | str = "self") -> list[Mount]:
    """The mounts that a process sees. Raises OSError where it has gone."""
    # surrogateescape: a mount point may be any bytes, and must come out as the path that os functions take.
    return parse(Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def _parse_line(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    ident, parent, device, root, target, options, *tags = left.split(" ")
    fstype, source, super_options = right.split(" ", 2)
    return Mount(
        id=int(ident),
        parent=int(parent),
        device=device,
        root=_unescape(root),
        target=_unescape(target),
        options=frozenset(options.split(",")),
        tags=tuple(tags),
        fstype=fstype,
        source=_unescape(source),
        super_options=frozenset(super_options.split(",")),
    )


def _unescape(field: str) -> str:
    """Blank, tab, newline and backslash come as \\040, \\011, \\012 and \\134."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)


def containing(mounts: Iterable[Mount], path: Path) -> Mount | None:
    """The mount that an absolute path without symlinks lies on: the deepest one, and of two on one place the later."""
    best: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.target) and (best is None or len(mount.target) >= len(best.target)):
            best = mount
    return best


def cgroup2(mounts: Iterable[Mount]) -> Mount | None:
    """The cgroup2 mount to work with: writable before read-only, the whole tree before a part of it, then the first."""
    found = [mount for mount in mounts if mount.fstype == "cgroup2"]
    return min(
        found,
        key=lambda mount: ("rw" not in mount.options, mount.root != "/"),
        default=None,
    )


def cgroup1(mounts: Iterable[Mount]) -> dict[str, str]:
    """Which cgroup v1 hierarchy holds which controller: ``{"memory": "/sys/fs/cgroup/memory"}``; empty without v1."""
    return {
        name: mount.target
        for mount in mounts
        if mount.fstype == "cgroup"
        for name in mount.super_options & CGROUP1_NAMES
    }
