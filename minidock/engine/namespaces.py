"""Which namespaces a container does not have of its own: --pid, --ipc, --uts, --cgroupns.

``settle`` turns names into ids at create, ``check`` refuses what can't be or what docker refuses, ``of`` says what the
start makes and joins, ``pid_donor`` gives the fd by which it joins. The network's is engine/endpoints.py's.

In another's pid namespace no process of the container is pid 1, so none of them ends with the first: that is what
cgroup.kill at the end of a run is for (lifecycle.py). Read next: runtime/plan.py, namespaces(7).
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import AsyncExitStack

from minidock.engine.config import Config, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.requests import CreateRequest
from minidock.runtime.spec import Namespaces
from minidock.wire.errors import Conflict, InvalidArgument, NotFound, NotImplemented

_CONTAINER = "container:"
_IPC_SYSCTLS = ("kernel.", "fs.mqueue.")


def settle(request: CreateRequest, containers: Containers) -> CreateRequest:
    """A create request with ``--pid container:NAME`` by its id. Raises InvalidArgument if there is none."""
    mode = request.host.pid_mode
    if not mode.startswith(_CONTAINER):
        return request
    try:
        other = containers.resolve(mode.removeprefix(_CONTAINER))
    except NotFound as error:  # not a 404: clients would take that for a missing image, and pull it
        raise InvalidArgument(f"joining PID namespace of container: {error}") from None
    return dataclasses.replace(request, host=dataclasses.replace(request.host, pid_mode=_CONTAINER + other.id))


def check(config: Config, host: HostConfig) -> None:
    """Docker's refusals, in docker's words. ``config`` as the client sent it. Raises InvalidArgument."""
    for what, mode, known in (
        ("PID mode", host.pid_mode, ("", "host")),
        ("IPC mode", host.ipc_mode, ("", "private", "none", "host", "shareable")),
        ("UTS mode", host.uts_mode, ("", "host")),
        ("cgroup namespace mode", host.cgroupns_mode, ("", "private", "host")),
    ):
        named = what in ("PID mode", "IPC mode") and mode.startswith(_CONTAINER) and mode != _CONTAINER
        if mode not in known and not named:
            raise InvalidArgument(f"invalid {what}: {mode}")
    if host.ipc_mode == "shareable" or host.ipc_mode.startswith(_CONTAINER):
        raise NotImplemented(f"--ipc {host.ipc_mode}: not there yet in minidock", "--ipc host shares with the host")
    if host.uts_mode == "host":
        if config.hostname and not host.network_mode.startswith(_CONTAINER):
            raise InvalidArgument("conflicting options: hostname and the UTS mode")
        if config.domainname:
            raise InvalidArgument("conflicting options: domainname and the UTS mode")
    for name in host.sysctls or {} if host.ipc_mode == "host" else {}:
        if name.startswith(_IPC_SYSCTLS):
            raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")


def of(host: HostConfig, joins_network: bool) -> Namespaces:
    """What a start makes and joins: fd 0 is the network's where there is one, the pid donor's follows."""
    shared = {
        "pid": host.pid_mode == "host" or host.pid_mode.startswith(_CONTAINER),
        "ipc": host.ipc_mode == "host",
        "uts": host.uts_mode == "host",
    }
    return Namespaces(
        new=tuple(kind for kind in Namespaces().new if not shared.get(kind)),
        own_cgroup=host.cgroupns_mode != "host",
        join=((0, "net"),) if joins_network else (),
        pid_donor=int(joins_network) if host.pid_mode.startswith(_CONTAINER) else None,
    )


def pid_donor(host: HostConfig, containers: Containers, fds: AsyncExitStack) -> list[int]:
    """The pidfd of the container whose processes are to be seen, closed with ``fds``; none for most containers."""
    if not host.pid_mode.startswith(_CONTAINER):
        return []
    ident = host.pid_mode.removeprefix(_CONTAINER)
    other = containers.get(ident)
    if other is None:
        raise NotFound(f"No such container: {ident}")
    if not other.state.alive:
        raise Conflict(f"cannot join PID of a non running container: {ident}")
    fd = os.dup(containers.live(other).running().pidfd)
    fds.callback(os.close, fd)
    return [fd]
