"""Which namespaces a container does not have of its own: --pid, --ipc, --uts, --cgroupns (--userns: remap.py).

``settle`` turns names into ids at create, ``check`` refuses what can't be or what docker refuses, ``of`` says what the
start makes and joins, ``donors`` gives the fds by which it joins. The network's is engine/networking/endpoints.py's.

An ipc namespace has memory by key and by number, /dev/shm memory by name: they are shared together, the latter by the
step ``borrow``. Everybody's is a tmpfs of its own mount namespace, so ``shareable`` is a permission and costs nothing.

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
from minidock.wire.errors import Conflict, InvalidArgument, NotFound

_CONTAINER = "container:"
_UNSHARED = ("private", "none")
_IPC_SYSCTLS = ("kernel.", "fs.mqueue.")


def settle(request: CreateRequest, containers: Containers) -> CreateRequest:
    """A create request with ``--pid`` and ``--ipc container:NAME`` by ids. Raises InvalidArgument if there is none."""
    host = request.host
    pid, ipc = _by_id("PID", host.pid_mode, containers), _by_id("IPC", host.ipc_mode, containers)
    if ipc.startswith(_CONTAINER) and ipc != _CONTAINER:
        donor = containers.resolve(ipc.removeprefix(_CONTAINER))
        if donor.host.ipc_mode in _UNSHARED:
            raise InvalidArgument(
                f"joining IPC namespace of container: container {donor.id}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
    return dataclasses.replace(request, host=dataclasses.replace(host, pid_mode=pid, ipc_mode=ipc))


def _by_id(what: str, mode: str, containers: Containers) -> str:
    if not mode.startswith(_CONTAINER) or mode == _CONTAINER:
        return mode
    try:
        return _CONTAINER + containers.resolve(mode.removeprefix(_CONTAINER)).id
    except NotFound as error:  # not a 404: clients would take that for a missing image, and pull it
        raise InvalidArgument(f"joining {what} namespace of container: {error}") from None


def check(config: Config, host: HostConfig) -> None:
    """Docker's refusals, in docker's words. ``config`` as the client sent it. Raises InvalidArgument."""
    for what, mode, known in (
        ("PID mode", host.pid_mode, ("", "host")),
        ("IPC mode", host.ipc_mode, ("", "private", "none", "host", "shareable")),
        ("UTS mode", host.uts_mode, ("", "host")),
        ("cgroup namespace mode", host.cgroupns_mode, ("", "private", "host")),
        ("USER mode", host.userns_mode, ("", "host")),
    ):
        named = what in ("PID mode", "IPC mode") and mode.startswith(_CONTAINER) and mode != _CONTAINER
        if mode not in known and not named:
            raise InvalidArgument(f"invalid {what}: {mode}")
    if host.uts_mode == "host":
        if config.hostname and not host.network_mode.startswith(_CONTAINER):
            raise InvalidArgument("conflicting options: hostname and the UTS mode")
        if config.domainname:
            raise InvalidArgument("conflicting options: domainname and the UTS mode")
    for name in host.sysctls or {} if host.ipc_mode == "host" else {}:
        if name.startswith(_IPC_SYSCTLS):
            raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")


def of(host: HostConfig, joins_network: bool, remapped: bool = False) -> Namespaces:
    """What a start makes and joins: fd 0 is the network's where there is one; donors and the user follow."""
    joins_pid, ipc = host.pid_mode.startswith(_CONTAINER), ipc_donor(host, joins_network)
    shared = {
        "pid": host.pid_mode == "host" or joins_pid,
        "ipc": host.ipc_mode == "host" or ipc is not None,
        "uts": host.uts_mode == "host",
    }
    joined = [*([(0, "net")] if joins_network else []), *([(ipc, "ipc")] if ipc is not None else [])]
    return Namespaces(
        new=tuple(kind for kind in Namespaces().new if not shared.get(kind)),
        own_cgroup=host.cgroupns_mode != "host",
        join=tuple(joined),
        pid_donor=int(joins_network) if joins_pid else None,
        user=int(joins_network) + joins_pid + (ipc is not None) if remapped else None,
    )


def ipc_donor(host: HostConfig, joins_network: bool) -> int | None:
    """The index of the pidfd of the container whose shared memory is to be seen, too; None for most containers."""
    if not host.ipc_mode.startswith(_CONTAINER):
        return None
    return int(joins_network) + host.pid_mode.startswith(_CONTAINER)


def donors(host: HostConfig, containers: Containers, fds: AsyncExitStack) -> list[int]:
    """The pidfds of the containers of ``--pid`` and ``--ipc``, closed with ``fds``; none for most containers."""
    modes = (("PID", host.pid_mode), ("IPC", host.ipc_mode))
    return [_donor(what, mode, containers, fds) for what, mode in modes if mode.startswith(_CONTAINER)]


def _donor(what: str, mode: str, containers: Containers, fds: AsyncExitStack) -> int:
    ident = mode.removeprefix(_CONTAINER)
    other = containers.get(ident)
    if other is None:
        raise NotFound(f"No such container: {ident}")
    if not other.state.alive:
        raise Conflict(f"cannot join {what} of a non running container: {ident}")
    fd = os.dup(containers.live(other).running().pidfd)
    fds.callback(os.close, fd)
    return fd
