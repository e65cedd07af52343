"""Leases: which container has which address, kept in the database so that they survive the daemon.

A lease is written before the first kernel object of an endpoint exists and deleted after the last one is gone, so that
whatever a crash leaves behind has a row that names it. Not synced to the disk: after a power cut nothing is plugged in.
Always the lowest free address is given out; its MAC follows
from the address, so a neighbour's ARP entry stays right when an address changes hands.

Serves bridge.py and user.py. The pure half (which subnet, which address) is at the end. Read next: bridge.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import overload

from minidock.db import Database
from minidock.wire.errors import Forbidden, Unavailable

CANDIDATES = tuple(
    IPv4Interface(text)
    for text in (
        "172.30.0.1/16",
        "172.31.0.1/16",
        *(f"10.{second}.0.1/16" for second in range(201, 217)),
        *(f"192.168.{third}.1/24" for third in range(201, 217)),
    )
)
"""Where to look for a subnet, in this order; away from docker0 (172.17.0.0/16) and its default pools before 172.30."""


READY = "ready-"
"""How the names begin in which sandboxes that no container has yet (ready.py) hold their leases."""


@dataclass(frozen=True)
class Lease:
    """An address of a network in the hands of a container."""

    container: str
    endpoint: str
    address: IPv4Address
    mac: str
    address6: IPv6Address | None = None


@dataclass(frozen=True)
class Wish:
    """What a lease is to be like: an address and a MAC of one's own; within which part; which ones are kept free."""

    address: IPv4Address | None = None
    mac: str = ""
    within: IPv4Network | None = None
    reserved: frozenset[IPv4Address | IPv6Address] = frozenset()
    address6: IPv6Address | None = None
    within6: IPv6Network | None = None


class Leases:
    """The leases of one network. ``gateway``: the bridge's own address with the subnet's prefix; ``gateway6``: its
    other one, if the network has IPv6.
    """

    def __init__(
        self, db: Database, network: str, gateway: IPv4Interface, gateway6: IPv6Interface | None = None
    ) -> None:
        self._db = db
        self._network = network
        self._gateway = gateway
        self._gateway6 = gateway6

    def claim(self, container_id: str, wish: Wish = Wish()) -> Lease:  # noqa: B008 - frozen
        """The container's lease: the one it has, or a new one. Raises Unavailable when the subnet is full, Forbidden
        when the wanted address is taken.
        """
        with self._db.transaction(durable=False) as connection:
            held = self.all()
            if container_id in held:
                return held[container_id]
            taken = {lease.address for lease in held.values()} | wish.reserved
            _check_free(wish.address, taken | {self._gateway.ip})
            address = wish.address or lowest_free(self._gateway, taken, wish.within)
            address6 = self._claim6(wish, {lease.address6 for lease in held.values() if lease.address6})
            lease = Lease(container_id, os.urandom(32).hex(), address, wish.mac or mac_of(address), address6)
            connection.execute(
                "INSERT INTO leases (network, address, container, endpoint, mac, address6) VALUES (?, ?, ?, ?, ?, ?)",
                (self._network, str(address), container_id, lease.endpoint, lease.mac, str(address6 or "")),
            )
        return lease

    def _claim6(self, wish: Wish, held: set[IPv6Address]) -> IPv6Address | None:
        if self._gateway6 is None:
            return None
        taken = held | wish.reserved
        _check_free(wish.address6, taken | {self._gateway6.ip})
        return wish.address6 or lowest_free(self._gateway6, taken, wish.within6)

    def hand_over(self, owner: str, container_id: str) -> bool:
        """Makes one owner's lease another's; False if there is none, or the other has one of its own."""
        with self._db.transaction(durable=False) as connection:
            held = self.all()
            if owner not in held or container_id in held:
                return False
            sql = "UPDATE leases SET container = ? WHERE network = ? AND container = ?"
            connection.execute(sql, (container_id, self._network, owner))
        return True

    def release(self, container_id: str) -> None:
        """Gives the address back; a container without a lease is fine."""
        sql = "DELETE FROM leases WHERE network = ? AND container = ?"
        self._db.execute(sql, (self._network, container_id), durable=False)

    def clear(self) -> None:
        """Forgets every lease, of a network that has nothing plugged in."""
        self._db.execute("DELETE FROM leases WHERE network = ?", (self._network,), durable=False)

    def all(self) -> dict[str, Lease]:
        """Every lease, by container id."""
        rows = self._db.query(
            "SELECT container, endpoint, address, mac, address6 FROM leases WHERE network = ?", (self._network,)
        )
        return {
            row[0]: Lease(row[0], row[1], IPv4Address(row[2]), row[3], IPv6Address(row[4]) if row[4] else None)
            for row in rows
        }


