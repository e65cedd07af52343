"""Networks: all there are, and how they come and go. Who is on them stands in endpoints.py.

A network is a row of the database before it is a bridge of the kernel, and a bridge no more before its row goes; so a
crash in between leaves one that the next start raises again. Three are always there and have fixed meanings: bridge
(network/bridge.py), host and none; their ids are derived from the instance, so that they stay the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from minidock.engine import codec
from minidock.engine.networking import ipam
from minidock.engine.networking.requests import (
    BRIDGE_NAME,
    LANS,
    PREDEFINED,
    NetworkRecord,
    NetworkRequest,
    check,
)
from minidock.engine.parts import Parts
from minidock.network import lan, user
from minidock.network.lan import Lan
from minidock.network.pools import Pools, parse
from minidock.network.user import UserBridge
from minidock.wire import names, times
from minidock.wire.errors import Ambiguous, Conflict, Error, Forbidden, NotFound, Unavailable

log = logging.getLogger(__name__)


class Networks:
    """The index of networks, by id; the user's own live in the database."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._own: dict[str, NetworkRecord] = {}
        self._up: dict[str, UserBridge | Lan] = {}
        self._why_not: dict[str, str] = {}
        self.mark = f"minidock {parts.settings.instance}"
        self._pools = Pools(parts.settings.instance, [parse(text) for text in parts.settings.address_pools])
        self.changing = asyncio.Lock()  # networks come and go, and leases are claimed, one at a time
        for row in parts.db.query("SELECT id, settings FROM networks WHERE settings != '{}'"):
            try:
                self._own[row["id"]] = codec.decode(NetworkRecord, json.loads(row["settings"]))
            except Exception as error:  # whatever is wrong with one row must not keep the others from being served
                log.error("network %s: its row can't be read and is set aside: %s", row["id"], error)

    def restore(self) -> None:
        """Raises every network, as the daemon's start asks for; blocking. One that can't be raised keeps the others
        from nothing.
        """
        specs = [record.kernel() for record in self._own.values()]
        raised: dict[str, UserBridge | Lan | Error] = {}
        raised |= user.up_all([spec for spec in specs if isinstance(spec, UserBridge)], self.mark)
        for spec in specs:
            if isinstance(spec, Lan):
                raised[spec.network_id] = self._raise_lan(spec)
        for ident, found in raised.items():
            if isinstance(found, Error):
                self._why_not[ident] = str(found)
                log.error("network %s is not available: %s", self._own[ident].name, found)
            else:
                self._up[ident] = found

    def _raise_lan(self, spec: Lan) -> Lan | Error:
        try:
            lan.up(spec, self.mark)
        except Error as error:
            return error
        return spec

    # ---- what there is

    def all(self) -> list[NetworkRecord]:
        """The three, then the user's, oldest first."""
        return [*self._predefined(), *sorted(self._own.values(), key=lambda record: record.created)]

    def _predefined(self) -> list[NetworkRecord]:
        found, bridge, instance = [], self._parts.bridge, self._parts.settings.instance
        if bridge:
            address = bridge.gateway
            options = {
                "com.docker.network.bridge.default_bridge": "true",
                "com.docker.network.bridge.enable_icc": "true",
                "com.docker.network.bridge.enable_ip_masquerade": "true",
                BRIDGE_NAME: bridge.name,
                "com.docker.network.driver.mtu": str(bridge.mtu),
            }
            ident = bridge.network_id
            subnet_text = str(address.network)
            six = bridge.gateway6
            found.append(
                NetworkRecord(
                    ident,
                    "bridge",
                    "bridge",
                    subnet_text,
                    str(address.ip),
                    bridge.name,
                    options=options,
                    subnet6=str(six.network) if six else "",
                    gateway6=str(six.ip) if six else "",
                )  # fmt: skip
            )
        for name, driver in (("host", "host"), ("none", "null")):
            found.append(NetworkRecord((instance + name.encode().hex()).ljust(64, "0"), name, driver))
        return found

    def find(self, reference: str) -> NetworkRecord:
        """By id, by name, by a unique prefix of the id; in this order, as Docker does."""
        networks = self.all()
        for network in networks:
            if reference == network.id:
                return network
        for network in networks:
            if reference == network.name:
                return network
        found = [network for network in networks if reference and network.id.startswith(reference)]
        if len(found) > 1:
            raise Ambiguous(f"network {reference} is ambiguous ({len(found)} matches found based on ID prefix)")
        if not found:
            if reference == "bridge":
                self._parts.the_bridge()
            raise NotFound(f"network {reference} not found")
        return found[0]

    def raised(self, network: NetworkRecord) -> UserBridge | Lan:
        """A network as the kernel has it. Raises Unavailable with the reason where it could not be made."""
        if network.name == "bridge":
            bridge = self._parts.the_bridge()
            return UserBridge(bridge.network_id, bridge.name, bridge.gateway, mtu=bridge.mtu, gateway6=bridge.gateway6)
        if network.id not in self._up:
            reason = self._why_not.get(network.id, "it is being made or removed")
            raise Unavailable(f"network {network.name} is not available: {reason}", "restart minidockd to try again")
        return self._up[network.id]

    # ---- coming and going

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        """A new network. Raises Forbidden where its addresses, its bridge or its parent are another's."""
        check(request)
        if request.driver not in LANS:
            self._parts.the_bridge()
        async with self.changing:
            self._check_free(request)
            record = await asyncio.to_thread(self._record, request)
            row = (
                record.id,
                record.name,
                record.driver,
                record.bridge or record.parent,
                str(record.address),
                record.created,
            )
            sql = "INSERT INTO networks (id, name, driver, bridge, address, created, settings) VALUES (?,?,?,?,?,?,?)"
            await asyncio.to_thread(self._parts.db.execute, sql, (*row, json.dumps(codec.encode(record))))
            try:
                self._up[record.id] = await asyncio.to_thread(self._raise, record)
            except BaseException:
                await asyncio.to_thread(self._forget, record)
                raise
            self._own[record.id] = record
        self.publish(record, "create")
        return record

    def _raise(self, record: NetworkRecord) -> UserBridge | Lan:
        spec = record.kernel()
        if isinstance(spec, UserBridge):
            return user.up(spec, self.mark)
        lan.up(spec, self.mark)
        return spec

    def _check_free(self, request: NetworkRequest) -> None:
        bridge, parent = (request.options or {}).get(BRIDGE_NAME), (request.options or {}).get("parent")
        for other in self.all():
            if other.name == request.name:
                raise Conflict(f"network with name {request.name} already exists")
            if parent and other.parent == parent and request.driver in LANS:
                raise Forbidden(f"network {other.name} is already using parent interface {parent}", "another -o parent")
            if bridge and other.bridge == bridge:
                raise Forbidden(
                    f"cannot create network {request.name} ({bridge}): conflicts with network {other.id} "
                    f"({bridge}): networks have same bridge name"
                )

    def _record(self, request: NetworkRequest) -> NetworkRecord:
        """The request with what it leaves open. Blocking: it looks at the host's routes."""
        ident, options = names.new_id(), request.options or {}
        beside = request.driver in LANS
        return NetworkRecord(
            id=ident,
            name=request.name,
            driver=request.driver if beside else "bridge",
            bridge="" if beside else options.get(BRIDGE_NAME) or user.bridge_name(ident),
            parent=(options.get("parent") or lan.dummy_name(ident)) if beside else "",
            created=times.now(),
            internal=request.internal,
            attachable=request.attachable,
            options=options,
            ipam_options=request.ipam.options if request.ipam else None,
            labels=request.labels or {},
            **self._addresses(request, 4),
            **(self._addresses(request, 6) if request.enable_ipv6 else {}),
        )

    def _addresses(self, request: NetworkRequest, version: int) -> dict[str, Any]:
        """The fields of a record about one family; those of IPv6 end in 6."""
        pool = ipam.pool_of((request.ipam.config or ()) if request.ipam else (), version)
        texts = {(other.subnet if version == 4 else other.subnet6): other.name for other in self.all()}
        taken = {ip_network(text): name for text, name in texts.items() if text}
        wanted = ipam.subnet(pool)
        if wanted is not None:
            _check_subnet(wanted, taken, beside=request.driver in LANS)
        chosen = wanted or self._free_subnet(version, taken)
        part = ipam.ip_range(pool, chosen)
        fields = {
            "subnet": str(chosen),
            "gateway": str(ipam.gateway(pool, chosen)),
            "chosen": wanted is not None,
            "ip_range": str(part) if part else "",
            "reserved": {name: str(address) for name, address in ipam.reserved(pool, chosen).items()},
        }
        return fields if version == 4 else {f"{name}6": value for name, value in fields.items()}

    def _free_subnet(self, version: int, taken: Iterable[ipam.Network]) -> ipam.Network:
        if version == 4:
            return user.free_subnet(self._pools, [one for one in taken if isinstance(one, IPv4Network)])
        return user.free_subnet6(self._pools, [one for one in taken if isinstance(one, IPv6Network)])

    async def remove(self, reference: str) -> None:
        """Takes a network away that nothing is plugged into. Raises Forbidden otherwise."""
        record = self.find(reference)
        if record.name in PREDEFINED:
            raise Forbidden(f"{record.name} is a pre-defined network and cannot be removed")
        async with self.changing:
            if record.id not in self._own:
                raise NotFound(f"network {reference} not found")
            if self.used(record):
                raise Forbidden(
                    f"error while removing network: network {record.name} id {record.id} has active endpoints"
                )
            self._up.pop(record.id, None)
            await asyncio.to_thread(self._forget, record)
            del self._own[record.id]
        self.publish(record, "destroy")

    def _forget(self, record: NetworkRecord) -> None:
        if record.parent:
            lan.down(record.parent, self.mark)
        else:
            user.down(record.bridge, self.mark)
        self._parts.db.execute("DELETE FROM networks WHERE id = ?", (record.id,))

    async def prune(self, wanted: Callable[[NetworkRecord], bool]) -> list[str]:
        """Removes the user's networks that nothing is plugged into; returns their names."""
        removed = []
        for record in [record for record in self.all() if not record.predefined and wanted(record)]:
            if self.used(record):
                continue
            try:
                await self.remove(record.id)
            except (Forbidden, NotFound):  # it came into use meanwhile, or another took it away
                continue
            removed.append(record.name)
        self._parts.events.publish("network", "prune", "", {"reclaimed": "0"})
        return removed

    def used(self, network: NetworkRecord) -> bool:
        """Whether anything is plugged in, or about to be."""
        return bool(self._parts.db.query("SELECT 1 FROM leases WHERE network = ? LIMIT 1", (network.id,)))

    def publish(self, network: NetworkRecord, action: str, **attributes: str) -> None:
        """A network's event with Docker's attributes."""
        shown = {**attributes, "name": network.name, "type": network.driver}
        self._parts.events.publish("network", action, network.id, shown)


def _check_subnet(wanted: ipam.Network, taken: Mapping[ipam.Network, str], beside: bool) -> None:
    """``beside``: the network is one that the host is on, so it may well have a route there."""
    routes = [] if beside else user.host_routes() if wanted.version == 4 else user.host_routes6()
    clash = next((other for other in taken if other.overlaps(wanted)), None)
    route = next((route for route in routes if route.subnet_of(wanted)), None)  # type: ignore[arg-type]
    if clash is not None or route is not None:
        what = f"{clash} of network {taken[clash]}" if clash is not None else f"the host's route to {route}"
        raise Forbidden(
            f"Pool overlaps with other one on this address space: {wanted} and {what}", "choose another --subnet"
        )
