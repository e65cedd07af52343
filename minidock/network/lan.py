"""macvlan and ipvlan: containers as neighbours of the host, on the network that one of its interfaces is on.

    container eth0 192.168.1.130 ─┐
    container eth0 192.168.1.131 ─┴ eth0 of the host, the parent ── the switch, the router 192.168.1.1

No bridge, no rules, no translation: the kernel gives each container an interface of its own on the parent, with a MAC
of its own (macvlan) or with the parent's (ipvlan). By the kernel's design the host and its containers don't reach each
other by it. Such an interface lives in the namespace of the container and goes with it: there is nothing to sweep on
the host; all that can be left there is a parent that we made: ``eth0.10``, a VLAN of eth0, or without any parent a
dummy, a network for the containers alone. Both carry the instance's mark as their alias.

All functions block and may be called from any thread. Serves the engine's networks.py and endpoints.py.
See: ip-link(8), "macvlan" and "ipvlan"; Docker's pages on the two drivers. Read next: user.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from minidock.linux import netlink, shim
from minidock.linux.netlink import Attributes, Link, Netlink, Request
from minidock.linux.netns import CLONE_NEWNET, in_thread
from minidock.linux.reason import reason
from minidock.network import veth
from minidock.network.leases import Lease
from minidock.network.sandbox import Endpoint
from minidock.wire.errors import Conflict, InvalidArgument, Unavailable

MACVLAN_MODES = {"bridge": 4, "private": 1, "vepa": 2, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_KINDS = ("macvlan", "ipvlan")
_PATIENCE = 5.0  # seconds for the interface of a container that has just ended, which has the same address, to go


@dataclass(frozen=True)
class Lan:
    """A network of one of the two drivers: ``mode`` is a key of the driver's modes; ``mtu`` 0 is the parent's."""

    network_id: str
    driver: str
    parent: str
    mode: str
    gateway: IPv4Interface
    gateway6: IPv6Interface | None = None
    mtu: int = 0

    @property
    def routed(self) -> bool:
        """Whether the parent is their router, by whatever address: they have no neighbours then, and no gateway."""
        return self.mode in ("l3", "l3s")


def dummy_name(network_id: str) -> str:
    """The parent of a network that has none."""
    return f"dm-{network_id[:12]}"


def up(lan: Lan, mark: str) -> None:
    """Makes the parent where it is missing and one that can be made. Raises InvalidArgument, Unavailable."""
    try:
        with Netlink() as kernel:
            links = {link.name: link for link in netlink.links(kernel)}
            found = links.get(lan.parent)
            if found is None:
                _make_parent(kernel, lan, links, mark)
            elif found.name == "lo":
                raise InvalidArgument(f"loopback interface is not a valid {lan.driver} parent link")
            elif lan.parent == dummy_name(lan.network_id) and found.alias != mark:
                raise Conflict(f"make interface {lan.parent}: there is one of that name, not of this minidock")
    except OSError as error:
        raise Unavailable(f"make interface {lan.parent}: {reason(error)}", _hint(error, lan.parent)) from error


def _make_parent(kernel: Netlink, lan: Lan, links: dict[str, Link], mark: str) -> None:
    if lan.parent == dummy_name(lan.network_id):
        request = netlink.new_link(lan.parent, "dummy")
    else:
        over, number = vlan_of(lan.parent)
        if over not in links:
            raise InvalidArgument(f"failed to find master interface {over} on the host", "ip link shows them")
        about: Attributes = [("IFLA_LINK", links[over].index)]
        request = netlink.new_link(lan.parent, "vlan", about, [("IFLA_VLAN_ID", number)])
    kernel.request(request)
    kernel.request(netlink.set_alias(lan.parent, mark), netlink.link_up(socket.if_nametoindex(lan.parent)))


def vlan_of(name: str) -> tuple[str, int]:
    """``eth0.10`` → ("eth0", 10). Raises InvalidArgument."""
    over, dot, text = name.rpartition(".")
    if not dot or not over:
        raise InvalidArgument(f"invalid subinterface vlan name {name}, example formatting is eth0.10")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 4094:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {text}")
    return over, int(text)


def down(parent: str, mark: str) -> None:
    """Removes a parent that we made; another's stays."""
    with Netlink() as kernel:
        if any(link.name == parent and link.alias == mark for link in netlink.links(kernel)):
            kernel.request(netlink.delete_link(parent))


def plug(lan: Lan, lease: Lease, interface: str, namespace: int) -> Endpoint:
    """Gives a sandbox an interface on this network. ``namespace``: an fd of it, or a pidfd of a process in it."""
    endpoint = veth.endpoint(lan.network_id, lease, interface, lan.gateway, lan.gateway6)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            in_thread(lambda: _plug(lan, endpoint, namespace))
            return endpoint
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EADDRINUSE) or time.monotonic() > deadline:
                raise Unavailable(f"plug into {lan.parent}: {reason(error)}", _hint(error, lan.driver)) from error
            time.sleep(0.05)


def _plug(lan: Lan, endpoint: Endpoint, namespace: int) -> None:
    """Born in the sandbox: the socket is of the host's network, which is where the parent is looked up."""
    with contextlib.ExitStack() as closing, contextlib.ExitStack() as undo:
        host = closing.enter_context(Netlink())
        index = socket.if_nametoindex(lan.parent)
        shim.setns(namespace, CLONE_NEWNET)
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        closing.callback(os.close, fd)
        host.request(new_interface(lan, endpoint, index, fd))
        undo.callback(remove_others, namespace, (), endpoint.interface)
        veth.configure(endpoint)
        undo.pop_all()


def new_interface(lan: Lan, endpoint: Endpoint, parent: int, namespace: int) -> Request:
    """ip link add link PARENT name … type macvlan or ipvlan mode …, in another namespace."""
    about: Attributes = [("IFLA_LINK", parent), ("IFLA_NET_NS_FD", namespace)]
    about += [("IFLA_MTU", lan.mtu)] if lan.mtu else []
    if lan.driver == "ipvlan":
        return netlink.new_link(endpoint.interface, "ipvlan", about, [("IFLA_IPVLAN_MODE", IPVLAN_MODES[lan.mode])])
    about.append(("IFLA_ADDRESS", endpoint.mac))
    return netlink.new_link(endpoint.interface, "macvlan", about, [("IFLA_MACVLAN_MODE", MACVLAN_MODES[lan.mode])])


def remove_others(namespace: int, keep: Collection[str], only: str = "") -> None:
    """Removes a sandbox's interfaces of these kinds but for those to ``keep``; with ``only`` just the one."""

    def work() -> None:
        shim.setns(namespace, CLONE_NEWNET)
        with Netlink() as inside:
            for link in netlink.links(inside):
                if link.kind in _KINDS and link.name not in keep and link.name == (only or link.name):
                    inside.request(netlink.delete_link(link.name))

    in_thread(work)


def _hint(error: OSError, what: str) -> str:
    if error.errno == errno.EOPNOTSUPP:
        kind = "dummy" if what.startswith("dm-") else "8021q" if "." in what else what
        return f"load the kernel module: modprobe {kind}" + "; or give -o parent=INTERFACE" * (kind == "dummy")
    if error.errno == errno.ENODEV:
        return "the parent interface has gone"
    if error.errno == errno.EINVAL:
        return "a parent in passthru mode takes one container"
    return "see ip-link(8); minidock doctor"
