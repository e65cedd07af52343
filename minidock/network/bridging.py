"""What every bridge of ours needs of the kernel, the default one and those of users: address, forwarding, a lock.

Serves bridge.py and user.py. Read next: bridge.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Collection, Iterator
from ipaddress import IPv4Interface
from pathlib import Path

from minidock.linux import netlink
from minidock.linux.netlink import Link, Netlink
from minidock.network.sandbox import NO_IPV6, set_ipv6

log = logging.getLogger(__name__)

DEFAULT_MTU = 1500
_LOCK_TIME = 5.0
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def settle(kernel: Netlink, link: Link, gateway: IPv4Interface, known: Collection[IPv4Interface]) -> None:
    """Gives the bridge its address and raises it. IPv6 is off on it, and router advertisements are not listened to:
    a container could otherwise announce itself as the host's router (CVE-2020-13401). ``known``: what it has already.
    """
    set_ipv6(link.name, NO_IPV6)
    if gateway not in known:
        kernel.request(netlink.new_address(link.index, gateway))
    kernel.request(netlink.link_up(link.index))


def mtu_of_default_route(kernel: Netlink, links: dict[str, Link]) -> int:
    """Larger packets than the way out takes would be dropped somewhere beyond it."""
    mtus = {link.index: link.mtu for link in links.values()}
    ways = [route.index for route in netlink.routes(kernel) if route.destination.prefixlen == 0]
    return mtus.get(ways[0], DEFAULT_MTU) if ways else DEFAULT_MTU


def switch_on_forwarding() -> None:
    """net.ipv4.ip_forward=1: without it the kernel drops what comes from the bridge for elsewhere. Never set back:
    others on this host may have come to need it.
    """
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Daemons that start together must not choose the same subnet: a lock on the network namespace itself.

    Anyone may hold such a lock (flock(2) needs no permission), so after a few seconds it is done without.
    """
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIME
        while time.monotonic() < deadline:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        else:
            log.warning("another process holds the lock on the network namespace; making the bridge without it")
        yield
    finally:
        os.close(fd)


def hint(error: OSError) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return "load the kernel modules: modprobe bridge veth; --network none and host work without"
    if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return "the daemon needs CAP_NET_ADMIN and a writable /proc/sys/net; --network none and host work without"
    if error.errno in (errno.ENODEV, errno.EINVAL):  # EINVAL: the master that a port asks for does not exist
        return "was the bridge deleted? restart minidockd"
    return "minidock doctor; --network none and host work without"
