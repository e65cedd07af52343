"""A sandbox: the network namespace that a container starts in, made by the daemon, held by nothing but an fd.

Docker and ``ip netns`` keep a namespace alive by bind-mounting it, which leaves a mount behind when something crashes.
Here the daemon's fd keeps it until the monitor has put the container into it (setns); from then on the container's
processes do, and it ends with the last of them.

This module does without pyroute2, so that ``--network none`` works where nothing else does.
Serves bridge.py and the engine. See: network_namespaces(7). Read next: ../linux/netns.py, veth.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from minidock.linux.netns import enter_new_netns, in_thread

NO_IPV6 = {"accept_ra": "0", "disable_ipv6": "1"}
"""For a sandbox's later interfaces and for the bridge. Without accept_ra=0 a neighbour could make itself the router of
all (CVE-2020-13401); a network without IPv6 gives its interfaces none, not even a link-local address. lo keeps ::1."""

WITH_IPV6 = {"accept_ra": "0", "accept_dad": "0", "disable_ipv6": "0"}
"""For an interface of a network with IPv6; without duplicate address detection its addresses can be used at once."""


@dataclass(frozen=True)
class Endpoint:
    """A container's place on a network: which interface, and what it is called there."""

    network_id: str
    endpoint_id: str
    interface: str
    mac: str
    address: IPv4Interface
    gateway: IPv4Address
    address6: IPv6Interface | None = None
    gateway6: IPv6Address | None = None


@dataclass(frozen=True)
class Sandbox:
    """A ready network namespace. ``netns_fd`` belongs to whoever gets this, and is closed once the container runs."""

    netns_fd: int
    endpoint: Endpoint


def enter_new_sandbox(userns: int | None = None) -> int:
    """Moves the calling thread into a new network namespace whose later interfaces get no IPv6; returns its fd."""
    fd = enter_new_netns(userns)
    try:
        set_ipv6("default", NO_IPV6)
    except BaseException:
        os.close(fd)
        raise
    return fd


def isolated_netns(userns: int | None = None) -> int:
    """For ``--network none``: a network namespace with nothing but lo. Returns its fd, which the caller closes."""
    return in_thread(lambda: enter_new_sandbox(userns))


def set_ipv6(interface: str, values: dict[str, str]) -> None:
    """Writes sysctls below net.ipv6.conf of the calling thread's network; a kernel without IPv6 needs none."""
    directory = Path("/proc/sys/net/ipv6/conf", interface)
    if directory.exists():
        for name, value in values.items():
            (directory / name).write_text(value)
