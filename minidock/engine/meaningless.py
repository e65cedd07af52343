"""What of HostConfig has no meaning here: discarded with Docker's warning, or refused with its words.

For create.py. Docker on cgroup v2 discards what only v1 had (swappiness, the OOM killer switched off), and refuses what
would need another kernel, storage driver or plug-in. A field that is neither honoured, nor shown back, nor here would
be passed over in silence: tests/unit/test_host_config.py has a row for each. See: moby daemon/daemon_unix.go,
verifyPlatformContainerResources.
"""

from __future__ import annotations

import dataclasses

from minidock.engine.config import HostConfig
from minidock.wire.errors import InvalidArgument, NotImplemented

_NOT_HERE: tuple[tuple[str, str], ...] = (("device_requests", "--gpus"),)
"""Fields of HostConfig that would change what a container may or can do, and that are refused, not passed over."""


def discard(host: HostConfig) -> tuple[HostConfig, list[str]]:
    """What is left of a wish, and a warning for each part that is not."""
    lines = []
    if host.memory_swappiness not in (None, -1):
        lines.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
            "Memory swappiness discarded."
        )
    if host.oom_kill_disable:
        lines.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    return dataclasses.replace(host, memory_swappiness=None, oom_kill_disable=None), lines


def check(host: HostConfig) -> None:
    """Raises InvalidArgument for what can't be on this kernel, NotImplemented for what minidock has not."""
    for field, words in _NOT_HERE:
        if getattr(host, field):
            raise NotImplemented(f"{words}: not there yet in minidock", "run without it")
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        raise InvalidArgument("Your kernel does not support CPU real-time scheduler", "cgroup v2 has no share for it")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation ({host.isolation}): linux supports 'default' only")
    if host.storage_opt:
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.volume_driver not in ("", "local"):
        raise InvalidArgument(
            f'error looking up volume plugin {host.volume_driver}: plugin "{host.volume_driver}" not found'
        )
    if host.runtime not in ("", "minidock", "runc"):
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime}")
