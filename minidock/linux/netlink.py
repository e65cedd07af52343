"""Netlink: how a program asks the kernel for links, addresses and routes, which is what the ip command does.

A request is a header, a fixed structure and attributes; the kernel answers each with an error number (0: done), and a
dump with one message an object. pyroute2's message classes do the encoding and decoding here. Its IPRoute is not used:
each instance builds an event loop and waits for each answer alone, which took two and a half times as long for the
five requests of a sandbox as sending them in one piece does. (``IPRoute(netns=…)`` even forks.)

A socket belongs to the network namespace of the thread that opened it, for ever; network/veth.py relies on that.
Serves network/ and the doctor. See: netlink(7), rtnetlink(7). Read next: netns.py, ../network/veth.py.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, Generic, Self, TypeVar


@contextlib.contextmanager
def _without_face(package: str) -> Iterator[None]:
    """Lets modules of a package be imported without running its __init__.

    That of pyroute2 imports all it has (337 modules); the three message classes need a tenth of it. It makes 11 MB
    and 0.15 s of difference to the daemon. A later ``import pyroute2`` is the real one again.
    """
    spec = importlib.util.find_spec(package)
    if package in sys.modules or spec is None:
        yield
        return
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with _without_face("pyroute2"):
    from pyroute2.netlink import (
        NLM_F_ACK,
        NLM_F_CREATE,
        NLM_F_DUMP,
        NLM_F_DUMP_INTR,
        NLM_F_EXCL,
        NLM_F_REPLACE,
        NLM_F_REQUEST,
        NLMSG_DONE,
        NLMSG_ERROR,
    )
    from pyroute2.netlink.rtnl import (
        RTM_DELLINK,
        RTM_DELROUTE,
        RTM_GETADDR,
        RTM_GETLINK,
        RTM_GETROUTE,
        RTM_NEWADDR,
        RTM_NEWLINK,
        RTM_NEWROUTE,
    )
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port: struct nlmsghdr
IFF_UP = 1
_MOST_DUMPS = 5
_TABLE_MAIN = 254
_RTN_UNICAST = 1
_RTPROT_BOOT = 3

_IFA_F_NODAD = 2
_LINK_SCOPE = 253

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
N = TypeVar("N", IPv4Network, IPv6Network)

Attributes = list[tuple[str, Any]]


@dataclass(frozen=True)
class Request:
    """One message to be: its type (RTM_…), pyroute2's class for it, the fixed fields, the attributes."""

    kind: int
    make: Any
    fields: dict[str, int]
    attributes: Attributes
    create: bool = False
    replace: bool = False

    def encode(self, flags: int, sequence: int) -> bytes:
        message = self.make()
        for name, value in self.fields.items():
            message[name] = value
        message["attrs"] = self.attributes
        message["header"].update(type=self.kind, flags=NLM_F_REQUEST | flags, sequence_number=sequence)
        message.encode()
        return bytes(message.data)


