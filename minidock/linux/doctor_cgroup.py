"""The doctor's questions about cgroup v2: is it mounted, and does it have the controllers that limits need?

The usual ailment is the hybrid layout: v1 hierarchies hold the controllers, so v2 has none of them, and a limit can't
be set. The cure is a boot parameter; in WSL2 it goes into a file on the Windows side.

Serves doctor.py. See: cgroups(7), "Cgroups v2 controllers"; Microsoft's page on .wslconfig. Read next: check.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from minidock.linux import mountinfo
from minidock.linux.check import Check, guarded
from minidock.linux.doctor_kernel import is_wsl
from minidock.linux.mountinfo import Mount

CONTROLLERS = {
    "memory": "-m, --memory-swap, --memory-reservation and stats of memory",
    "cpu": "--cpus, --cpu-shares, --cpu-quota",
    "pids": "--pids-limit",
    "cpuset": "--cpuset-cpus, --cpuset-mems",
    "io": "--blkio-weight, --device-read-bps and their kind",
    "hugetlb": "--hugetlb-limit",
}
"""What does not work without each."""

_V1_NAMES = {"io": "blkio"}


def checks() -> list[Check]:
    """The mount, then each controller, of the machine that this runs on."""
    mounts = mountinfo.read()
    release = os.uname().release
    table = Path("/proc/cgroups").read_text() if Path("/proc/cgroups").exists() else ""
    available = guarded_controllers(mounts)
    return [
        guarded("cgroup v2", lambda: tree(mounts, release)),
        *(controller(name, mounts, available, table, release) for name in CONTROLLERS),
    ]


def guarded_controllers(mounts: Sequence[Mount]) -> frozenset[str]:
    """The controllers at the top of the cgroup2 mount; none where that can't be read."""
    mount = mountinfo.cgroup2(mounts)
    file = Path(mount.target, "cgroup.controllers") if mount else None
    return frozenset(file.read_text().split()) if file and file.exists() else frozenset()


def tree(mounts: Sequence[Mount], release: str) -> Check:
    """The tree itself: containers are killed, frozen and watched through it, so nothing runs without."""
    mount = mountinfo.cgroup2(mounts)
    if mount is None:
        return Check("cgroup v2", "fail", "not mounted", cure(release))
    if "rw" not in mount.options:
        hint = "in a container: --privileged and --cgroupns=private"
        return Check("cgroup v2", "fail", f"{mount.target} is read-only", hint)
    kind = "hybrid, v1 hierarchies beside it" if any(other.fstype == "cgroup" for other in mounts) else "unified"
    return Check("cgroup v2", "ok", f"at {mount.target} ({kind})")


def controller(name: str, mounts: Sequence[Mount], available: frozenset[str], table: str, release: str) -> Check:
    """One controller: in v2, held by v1, switched off at boot, or not in the kernel. ``table``: /proc/cgroups."""
    check, old = f"cgroup {name}", _V1_NAMES.get(name, name)
    if name in available:
        return Check(check, "ok", "available")
    without = f"without it: no {CONTROLLERS[name]}"
    held = mountinfo.cgroup1(mounts).get(old)
    if held:
        return Check(check, "warn", f"bound to cgroup v1 at {held}; {without}", cure(release))
    fields = next((line.split() for line in table.splitlines() if line.startswith(f"{old}\t")), [])
    if fields and fields[-1] == "0":
        return Check(check, "warn", f"switched off at boot; {without}", f"boot with cgroup_enable={old}")
    if fields:
        return Check(check, "warn", f"not in the cgroup2 tree; {without}", cure(release))
    return Check(check, "warn", f"not in this kernel; {without}", "a kernel that has it built in")


def cure(release: str) -> str:
    """How to get a machine onto cgroup v2 alone."""
    if is_wsl(release):
        return (
            "in Windows, in %UserProfile%\\.wslconfig, section [wsl2]: kernelCommandLine = cgroup_no_v1=all; "
            "then wsl --shutdown"
        )
    return "boot with cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 on the kernel command line"
