"""The cable: a veth pair from the bridge into a new sandbox, which it leaves with an address and a default route.

Four round trips to the kernel in all: unshare, the pair (with its far end born inside the sandbox, by the fd of the
namespace), the index of that end, and one batch for the rest. The first socket is opened before unshare, so that it
speaks to the host's network; the second after it, so that it speaks to the sandbox's.

Serves bridge.py. See: veth(4). Look: ip link show master minidock0; nsenter -t PID -n ip addr.
Read next: ../linux/netlink.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from minidock.linux import netlink, shim
from minidock.linux.netlink import Address, Netlink, Request
from minidock.linux.netns import CLONE_NEWNET, in_thread
from minidock.network.leases import Lease
from minidock.network.sandbox import WITH_IPV6, Endpoint, Sandbox, enter_new_sandbox, set_ipv6


@dataclass(frozen=True)
class Port:
    """The host's end: its name, the index of the bridge that it belongs to, the MTU of both ends."""

    name: str
    bridge: int
    mtu: int
    isolated: bool = False  # from the other isolated ports of the bridge


def port_name(endpoint_id: str) -> str:
    """The host's end of an endpoint's cable: ``md`` and 11 digits of the endpoint's id, 13 of the 15 characters that
    an interface name may have. The lease has that id, so the name is known before the cable is and after a crash.
    """
    return f"md{endpoint_id[:11]}"


def endpoint(
    network: str, lease: Lease, interface: str, gateway: IPv4Interface, gateway6: IPv6Interface | None
) -> Endpoint:
    """What a lease comes to on an interface; the gateways are the bridge's addresses with the subnets' prefixes."""
    return Endpoint(
        network_id=network,
        endpoint_id=lease.endpoint,
        interface=interface,
        mac=lease.mac,
        address=IPv4Interface((lease.address, gateway.network.prefixlen)),
        gateway=gateway.ip,
        address6=IPv6Interface((lease.address6, gateway6.network.prefixlen)) if lease.address6 and gateway6 else None,
        gateway6=gateway6.ip if lease.address6 and gateway6 else None,
    )


def plug(port: Port, endpoint: Endpoint, userns: int | None = None) -> Sandbox:
    """A new sandbox on the bridge. Raises OSError, and leaves no fd, no link and no namespace, if a step fails."""
    return in_thread(lambda: _plug(port, endpoint, userns))


def _plug(port: Port, endpoint: Endpoint, userns: int | None) -> Sandbox:
    with contextlib.ExitStack() as undo, Netlink() as host:
        fd = enter_new_sandbox(userns)
        undo.callback(os.close, fd)
        pair = netlink.new_veth(port.name, port.bridge, port.mtu, endpoint.interface, endpoint.mac, fd)
        try:
            host.request(pair)
        except FileExistsError:
            # Left behind by a start that a crash cut short: the lease, and so the name, is this container's.
            host.request(netlink.delete_link(port.name))
            host.request(pair)
        undo.callback(host.request, netlink.delete_link(port.name))
        ways = (endpoint.gateway, endpoint.gateway6)
        configure(endpoint, *(netlink.default_route(way) for way in ways if way))
        undo.pop_all()
    return Sandbox(fd, endpoint)


def configure(endpoint: Endpoint, *routes: Request) -> None:
    """Inside the sandbox. The route comes last: its gateway must be reachable by the address before it."""
    index = socket.if_nametoindex(endpoint.interface)
    addresses = [netlink.new_address(index, endpoint.address)]
    if endpoint.address6:
        set_ipv6(endpoint.interface, WITH_IPV6)
        addresses.append(netlink.new_address(index, endpoint.address6))
    with Netlink() as inside:
        inside.request(netlink.link_up(index), *addresses, *routes)


def plug_into(port: Port, endpoint: Endpoint, namespace: int) -> None:
    """Another interface for a sandbox that is there: by an fd of its namespace, or a pidfd of a process in it.

    The default route is set apart (``route``), when it is known which of the interfaces it goes by.
    """
    in_thread(lambda: _plug_into(port, endpoint, namespace))


def _plug_into(port: Port, endpoint: Endpoint, namespace: int) -> None:
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as closing:
        host = closing.enter_context(Netlink())
        shim.setns(namespace, CLONE_NEWNET)
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        closing.callback(os.close, fd)
        pair = netlink.new_veth(port.name, port.bridge, port.mtu, endpoint.interface, endpoint.mac, fd)
        host.request(pair)
        undo.callback(host.request, netlink.delete_link(port.name))
        if port.isolated:
            host.request(netlink.isolate(port.name))
        configure(endpoint)
        undo.pop_all()


def route(namespace: int, ways: Mapping[int, Address | str | None]) -> None:
    """Sets a sandbox's default routes, by IP version, to a gateway or just by an interface, or takes them away.
    ``namespace`` as for ``plug_into``.
    """

    def work() -> None:
        shim.setns(namespace, CLONE_NEWNET)
        with Netlink() as inside:
            for version, way in ways.items():
                if way is None:
                    _no_route(inside, version)
                elif isinstance(way, str):
                    inside.request(netlink.default_route_by(socket.if_nametoindex(way), version))
                else:
                    inside.request(netlink.default_route(way, replace=True))

    in_thread(work)


def _no_route(inside: Netlink, version: int) -> None:
    try:
        inside.request(netlink.no_default_route(version))
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # none there; no IPv6 at all
            raise


def unplug(name: str) -> None:
    """Removes the pair by the host's end; one that has gone (with its namespace, say) is fine."""
    with Netlink() as host:
        try:
            host.request(netlink.delete_link(name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
