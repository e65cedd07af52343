"""minidock doctor: what containers need of this machine, what it has, and how to get what it lacks.

Each check looks at the thing itself (mounts an overlay, makes a bridge, loads rules, each where it leaves nothing
behind) rather than at version numbers, and works without a daemon. The parts by subject:

    doctor_kernel.py    version, system calls, namespaces, seccomp, capabilities, AppArmor
    doctor_cgroup.py    the cgroup2 mount and each controller, with the cure for hybrid hosts and WSL2
    doctor_storage.py   overlay on the data root, with shifted ids too, room on the disk
    doctor_network.py   bridge, veth, nft, forwarding, and other firewalls' policy

Serves ``minidock doctor``, ``minidockd --doctor`` and the API. Read next: check.py, doctor_cgroup.py.
"""

from __future__ import annotations

import grp
from pathlib import Path

from minidock.linux import doctor_cgroup, doctor_kernel, doctor_network, doctor_storage
from minidock.linux.check import Check, guarded


def checks(data_root: str | Path, bridge: str = "minidock0", group: str = "minidock") -> list[Check]:
    """All checks, those that decide most first. Takes up to a second; leaves nothing behind."""
    root = Path(data_root)
    return [
        *doctor_kernel.checks(),
        guarded("overlay", lambda: doctor_storage.overlay(root)),
        guarded("userns-remap", lambda: doctor_storage.shifted(root)),
        guarded("disk space", lambda: doctor_storage.space(root)),
        *doctor_cgroup.checks(),
        *doctor_network.checks(bridge),
        guarded("group", lambda: _group(group)),
    ]


def as_json(found: list[Check]) -> list[dict[str, str]]:
    """In the form of the API: Name, Status, Detail, Hint."""
    return [{"Name": check.name, "Status": check.status, "Detail": check.detail, "Hint": check.hint} for check in found]


def _group(name: str) -> Check:
    """Who is in the group may use the daemon's socket, and so is as good as root."""
    try:
        members = grp.getgrnam(name).gr_mem
    except KeyError:
        hint = f"groupadd --system {name}, restart minidockd, then usermod -aG {name} USER and log in again"
        return Check("group", "warn", f"no group {name}: only root may use the socket", hint)
    return Check("group", "ok", f"{name}: {', '.join(members) or 'no members yet'}")
