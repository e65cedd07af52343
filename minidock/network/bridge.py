"""The default network: a bridge of the host, a veth pair for each container, and a way out by masquerade.

    container eth0 172.30.0.2 ══ md3f2a… ─┐
    container eth0 172.30.0.3 ══ md91bc… ─┴ minidock0 172.30.0.1/16 ── forwarding, nft masquerade ── the host's eth0

The bridge carries the mark "minidock <instance>" as its alias, so that a later daemon of the same data root adopts it
with all that is plugged in, and another one is refused. Its address is --bip, or else a subnet that overlaps nothing
that the host reaches, chosen once and kept in the database.

All methods block (netlink, SQLite, nft) and may be called from any thread. Serves the engine.
See: bridge(8), Docker's page on its bridge driver. Look: ip -d link show minidock0. Read next: veth.py, firewall.py.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from minidock.db import Database
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
from minidock.network.leases import READY, Leases, Wish, choose_gateway, conflicting, mac_of, overlapping
from minidock.network.sandbox import Sandbox
from minidock.wire.errors import Conflict, InvalidArgument, Unavailable
from minidock.wire.names import new_id

NAME = "bridge"
"""What Docker calls its default network."""

INTERFACE = "eth0"
_BRIDGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)


@dataclass(frozen=True)
class _Row:
    """The network in the database."""

    id: str
    bridge: str
    gateway: IPv4Interface


@dataclass(frozen=True)
class _Up:
    """The network as it stands: the bridge's index and MTU, with what the row says."""

    row: _Row
    index: int
    mtu: int


