"""What the daemon knows of itself and of its host: ``GET /info`` and ``GET /version``.

Collected anew at each call, since controllers, bridges and images come and go while the daemon runs. What the machine
lacks becomes a warning in Docker's form, so that clients show it. Read next: api/render/system.py, which writes it.
"""

from __future__ import annotations

import os
from pathlib import Path

from minidock.engine.model import Status
from minidock.engine.parts import Parts
from minidock.engine.requests import SystemInfo
from minidock.linux import apparmor, mountinfo


def collect(parts: Parts, started_at: int) -> SystemInfo:
    """All of it, anew at each call."""
    system = os.uname()
    containers = parts.containers.all()
    counts = {status.value: sum(c.state.status is status for c in containers) for status in Status}
    return SystemInfo(
        id=parts.settings.instance,
        containers=counts,
        images=len(parts.images.list()),
        driver_status=(("Backing Filesystem", _backing(parts.settings.data_root)), ("Supports d_type", "true")),
        cgroup_driver="cgroupfs",
        warnings=_warnings(parts),
        security_options=(
            *(["name=apparmor"] if apparmor.enabled() and apparmor.parser() else []),
            "name=seccomp,profile=builtin",
            *(["name=userns"] if parts.settings.remap else []),
            "name=cgroupns",
        ),
        kernel_version=system.release,
        operating_system=_operating_system(),
        architecture=system.machine,
        ncpu=os.cpu_count() or 1,
        mem_total=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        root_dir=str(parts.settings.data_root),
        name=system.nodename,
        mirrors=parts.settings.mirrors,
        insecure_registries=parts.settings.insecure_registries,
        started_at=started_at,
    )


def _backing(path: Path) -> str:
    mount = mountinfo.containing(mountinfo.read(), path)
    return mount.fstype if mount else "unknown"


def _warnings(parts: Parts) -> tuple[str, ...]:
    """What a user of limits and networks should know, in Docker's form."""
    present = parts.cgroups.mount.controllers
    named = (
        ("memory", "memory limit"),
        ("cpu", "cpu limit"),
        ("pids", "pids limit"),
        ("cpuset", "cpuset"),
        ("io", "io"),
    )
    found = [f"WARNING: No {words} support" for controller, words in named if controller not in present]
    if parts.bridge is None:
        found.append(f"WARNING: network bridge is not available: {parts.no_bridge}")
    return tuple(found)


def _operating_system() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip("\"'")
    return "Linux"
