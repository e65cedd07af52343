"""Where cgroup v2 is on this machine, what it can do, and which part of it is ours.

Three layouts are met in practice:

    unified   /sys/fs/cgroup is cgroup2 and has every controller           Debian 11+, Ubuntu 22.04+, Fedora, new WSL2
    hybrid    /sys/fs/cgroup/* are v1, .../unified is cgroup2 and has none  old WSL2, some CI sandboxes
    v1 only   there is no cgroup2                                          minidock can't run

A controller lives in one hierarchy at a time, so on a hybrid machine a memory limit can't be set through v2; what v2
always has is the tree itself, cgroup.kill, cgroup.freeze, cgroup.events and device programs. The v1 trees are never
written to. Nothing assumes /sys/fs/cgroup: the mount is looked up in mountinfo.

Serves tree.py. See: cgroups(7), Documentation/admin-guide/cgroup-v2.rst. Read next: tree.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minidock.linux import mountinfo
from minidock.linux.mountinfo import Mount
from minidock.wire.errors import Unavailable

_NO_CGROUP2 = "mount -t cgroup2 none /sys/fs/cgroup, or boot with cgroup_no_v1=all; minidock doctor says more"


@dataclass(frozen=True)
class Cgroup2:
    """The cgroup2 mount: its mount point, and the controllers at its top."""

    mount: Path
    controllers: frozenset[str]
    root: str = "/"
    """Which cgroup is at the mount point: "/" unless a part of the tree was bind-mounted."""


def find_cgroup2(mounts: Sequence[Mount] | None = None) -> Cgroup2:
    """The tree to work in. Raises Unavailable where there is none, or none that can be written to."""
    mounts = mountinfo.read() if mounts is None else mounts
    mount = mountinfo.cgroup2(mounts)
    if mount is None:
        raise Unavailable("find cgroup2: it is not mounted on this machine", _NO_CGROUP2)
    if "rw" not in mount.options:
        raise Unavailable(
            f"find cgroup2: {mount.target} is mounted read-only",
            "inside a container run the daemon with --privileged and a cgroup namespace of its own",
        )
    return Cgroup2(
        mount=Path(mount.target),
        controllers=frozenset((Path(mount.target) / "cgroup.controllers").read_text().split()),
        root=mount.root,
    )


def own_cgroup(cgroup2: Cgroup2, text: str | None = None) -> Path | None:
    """The daemon's own cgroup, relative to the mount; None where it lies outside of what is mounted.

    ``text`` is that of /proc/self/cgroup: the v2 entry is the line ``0::PATH`` (cgroups(7)).
    """
    text = Path("/proc/self/cgroup").read_text() if text is None else text
    for line in text.splitlines():
        if line.startswith("0::") and "/.." not in line:
            path = Path(line.removeprefix("0::"))
            return path.relative_to(cgroup2.root) if path.is_relative_to(cgroup2.root) else None
    return None


def choose_base(
    instance: str,
    cgroup2: Cgroup2,
    own: Path | None,
    delegated: Callable[[Path], bool] | None = None,
) -> Path:
    """The cgroup that is ours, relative to the mount.

    ``minidock-<instance>`` at the top, as Docker's cgroupfs driver does it; a stop or restart of the service then
    touches no container. With systemd 254 or later and ``DelegateSubgroup=daemon`` in the unit, the daemon finds itself
    in ``…/minidock.service/daemon`` with the parent delegated to it, and uses that parent. A delegated unit *without*
    the subgroup is not used: once controllers are handed on in the unit's cgroup, systemd could not put the next
    daemon into it (EBUSY, no processes in inner nodes), and could not restart the service while a container lives.
    """
    delegated = delegated or is_delegated
    if own is not None and own.name == "daemon" and delegated(cgroup2.mount / own.parent):
        return own.parent
    return Path(f"minidock-{instance}")


def is_delegated(directory: Path) -> bool:
    """Whether systemd has handed this cgroup to its service: it says so in an extended attribute."""
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            continue
    return False
