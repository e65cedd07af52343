"""User namespaces of containers (``--userns-remap`` of the daemon, ``--userns host`` of a container).

Which map a container gets is settled at each start, by what the daemon was started with then: its layers and volumes
are stored unshifted, so the next start may have another map or none. A container that runs keeps its own; what that
is, is asked of the kernel (/proc/PID/uid_map), since the daemon may have been started anew with another setting.

Whoever shares network, processes or memory of another container must be in its user namespace: it owns them.
Read next: ../linux/userns.py, ../linux/idmap.py, docs/userns-remap.md.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from minidock.engine.config import HostConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container
from minidock.linux import poll, userns
from minidock.linux.idmap import IdMap
from minidock.wire.errors import Conflict, InvalidArgument

_SHARED = "container:"


@dataclass(frozen=True)
class UserNamespace:
    """That of a start: an fd, and its maps."""

    fd: int
    ids: IdMap


def check(host: HostConfig, ids: IdMap | None) -> IdMap | None:
    """The map that a container gets of a daemon that has ``ids``; None for one in the host's user namespace.

    Raises InvalidArgument for what a user namespace has no rights over: docker's refusals, in docker's words.
    """
    if ids is None or host.userns_mode == "host":
        return None
    for refused, message in (
        (
            host.privileged,
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace "
            "when running privileged mode",
        ),
        (host.network_mode == "host", "cannot share the host's network namespace when user namespaces are enabled"),
        (host.pid_mode == "host", "cannot share the host PID namespace when user namespaces are enabled"),
        (host.ipc_mode == "host", "cannot share the host's IPC namespace when user namespaces are enabled"),
    ):
        if refused:
            raise InvalidArgument(message, "--userns host runs it without one")
    return ids


async def namespace(
    container: Container, containers: Containers, ids: IdMap | None, fds: AsyncExitStack
) -> UserNamespace | None:
    """What a start goes into, closed with ``fds``: another container's where it shares with one, else a new one."""
    ids = check(container.host, ids)
    if ids is None:
        return None
    found = [one for ident in donors(container.host) if (one := _of_another(containers, ident, fds))]
    if len({os.fstat(one.fd).st_ino for one in found}) > 1:
        raise Conflict(
            "cannot share with two containers that are in different user namespaces",
            "share network and processes with the same container, or run with --userns host",
        )
    if found:
        return found[0]
    fd = await asyncio.to_thread(userns.new, ids)
    fds.callback(os.close, fd)
    return UserNamespace(fd, ids)


def donors(host: HostConfig) -> list[str]:
    """The ids of the containers whose network, processes or memory it shares, and which must run when it starts."""
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    return list(dict.fromkeys(mode.removeprefix(_SHARED) for mode in modes if mode.startswith(_SHARED)))


def _of_another(containers: Containers, ident: str, fds: AsyncExitStack) -> UserNamespace | None:
    """A running container's; of one that does not run others tell in better words."""
    other = containers.get(ident)
    if other is None or not other.state.alive:
        return None
    try:
        fd = os.open(f"/proc/{other.state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        fds.callback(os.close, fd)
        ids = userns.of(other.state.pid)
    except FileNotFoundError:
        return None
    if poll.ready(containers.live(other).running().pidfd, poll.READABLE):  # ended: its number may be another's
        return None
    if ids is None:
        raise Conflict(
            f"cannot share with container {other.name}, which is not in a user namespace", "run with --userns host"
        )
    return UserNamespace(fd, ids)