def _check_free(wanted: IPv4Address | IPv6Address | None, taken: Collection[IPv4Address | IPv6Address]) -> None:
    if wanted in taken:
        raise Forbidden(f"Address already in use: {wanted}")


@overload
def lowest_free(
    gateway: IPv4Interface, taken: Collection[IPv4Address | IPv6Address], within: IPv4Network | None = None
) -> IPv4Address: ...


@overload
def lowest_free(
    gateway: IPv6Interface, taken: Collection[IPv4Address | IPv6Address], within: IPv6Network | None = None
) -> IPv6Address: ...


def lowest_free(
    gateway: IPv4Interface | IPv6Interface,
    taken: Collection[IPv4Address | IPv6Address],
    within: IPv4Network | IPv6Network | None = None,
) -> IPv4Address | IPv6Address:
    """The first address that is neither the network's, the gateway's, the broadcast's nor taken; one of ``within``.

    IPv6 has no broadcast address; the network's is that of all its routers (RFC 4291, 2.6.1).
    """
    network, part = gateway.network, within or gateway.network
    make = IPv4Address if gateway.version == 4 else IPv6Address
    unusable = {network.network_address, gateway.ip, network.broadcast_address if gateway.version == 4 else gateway.ip}
    for number in range(int(part.network_address), int(part.broadcast_address) + 1):
        address = make(number)
        if address not in unusable and address not in taken:
            return address
    raise Unavailable(
        f"claim an address: subnet {part} has no free one", "remove containers, or take a larger --bip or --subnet"
    )


def mac_of(address: IPv4Address) -> str:
    """02:42 and the four bytes of the address, as Docker has it: 02 says "locally administered"."""
    return "02:42:" + address.packed.hex(":")


def choose_gateway(routes: Sequence[IPv4Network], resolvers: Sequence[IPv4Address]) -> IPv4Interface:
    """The first candidate that overlaps nothing the host reaches: no route but the default one, and no resolver.

    A resolver may be reached by the default route alone (a cloud's, at 172.31.0.2 say); a bridge over it would cut the
    host off from its names. Raises Unavailable when all candidates are taken.
    """
    for candidate in CANDIDATES:
        if not overlapping(candidate, routes) and not any(server in candidate.network for server in resolvers):
            return candidate
    raise Unavailable("choose a subnet for the bridge: all candidates overlap routes of this host", "give one by --bip")


def overlapping(gateway: IPv4Interface, routes: Sequence[IPv4Network]) -> IPv4Network | None:
    """A route, not the default one, that has addresses in common with the gateway's subnet."""
    return next((route for route in routes if route.prefixlen > 0 and route.overlaps(gateway.network)), None)


def conflicting(gateway: IPv4Interface, routes: Sequence[IPv4Network]) -> IPv4Network | None:
    """The host's route that an address would break which was asked for: one to the same subnet or to a part of it.

    A wider route (10.0.0.0/8 by a VPN) is no conflict then: the narrower one wins.
    """
    return next((route for route in routes if route.prefixlen > 0 and route.subnet_of(gateway.network)), None)
