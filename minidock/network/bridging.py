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
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from minidock.linux import netlink
from minidock.linux.netlink import Interface, Link, Netlink
from minidock.network.sandbox import NO_IPV6, WITH_IPV6, set_ipv6
from minidock.wire.errors import Unavailable

log = logging.getLogger(__name__)

DEFAULT_MTU = 1500
_LOCK_TIME = 5.0
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_CONF6 = Path("/proc/sys/net/ipv6/conf")


def settle(kernel: Netlink, link: Link, gateways: Sequence[Interface], known: Collection[Interface]) -> None:
    """Gives the bridge its addresses and raises it. Without an IPv6 one IPv6 is off on it; and in any case router
    advertisements are not listened to: a container could otherwise announce itself as the host's router
    (CVE-2020-13401). ``known``: what it has already.
    """
    ipv6 = any(gateway.version == 6 for gateway in gateways)
    set_ipv6(link.name, {**WITH_IPV6, "forwarding": "1"} if ipv6 else NO_IPV6)
    for gateway in gateways:
        if gateway not in known:
            kernel.request(netlink.new_address(link.index, gateway))
    kernel.request(netlink.link_up(link.index))


def require_ipv6() -> None:
    """Raises Unavailable on a kernel without IPv6."""
    if not _CONF6.exists():
        raise Unavailable("this kernel has no IPv6", "boot without ipv6.disable=1, or leave --ipv6 out")


def mtu_of_default_route(kernel: Netlink, links: dict[str, Link]) -> int:
    """Larger packets than the way out takes would be dropped somewhere beyond it."""
    mtus = {link.index: link.mtu for link in links.values()}
    ways = [route.index for route in netlink.routes(kernel) if route.destination.prefixlen == 0]
    return mtus.get(ways[0], DEFAULT_MTU) if ways else DEFAULT_MTU


def switch_on_forwarding(ipv6: bool) -> None:
    """net.ipv4.ip_forward=1: without it the kernel drops what comes from the bridge for elsewhere. Never set back:
    others on this host may have come to need it. The same for ``ipv6``.
    """
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1")
    if ipv6 and (_CONF6 / "all/forwarding").read_text().strip() != "1":
        _switch_on_forwarding6()


def _switch_on_forwarding6() -> None:
    """net.ipv6.conf.all.forwarding=1, which alone decides, and sets the same for every interface on its way.

    An interface that is a router's believes no router advertisements: the host would lose the way out that it has from
    them. So each keeps what it had, and for the moment of the switch accept_ra=2 keeps the routes that it learned.
    """
    before: dict[Path, str] = {}
    for interface in sorted(_CONF6.iterdir()):
        if interface.name == "all":
            continue
        for name in ("accept_ra", "forwarding"):
            before[interface / name] = (interface / name).read_text()
        if before[interface / "accept_ra"].strip() == "1":
            (interface / "accept_ra").write_text("2")
    (_CONF6 / "all/forwarding").write_text("1")
    for file, value in reversed(before.items()):  # forwarding first: without it accept_ra=1 counts again
        with contextlib.suppress(FileNotFoundError):  # the interface has gone
            if file.read_text() != value:
                file.write_text(value)


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
