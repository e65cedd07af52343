"""The doctor's questions to the kernel: is it new enough, and what may this daemon do with it?

Serves doctor.py. See: namespaces(7), capabilities(7), seccomp(2), openat2(2). Read next: check.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from minidock.linux import apparmor as apparmor_module
from minidock.linux import shim
from minidock.linux.check import Check, guarded

FLOOR = (5, 15)
"""WSL2 of 2022 and Ubuntu 22.04: clone3 into a cgroup, openat2, mount_setattr, cgroup.kill."""

NAMESPACES = ("mnt", "pid", "uts", "ipc", "net", "cgroup")

DAEMON = (
    *("sys_admin", "net_admin", "chown", "dac_override", "fowner"),
    *("mknod", "setuid", "setgid", "setpcap", "kill"),
)
"""Capabilities without which the daemon can't set a container up."""

CONTAINER = ("fsetid", "setfcap", "net_bind_service", "net_raw", "sys_chroot", "audit_write")
"""What containers get by default besides (Docker's fourteen); the daemon can't give what it lacks."""


def checks(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> list[Check]:
    """Everything about the kernel, in the order of how much depends on it."""
    return [
        version(os.uname().release),
        guarded("system calls", lambda: system_calls(proc)),
        guarded("namespaces", lambda: namespaces(proc)),
        guarded("capabilities", capabilities),
        guarded("CAP_SYS_RESOURCE", sys_resource),
        guarded("seccomp", lambda: seccomp(proc)),
        guarded("user namespaces", lambda: user_namespaces(proc)),
        guarded("AppArmor", lambda: apparmor(sys, apparmor_module.parser())),
    ]


def is_wsl(release: str) -> bool:
    """Whether this is the kernel of Windows' Linux subsystem."""
    return "microsoft" in release.lower()


def version(release: str) -> Check:
    """Linux 5.15 is the floor."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        return Check("kernel", "warn", f"{release}: not a version that can be read", "Linux 5.15 or later is needed")
    if tuple(map(int, numbers.groups())) < FLOOR:
        hint = "in Windows: wsl --update" if is_wsl(release) else "boot a newer kernel"
        return Check("kernel", "fail", f"Linux {release} is older than 5.15", hint)
    return Check("kernel", "ok", f"Linux {release}")


def system_calls(proc: Path) -> Check:
    """openat2 is tried. The daemon's own seccomp filter, if a container runtime set one, may refuse others later."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(shim.openat2(root, "proc", os.O_PATH | os.O_CLOEXEC))
    finally:
        os.close(root)
    if _status(proc).get("Seccomp", "0") != "0":
        hint = "run the daemon outside of containers, or in one with --privileged"
        return Check(
            "system calls", "warn", "the daemon itself runs under a seccomp filter, which may refuse some", hint
        )
    return Check("system calls", "ok", "openat2 works, no filter on the daemon")


def namespaces(proc: Path) -> Check:
    """The six that every container gets."""
    missing = [name for name in NAMESPACES if not (proc / "self/ns" / name).exists()]
    if missing:
        hint = "a kernel with CONFIG_NAMESPACES and all its kinds"
        return Check("namespaces", "fail", f"not in this kernel: {', '.join(missing)}", hint)
    return Check("namespaces", "ok", ", ".join(NAMESPACES))


def capabilities() -> Check:
    """What the daemon needs for itself, then what containers expect."""
    lacking = _lacking(DAEMON)
    if lacking:
        return Check("capabilities", "fail", f"the daemon lacks {lacking}", "run minidockd as root")
    lacking = _lacking(CONTAINER)
    if lacking:
        hint = "where the daemon is started, keep them in the bounding set"
        return Check("capabilities", "warn", f"containers will go without {lacking}", hint)
    return Check("capabilities", "ok", "all that the daemon and containers need")


def sys_resource() -> Check:
    """Raising a limit past its hard value, and oom_score_adj below zero, take this one."""
    name = "CAP_SYS_RESOURCE"
    if _lacking(["sys_resource"]):
        hint = "limits up to the daemon's own hard ones work; start the daemon with the capability for more"
        return Check(name, "warn", "missing: a container's ulimits can't go above the daemon's", hint)
    return Check(name, "ok", "ulimits can be raised")


def _lacking(names: Sequence[str]) -> str:
    import prctl  # python-prctl; here, since the daemon needs it for nothing else at its start

    return ", ".join(f"CAP_{name.upper()}" for name in names if not getattr(prctl.cap_effective, name))


def seccomp(proc: Path) -> Check:
    """Filters that answer with an error number: what the default profile is made of."""
    file = proc / "sys/kernel/seccomp/actions_avail"
    if not file.exists() or "errno" not in file.read_text().split():
        hint = "a kernel with CONFIG_SECCOMP_FILTER, or run with --security-opt seccomp=unconfined"
        return Check(
            "seccomp", "fail", "this kernel has no seccomp filters: the default profile can't be applied", hint
        )
    return Check("seccomp", "ok", "filters are available")


def user_namespaces(proc: Path) -> Check:
    """Only for containers whose root is nobody outside."""
    limit = proc / "sys/user/max_user_namespaces"
    if not (proc / "self/ns/user").exists() or not limit.exists() or limit.read_text().strip() == "0":
        hint = "sysctl user.max_user_namespaces=15000, where the kernel has them"
        return Check("user namespaces", "warn", "not available: containers' root can't be mapped to nobody", hint)
    return Check("user namespaces", "ok", "available")


def apparmor(sys: Path, parser: str | None = None) -> Check:
    """A second wall where the kernel has it; many (Fedora, WSL2) don't, and nobody can switch it on there."""
    name = "AppArmor"
    if not apparmor_module.enabled(sys):
        return Check(name, "ok", "not in this kernel: containers run without an AppArmor profile")
    if parser is None:
        hint = "install the package apparmor"
        return Check(name, "warn", "on, but without apparmor_parser: containers run without a profile", hint)
    return Check(name, "ok", f"on, containers have the profile {apparmor_module.DEFAULT}")


def _status(proc: Path) -> dict[str, str]:
    lines = (proc / "self/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