class Netlink:
    """A NETLINK_ROUTE socket in the calling thread's network namespace; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def request(self, *requests: Request) -> None:
        """Sends all in one system call; the kernel does them in order. Raises OSError for the first that failed.

        A failure does not keep the kernel from doing those after it, so batch only what is thrown away together.
        """
        data = b""
        for sequence, request in enumerate(requests, start=1):
            create = NLM_F_CREATE | (NLM_F_REPLACE if request.replace else NLM_F_EXCL) if request.create else 0
            data += request.encode(NLM_F_ACK | create, sequence)
        self._socket.send(data)
        failure: OSError | None = None
        for _ in requests:
            failure = failure or self._acknowledgement(requests)
        if failure:
            raise failure

    def _acknowledgement(self, requests: tuple[Request, ...]) -> OSError | None:
        """Each answer comes in a datagram of its own."""
        data = self._socket.recv(65536)
        _, kind, _, sequence, _ = HEADER.unpack_from(data)
        (code,) = struct.unpack_from("=i", data, HEADER.size)
        if kind != NLMSG_ERROR:
            return OSError(errno.EPROTO, f"netlink: answer of type {kind} to a request")
        return None if code == 0 else OSError(-code, os.strerror(-code), _subject(requests[sequence - 1]))

    def dump(self, request: Request) -> list[Any]:
        """All objects of a kind, as pyroute2 messages.

        A dump comes in parts, and one object that goes between two of them can make older kernels pass over another.
        They say so (NLM_F_DUMP_INTR) and are asked again; where things come and go all the time, the last dump counts.
        """
        for _ in range(_MOST_DUMPS):
            found, whole = self._dump(request)
            if whole:
                break
        for message in found:
            message.decode()
        return found

    def _dump(self, request: Request) -> tuple[list[Any], bool]:
        self._socket.send(request.encode(NLM_F_DUMP, 1))
        found: list[Any] = []
        whole = True
        while True:
            data, offset = self._socket.recv(1 << 20), 0
            while offset < len(data):
                length, kind, flags, *_ = HEADER.unpack_from(data, offset)
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found, whole
                if kind == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", data, offset + HEADER.size)
                    raise OSError(-code, os.strerror(-code), "netlink dump")
                found.append(request.make(data[offset : offset + length]))
                offset += length + 3 & ~3


def _subject(request: Request) -> str:
    return str(dict(request.attributes).get("IFLA_IFNAME", request.make.__name__))


# ---- what we ask for ------------------------------------------------------------------------------------------------


def new_link(name: str, kind: str, more: Attributes | None = None, data: Attributes | None = None) -> Request:
    """ip link add NAME type KIND. ``more`` is about any link, ``data`` about this kind."""
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    info += [("IFLA_INFO_DATA", {"attrs": data})] if data else []
    attributes = [("IFLA_IFNAME", name), *(more or []), ("IFLA_LINKINFO", {"attrs": info})]
    return Request(RTM_NEWLINK, ifinfmsg, {}, attributes, create=True)


def new_bridge(name: str, mac: str, mtu: int) -> Request:
    """A bridge with a MAC of its own: without one it would take the lowest of its ports and change with them."""
    return new_link(name, "bridge", [("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)])


def set_alias(name: str, alias: str) -> Request:
    """ip link set … alias; the kernel takes no alias together with a new link."""
    return Request(RTM_NEWLINK, ifinfmsg, {}, [("IFLA_IFNAME", name), ("IFLA_IFALIAS", alias)])


def new_veth(name: str, bridge: int, mtu: int, peer: str, peer_mac: str, netns: int) -> Request:
    """A veth pair: one end up and on the bridge, the other born in the network namespace of the fd ``netns``.

    The peer can't come up in the same message (ENOTCONN: the pair is not joined yet).
    """
    far_end: Attributes = [
        ("IFLA_IFNAME", peer),
        ("IFLA_ADDRESS", peer_mac),
        ("IFLA_MTU", mtu),
        ("IFLA_NET_NS_FD", netns),
    ]
    more: Attributes = [("IFLA_MASTER", bridge), ("IFLA_MTU", mtu)]
    pair = new_link(name, "veth", more, [("VETH_INFO_PEER", {"attrs": far_end})])
    return replace(pair, fields={"flags": IFF_UP, "change": IFF_UP})


def link_up(index: int) -> Request:
    """ip link set … up."""
    return Request(RTM_NEWLINK, ifinfmsg, {"index": index, "flags": IFF_UP, "change": IFF_UP}, [])


def isolate(port: str) -> Request:
    """bridge link set dev … isolated on: the port reaches the bridge itself and no other isolated port of it."""
    return _bridge_port(port, "IFLA_BRPORT_ISOLATED")


def hairpin(port: str) -> Request:
    """bridge link set dev … hairpin on: a frame may leave by the port that it came in by."""
    return _bridge_port(port, "IFLA_BRPORT_MODE")


def _bridge_port(port: str, option: str) -> Request:
    slave: Attributes = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": [(option, 1)]})]
    return Request(RTM_NEWLINK, ifinfmsg, {}, [("IFLA_IFNAME", port), ("IFLA_LINKINFO", {"attrs": slave})])


def delete_link(name: str) -> Request:
    """ip link delete; of a veth pair the other end goes with it."""
    return Request(RTM_DELLINK, ifinfmsg, {}, [("IFLA_IFNAME", name)])


def new_address(index: int, interface: Interface) -> Request:
    """ip address add; the route to the subnet comes with it.

    IPv6 without duplicate address detection: for a second it would keep the address from being used, and the leases
    see to it that there is no duplicate.
    """
    attributes: Attributes = [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))]
    if isinstance(interface, IPv4Interface):
        attributes.append(("IFA_BROADCAST", str(interface.network.broadcast_address)))
    else:
        attributes.append(("IFA_FLAGS", _IFA_F_NODAD))
    fields = {"family": _FAMILIES[interface.version], "prefixlen": interface.network.prefixlen, "index": index}
    return Request(RTM_NEWADDR, ifaddrmsg, fields, attributes, create=True)


def default_route(gateway: Address, replace: bool = False) -> Request:
    """ip route add (or replace) default via …"""
    return Request(RTM_NEWROUTE, rtmsg, _default(gateway.version), [("RTA_GATEWAY", str(gateway))], True, replace)


def default_route_by(index: int, version: int) -> Request:
    """ip route replace default dev …"""
    return Request(RTM_NEWROUTE, rtmsg, {**_default(version), "scope": _LINK_SCOPE}, [("RTA_OIF", index)], True, True)


def no_default_route(version: int = 4) -> Request:
    """ip route delete default"""
    return Request(RTM_DELROUTE, rtmsg, _default(version), [])


def _default(version: int) -> dict[str, int]:
    return {"family": _FAMILIES[version], "table": _TABLE_MAIN, "type": _RTN_UNICAST, "proto": _RTPROT_BOOT}


# ---- what there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A network interface. ``kind`` is empty for a real one; ``master`` the index of its bridge, 0 without."""

    index: int
    name: str
    kind: str
    alias: str
    mtu: int
    master: int


