"""A sandbox: the network namespace that a container starts in, made by the daemon, held by nothing but an fd.

Docker and ``ip netns`` keep a namespace alive by bind-mounting it, which leaves a mount behind when something crashes.
Here the daemon's fd keeps it until the monitor has put the container into it (setns); from then on the container's
processes do, and it ends with the last of them.

unshare(2) moves one thread, not the process: so a short-lived thread makes the namespace, sets it up from inside and
ends, and the daemon itself never leaves the host's network. This module does without pyroute2, so that ``--network none``
works where nothing else does. Serves bridge.py and the engine. See: network_namespaces(7). Read next: veth.py.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TypeVar

from minidock.linux import shim

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sh22x")

NO_IPV6 = {"accept_ra": "0", "disable_ipv6": "1"}
"""For a sandbox's later interfaces and for the bridge. Without accept_ra=0 a neighbour could make itself the router of
all (CVE-2020-13401); a network without IPv6 gives its interfaces none, not even a link-local address. lo keeps ::1."""


@dataclass(frozen=True)
class Endpoint:
    """A container's place on a network: which interface, and what it is called there."""

    network_id: str
    endpoint_id: str
    interface: str
    mac: str
    address: IPv4Interface
    gateway: IPv4Address


@dataclass(frozen=True)
class Sandbox:
    """A ready network namespace. ``netns_fd`` belongs to whoever gets this, and is closed once the container runs."""

    netns_fd: int
    endpoint: Endpoint


def in_thread(work: Callable[[], T]) -> T:
    """Runs ``work`` in a thread that ends with it, and returns or raises what it did."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox") as thread:
        return thread.submit(work).result()


def enter_new_netns() -> int:
    """unshare(CLONE_NEWNET): gives the calling thread a network of its own, with lo up, and returns an fd of it.

    Why:   a namespace is made by moving into it; there is no call that makes one at a distance.
    Order: in a thread that ends afterwards, and after it has opened what it needs of the old network.
    See:   unshare(2), network_namespaces(7).   Look: ls -l /proc/PID/ns/net
    """
    shim.unshare(CLONE_NEWNET)
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _raise_loopback()
        set_ipv6("default", NO_IPV6)
    except BaseException:
        os.close(fd)
        raise
    return fd


def isolated_netns() -> int:
    """For ``--network none``: a network namespace with nothing but lo. Returns its fd, which the caller closes."""
    return in_thread(enter_new_netns)


def _raise_loopback() -> None:
    """The kernel gives lo 127.0.0.1 and ::1 as it comes up (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        _, flags = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


def set_ipv6(interface: str, values: dict[str, str]) -> None:
    """Writes sysctls below net.ipv6.conf of the calling thread's network; a kernel without IPv6 needs none."""
    directory = Path("/proc/sys/net/ipv6/conf", interface)
    if directory.exists():
        for name, value in values.items():
            (directory / name).write_text(value)
