"""A network that a user made: a bridge of its own, with what the user wished for it.

    web  eth0 172.31.0.2 ══ md77ab… ─┐
    db   eth0 172.31.0.3 ══ md0c1d… ─┴ br-5e1f… 172.31.0.1/20      each bridge with its nft table (firewall.py)

Like the default bridge (bridge.py) it carries the instance's mark as its alias. Its name is ``br-`` and the first 12
digits of the network's id; a port's is ``md`` and the first 11 of the endpoint's id, which the lease has. So all that
is in the kernel can be derived from rows of the database, and what has no row can be told and taken away.

From one network there is no way to another: each table drops what comes to its bridge from elsewhere unasked.
All functions block and may be called from any thread. Serves the engine's networks.py. Read next: veth.py, leases.py.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from minidock.linux import netlink
from minidock.linux.netlink import Link, Netlink
from minidock.linux.reason import reason
from minidock.network import etc, firewall, veth
from minidock.network.bridging import (
    hint,
    mtu_of_default_route,
    one_at_a_time,
    require_ipv6,
    settle,
    switch_on_forwarding,
)
from minidock.network.leases import Lease, mac_of
from minidock.network.pools import Pools
from minidock.network.sandbox import Endpoint
from minidock.wire.errors import Conflict, Error, Unavailable


@dataclass(frozen=True)
class UserBridge:
    """What the kernel is to have. ``mtu`` 0 is that of the way out; what ``up`` returns has the true one."""

    network_id: str
    bridge: str
    gateway: IPv4Interface
    policy: firewall.Policy = firewall.Policy()
    mtu: int = 0
    gateway6: IPv6Interface | None = None

    @property
    def gateways(self) -> list[IPv4Interface | IPv6Interface]:
        """The bridge's addresses."""
        return [self.gateway, self.gateway6] if self.gateway6 else [self.gateway]

    @property
    def subnets(self) -> list[IPv4Network | IPv6Network]:
        """What its members' addresses are of."""
        return [gateway.network for gateway in self.gateways]


def bridge_name(network_id: str) -> str:
    """``br-`` and 12 digits of the network's id, as Docker names them: all 15 characters that a name may have."""
    return f"br-{network_id[:12]}"


def free_subnet(pools: Pools, taken: Collection[IPv4Network]) -> IPv4Network:
    """A subnet from the pools that overlaps neither ``taken`` nor anything that the host reaches."""
    resolvers = etc.usable(etc.parse_resolv_conf(etc.host_resolv_conf()).servers)
    return pools.choose([*taken, *host_routes()], [IPv4Address(server) for server in resolvers])


def free_subnet6(pools: Pools, taken: Collection[IPv6Network]) -> IPv6Network:
    """The same for IPv6."""
    return pools.choose6([*taken, *host_routes6()])


def host_routes() -> list[IPv4Network]:
    """Where the host reaches other than by its default route."""
    with Netlink() as kernel:
        return [route.destination for route in netlink.routes(kernel) if route.destination.prefixlen > 0]


def host_routes6() -> list[IPv6Network]:
    """The same for IPv6."""
    with Netlink() as kernel:
        return [route.destination for route in netlink.routes6(kernel) if route.destination.prefixlen > 0]


def up(spec: UserBridge, mark: str) -> UserBridge:
    """Makes or adopts the bridge and its rules, or nothing. Returns the spec with the bridge's MTU.

    Raises Conflict where the name is someone else's, Unavailable with what this machine lacks.
    """
    found = up_all([spec], mark)[spec.network_id]
    if isinstance(found, Error):
        if not isinstance(found, Conflict):
            with contextlib.suppress(OSError, Error):
                down(spec.bridge, mark)
        raise found
    return found


def up_all(specs: Sequence[UserBridge], mark: str) -> dict[str, UserBridge | Error]:
    """Makes or adopts many, by the network's id: each with the bridge's MTU, or why it can't be; idempotent.

    Order: the rules are there before a bridge can carry anything.
    """
    result: dict[str, UserBridge | Error] = {}
    if not specs:
        return result
    try:
        with one_at_a_time(), Netlink() as kernel:
            links = {link.name: link for link in netlink.links(kernel)}
            mine = [spec for spec in specs if spec.bridge not in links or links[spec.bridge].alias == mark]
            ipv6 = any(spec.gateway6 for spec in mine)
            if ipv6:
                require_ipv6()
            firewall.apply_all((spec.bridge, spec.subnets, spec.policy) for spec in mine)
            known, mtu = netlink.addresses(kernel), mtu_of_default_route(kernel, links)
            for spec in mine:
                found = links.get(spec.bridge) or _make(kernel, spec, mark, spec.mtu or mtu)
                settle(kernel, found, spec.gateways, known.get(found.index, ()))
                result[spec.network_id] = replace(spec, mtu=found.mtu)
            switch_on_forwarding(ipv6)
            for spec in specs:
                text = f"make bridge {spec.bridge}: there is an interface of that name, not of this minidock"
                result.setdefault(spec.network_id, Conflict(text))
    except OSError as error:
        failure: Error = Unavailable(f"make the bridges of networks: {reason(error)}", hint(error))
        return {spec.network_id: result.get(spec.network_id, failure) for spec in specs}
    except Error as error:
        return {spec.network_id: error for spec in specs}
    return result


def _make(kernel: Netlink, spec: UserBridge, mark: str, mtu: int) -> Link:
    new = netlink.new_bridge(spec.bridge, mac_of(spec.gateway.ip), mtu)
    kernel.request(new, netlink.set_alias(spec.bridge, mark))
    return Link(socket.if_nametoindex(spec.bridge), spec.bridge, "bridge", mark, mtu, 0)


def down(bridge: str, mark: str) -> None:
    """Removes the bridge and its rules; what is gone already is fine."""
    with Netlink() as kernel:
        if any(link.name == bridge and link.alias == mark for link in netlink.links(kernel)):
            kernel.request(netlink.delete_link(bridge))
    firewall.remove(bridge)


def stale(mark: str, bridges: Collection[str], ports: Collection[str]) -> list[str]:
    """Bridges of ours that are none of ``bridges``, and cables plugged into ours that are none of ``ports``."""
    with Netlink() as kernel:
        links = netlink.links(kernel)
    ours = {link.index: link.name for link in links if link.alias == mark}
    cables = [link.name for link in links if link.kind == "veth" and link.master in ours and link.name not in ports]
    return [*cables, *(name for name in ours.values() if name not in bridges)]


def take(name: str, mark: str) -> None:
    """Removes a cable or a bridge that ``stale`` has named."""
    with Netlink() as kernel:
        found = next((link for link in netlink.links(kernel) if link.name == name), None)
    if found is not None and found.alias == mark:
        down(name, mark)
    elif found is not None:
        veth.unplug(name)


def plug(spec: UserBridge, lease: Lease, interface: str, namespace: int) -> Endpoint:
    """Gives a sandbox an interface on this network. ``namespace``: an fd of it, or a pidfd of a process in it."""
    endpoint = veth.endpoint(spec.network_id, lease, interface, spec.gateway, spec.gateway6)
    try:
        index = socket.if_nametoindex(spec.bridge)
        port = veth.Port(veth.port_name(lease.endpoint), index, spec.mtu, isolated=not spec.policy.icc)
        veth.plug_into(port, endpoint, namespace)
    except OSError as error:
        raise Unavailable(f"plug into bridge {spec.bridge}: {reason(error)}", hint(error)) from error
    return endpoint


def unplug(endpoint_id: str) -> None:
    """Takes an endpoint's cable away; one that has gone is fine."""
    veth.unplug(veth.port_name(endpoint_id))