@dataclass(frozen=True)
class Route(Generic[N]):
    """A route of the main table: where to, and by which interface (0: none, such as a blackhole)."""

    destination: N
    index: int


def links(netlink: Netlink) -> list[Link]:
    """All interfaces of the namespace."""
    return [_link(message) for message in netlink.dump(Request(RTM_GETLINK, ifinfmsg, {}, []))]


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
    )


def addresses(netlink: Netlink) -> dict[int, list[Interface]]:
    """The addresses of all interfaces, by their index."""
    found: dict[int, list[Interface]] = {}
    for version, make in ((4, IPv4Interface), (6, IPv6Interface)):
        for message in _of_family(netlink, RTM_GETADDR, ifaddrmsg, version):
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            found.setdefault(message["index"], []).append(make((text, message["prefixlen"])))
    return found


def routes(netlink: Netlink) -> list[Route[IPv4Network]]:
    """The IPv4 routes of the main table, the default route among them as 0.0.0.0/0."""
    return [
        Route(IPv4Network((message.get_attr("RTA_DST") or "0.0.0.0", message["dst_len"])), _interface_of(message))
        for message in _route_messages(netlink, 4)
    ]


def routes6(netlink: Netlink) -> list[Route[IPv6Network]]:
    """The IPv6 routes of the main table, the default route as ::/0; none on a kernel without IPv6."""
    return [
        Route(IPv6Network((message.get_attr("RTA_DST") or "::", message["dst_len"])), _interface_of(message))
        for message in _route_messages(netlink, 6)
    ]


def _route_messages(netlink: Netlink, version: int) -> Iterator[Any]:
    return (one for one in _of_family(netlink, RTM_GETROUTE, rtmsg, version) if one["table"] == _TABLE_MAIN)


def _of_family(netlink: Netlink, kind: int, make: Any, version: int) -> Iterator[Any]:
    """A kernel without IPv6 answers a question about it with what it has of other families."""
    family = _FAMILIES[version]
    return (one for one in netlink.dump(Request(kind, make, {"family": family}, [])) if one["family"] == family)


def _interface_of(route: Any) -> int:
    return route.get_attr("RTA_OIF") or 0