class Bridge:
    """The verbs. ``subnet`` is --bip, the bridge's own address with its prefix; None leaves the choice to us.
    ``gateway6`` is its IPv6 address; with None the network has no IPv6.
    """

    def __init__(
        self,
        name: str,
        subnet: IPv4Interface | None,
        db: Database,
        instance: str,
        gateway6: IPv6Interface | None = None,
    ) -> None:
        if not _BRIDGE_NAME.fullmatch(name) or name in ("all", "default", "lo"):
            raise InvalidArgument(f"invalid bridge name {name!r}", "1 to 15 letters, digits, dots, dashes, underscores")
        if subnet is not None and subnet.ip in (subnet.network.network_address, subnet.network.broadcast_address):
            raise InvalidArgument(f"invalid bridge address {subnet}: not a host's", "such as --bip 172.30.0.1/16")
        self.name = name
        self.mark = f"minidock {instance}"
        self.gateway6 = gateway6
        self._wish = subnet
        self._db = db
        self._state: _Up | None = None

    # ---- up and down ------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Makes or adopts the bridge, its rules and forwarding; idempotent.

        Raises Unavailable with what this machine lacks, Conflict where the name or the subnet is someone else's.
        Order: forwarding is switched on last, so that at no moment the host forwards what the rules would drop.
        """
        firewall.require()
        if self.gateway6 is not None:
            require_ipv6()
        try:
            with one_at_a_time(), Netlink() as kernel, contextlib.ExitStack() as undo:
                self._state = None
                state = self._raise(kernel, undo)
                firewall.apply(self.name, [gateway.network for gateway in self._gateways(state.row.gateway)])
                switch_on_forwarding(self.gateway6 is not None)
                undo.pop_all()
                self._state = state
        except OSError as error:
            raise Unavailable(f"make bridge {self.name}: {reason(error)}", hint(error)) from error

    def _raise(self, kernel: Netlink, undo: contextlib.ExitStack) -> _Up:
        links = {link.name: link for link in netlink.links(kernel)}
        self._refuse_foreign(links.get(self.name))
        row = self._row()
        gateway = self._choose(kernel, links, row)
        if row is not None and (row.bridge, row.gateway) != (self.name, gateway):
            self._refuse_in_use(links, row, gateway)
            self._take(kernel, links, row)
        row = self._save(row, gateway)
        found = links.get(self.name)
        if found is None:
            mtu = mtu_of_default_route(kernel, links)
            new = netlink.new_bridge(self.name, mac_of(gateway.ip), mtu)
            kernel.request(new, netlink.set_alias(self.name, self.mark))
            undo.callback(kernel.request, netlink.delete_link(self.name))
            found = Link(socket.if_nametoindex(self.name), self.name, "bridge", self.mark, mtu, 0)
        settle(kernel, found, self._gateways(gateway), netlink.addresses(kernel).get(found.index, ()))
        return _Up(row, found.index, found.mtu)

    def _gateways(self, gateway: IPv4Interface) -> list[IPv4Interface | IPv6Interface]:
        return [gateway, self.gateway6] if self.gateway6 else [gateway]

    def _refuse_foreign(self, found: Link | None) -> None:
        if found is not None and found.alias != self.mark:
            owner = f"of {found.alias}" if found.alias.startswith("minidock ") else "not made by minidock"
            raise Conflict(
                f"make bridge {self.name}: there is an interface of that name, {owner}",
                "choose another name by --bridge",
            )

    def _choose(self, kernel: Netlink, links: dict[str, Link], row: _Row | None) -> IPv4Interface:
        """--bip; else what we have, while it is in use or overlaps nothing; else the first free candidate."""
        own = (self.name, row.bridge if row else "")
        ours = {link.index for link in links.values() if link.alias == self.mark and link.name in own}
        routes = [route.destination for route in netlink.routes(kernel) if route.index not in ours]
        if self._wish is not None:
            clash = conflicting(self._wish, routes)
            if clash is not None:
                raise Conflict(
                    f"make bridge {self.name}: {self._wish} overlaps the host's route to {clash}", "another --bip"
                )
            return self._wish
        if row is not None and (self._live(links, row) or not overlapping(row.gateway, routes)):
            return row.gateway
        resolvers = etc.parse_resolv_conf(etc.host_resolv_conf()).servers
        return choose_gateway(routes, [IPv4Address(server) for server in etc.usable(resolvers)])

    def _live(self, links: dict[str, Link], row: _Row) -> list[str]:
        """Containers that hold a lease and are plugged in; a lease alone may be left from before a reboot."""
        leases = self._leases(row).all()
        there = [held for held, lease in leases.items() if veth.port_name(lease.endpoint) in links]
        return [held for held in there if not held.startswith(READY)]  # those go with the daemon that made them

    def _refuse_in_use(self, links: dict[str, Link], row: _Row, gateway: IPv4Interface) -> None:
        """The bridge may only get another name or subnet while no container is on it."""
        live = self._live(links, row)
        if live:
            raise Conflict(
                f"change the network from {row.bridge} {row.gateway} to {self.name} {gateway}: "
                f"containers are on it ({', '.join(held[:12] for held in live[:3])}{', …' if len(live) > 3 else ''})",
                "stop them first, or leave --bip and --bridge as they were",
            )

    def _take(self, kernel: Netlink, links: dict[str, Link], row: _Row) -> None:
        """Removes the bridge as it was, with its rules and leases."""
        old = links.get(row.bridge)
        if old is not None and old.alias == self.mark:
            kernel.request(netlink.delete_link(links.pop(row.bridge).name))
        firewall.remove(row.bridge)
        self._leases(row).clear()

    def down(self) -> None:
        """For a daemon without a bridge: removes what an earlier one had, whatever its name, unless containers are on
        it. The subnet stays in the database.
        """
        self._state = None
        with Netlink() as kernel:
            links = {link.name: link for link in netlink.links(kernel)}
            row = self._row()
            if row is not None and not self._live(links, row):
                self._take(kernel, links, row)

    # ---- endpoints --------------------------------------------------------------------------------------------------

    def claim(self, container_id: str, mac: str = "", userns: int | None = None) -> Sandbox:
        """A network namespace of the container's own, plugged in and configured. The fd in it is the caller's.

        It belongs to the user namespace ``userns`` (an fd) if there is one.
        """
        state = self._ready()
        lease = self._leases(state.row).claim(container_id, Wish(mac=mac.replace("-", ":").lower()))
        endpoint = veth.endpoint(state.row.id, lease, INTERFACE, state.row.gateway, self.gateway6)
        try:
            return veth.plug(veth.Port(veth.port_name(lease.endpoint), state.index, state.mtu), endpoint, userns)
        except OSError as error:
            self.release(container_id)
            raise Unavailable(f"plug into bridge {self.name}: {reason(error)}", hint(error)) from error

    def hand_over(self, owner: str, container_id: str) -> bool:
        """Makes what ``claim`` made for ``owner`` the container's; False if one has no lease or the other has one."""
        return self._leases(self._ready().row).hand_over(owner, container_id)

    def forget(self, owner: str) -> None:
        """Gives back a lease whose cable goes by itself, with a namespace that nothing holds any more."""
        self._leases(self._ready().row).release(owner)

    def release(self, container_id: str) -> None:
        """Unplugs the container and gives its address back; what is gone already is fine.

        Order: the link before the lease, so that no address is given out while its last owner still answers to it.
        """
        row = self._row()
        lease = self._leases(row).all().get(container_id) if row else None
        if row and lease:
            veth.unplug(veth.port_name(lease.endpoint))
            self._leases(row).release(container_id)

    def leases(self) -> dict[str, IPv4Address]:
        """Who has which address, by container id; of a daemon that is gone too."""
        row = self._row()
        return {} if row is None else {held: lease.address for held, lease in self._leases(row).all().items()}

    @property
    def network_id(self) -> str:
        """The network's id. Raises Unavailable before ``up``."""
        return self._ready().row.id

    @property
    def gateway(self) -> IPv4Interface:
        """The bridge's address with the subnet's prefix. Raises Unavailable before ``up``."""
        return self._ready().row.gateway

    @property
    def mtu(self) -> int:
        """That of the bridge and of every port. Raises Unavailable before ``up``."""
        return self._ready().mtu

    def _ready(self) -> _Up:
        if self._state is None:
            raise Unavailable(
                f"use bridge {self.name}: it could not be made",
                "see the daemon's log or minidock doctor; --network none and host work",
            )
        return self._state

    # ---- the database -----------------------------------------------------------------------------------------------

    def _row(self) -> _Row | None:
        for row in self._db.query("SELECT id, bridge, address FROM networks WHERE name = ?", (NAME,)):
            return _Row(row["id"], row["bridge"], IPv4Interface(row["address"]))
        return None

    def _save(self, row: _Row | None, gateway: IPv4Interface) -> _Row:
        """Writes what is to be, before the kernel is told."""
        saved = _Row(row.id if row else new_id(), self.name, gateway)
        self._db.execute(
            "INSERT INTO networks (id, name, driver, bridge, address, created) VALUES (?, ?, 'bridge', ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET bridge = excluded.bridge, address = excluded.address",
            (saved.id, NAME, saved.bridge, str(saved.gateway), time.time_ns()),
        )
        return saved

    def _leases(self, row: _Row) -> Leases:
        return Leases(self._db, row.id, row.gateway, self.gateway6)
