"""Who is on which network: containers join at their start and leave at their end; connections.py moves them meanwhile.

An endpoint is a lease (network/leases.py) and a cable (network/veth.py). Its lease is written before the cable is made
and deleted after it is gone, so ``release`` finds by the leases alone what a container holds, of a crash too. A
container on the default bridge alone takes the short way that network/bridge.py has for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from minidock.engine.config import EndpointWish
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.networking import requests
from minidock.engine.networking.names import Resolvers
from minidock.engine.networking.networks import Networks
from minidock.engine.networking.refill import Refill
from minidock.engine.networking.requests import LANS, NetworkRecord
from minidock.engine.networking.wishes import SHARED
from minidock.engine.parts import Parts
from minidock.network import lan, user, veth
from minidock.network.lan import Lan
from minidock.network.leases import Lease, Leases, Wish
from minidock.network.ready import Ready
from minidock.network.sandbox import Endpoint, Sandbox, isolated_netns
from minidock.wire.errors import Conflict, NotFound, Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class Joined:
    """What a start gets: the namespace to join, as an fd of it or a pidfd (none for the host's), and the endpoints."""

    fds: list[int]
    endpoints: dict[str, EndpointRecord]


class Endpoints:
    """The verbs. All run on the loop but ``release``, which blocks."""

    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts = parts
        self._networks = networks
        self.mark = networks.mark
        self.resolvers = Resolvers(parts, networks)
        self.refill = Refill(Ready(parts.bridge, parts.settings.ready_sandboxes))

    # ---- the life of a container ------------------------------------------------------------------------------------

    async def join(
        self, container: Container, undo: AsyncExitStack, fds: AsyncExitStack, userns: int | None = None
    ) -> Joined:
        """Makes a sandbox with all its endpoints. ``fds`` closes the fd whatever comes, ``undo`` what is in it.

        It belongs to the user namespace ``userns`` (an fd) if there is one.
        """
        mode, wishes = container.host.network_mode, container.networks
        if mode == "host":
            return Joined([], {})
        if mode.startswith(SHARED):
            fd = self._shared(mode)
            fds.callback(os.close, fd)
            return Joined([fd], {})
        if container.config.network_disabled or not wishes.keys() - {"none"}:
            fd = await asyncio.to_thread(isolated_netns, userns)
            fds.callback(os.close, fd)
            return Joined([fd], {})
        found = [(self._networks.find(name), wish) for name, wish in wishes.items()]
        undo.push_async_callback(asyncio.to_thread, self.release, container.id)
        if wishes.keys() == {"bridge"}:
            sandbox = await self._default(container.id, found[0][1].mac_address, userns)
            fds.callback(os.close, sandbox.netns_fd)
            return Joined([sandbox.netns_fd], {"bridge": _record("bridge", sandbox.endpoint)})
        fd = await asyncio.to_thread(isolated_netns, userns)
        fds.callback(os.close, fd)
        endpoints: dict[str, EndpointRecord] = {}
        for network, wish in found:
            endpoints[network.name] = await self.plug(container, network, wish, f"eth{len(endpoints)}", fd)
        await asyncio.to_thread(veth.route, fd, self.gateways(endpoints))
        undo.callback(self.resolvers.close, container.id)
        await self.resolvers.update(container, list(endpoints), fd)
        return Joined([fd], endpoints)

    async def _default(self, container_id: str, mac: str, userns: int | None) -> Sandbox:
        """A sandbox on the default bridge, one that is ready or a new one. Those that are ready are the host's own."""
        if not mac and userns is None and (sandbox := self.refill.take(container_id)):
            return sandbox
        return await self._with_room(lambda: self._parts.the_bridge().claim(container_id, mac, userns))

    async def _with_room(self, claim: Callable[[], T]) -> T:
        """Runs ``claim`` in a thread; once more if it finds no address and some are held by ready sandboxes."""
        try:
            return await asyncio.to_thread(claim)
        except Unavailable:
            if not await self.refill.make_room():
                raise
        return await asyncio.to_thread(claim)

    def _shared(self, mode: str) -> int:
        other = self._parts.containers.get(mode.removeprefix(SHARED))
        if other is None:
            raise NotFound(f"No such container: {mode.removeprefix(SHARED)}")
        if not other.state.alive:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        return os.dup(self._parts.containers.live(other).running().pidfd)

    async def plug(
        self, container: Container, network: NetworkRecord, wish: EndpointWish, interface: str, namespace: int
    ) -> EndpointRecord:
        """A lease and a cable. Undone by ``release``."""
        spec = self._networks.raised(network)
        async with self._networks.changing:
            self._networks.raised(network)
            lease = await self._with_room(lambda: self._claim(container, network, wish))
        if isinstance(spec, Lan):
            end = await asyncio.to_thread(lan.plug, spec, lease, interface, namespace)
        else:
            end = await asyncio.to_thread(user.plug, spec, lease, interface, namespace)
        return _record(network.name, end)

    def _claim(self, container: Container, network: NetworkRecord, wish: EndpointWish) -> Lease:
        asked = requests.static_addresses(wish)
        address = IPv4Address(asked[4]) if 4 in asked else None
        address6 = IPv6Address(asked[6]) if 6 in asked else None
        kept = map(ip_address, [*network.reserved.values(), *network.reserved6.values()])
        leases = Leases(self._parts.db, network.id, network.address, network.address6)
        return leases.claim(
            container.id,
            Wish(
                address,
                wish.mac_address.replace("-", ":").lower(),
                IPv4Network(network.ip_range) if network.ip_range else None,
                frozenset(kept) - {address, address6},
                address6,
                IPv6Network(network.ip_range6) if network.ip_range6 else None,
            ),
        )

    def ways(self, endpoints: Mapping[str, EndpointRecord]) -> dict[int, EndpointRecord]:
        """By IP version the endpoint on the first network, by name, that leads anywhere: Docker's order."""
        open_ones = [endpoints[name] for name in sorted(endpoints) if not self._networks.find(name).internal]
        six = [end for end in open_ones if end.address6]
        return {version: ends[0] for version, ends in ((4, open_ones), (6, six)) if ends}

    def bridged(self, ways: dict[int, EndpointRecord]) -> dict[int, EndpointRecord]:
        """Those by which ports can be published: a container beside the host needs none."""
        return {version: way for version, way in ways.items() if self._networks.find(way.network).driver == "bridge"}

    def gateways(self, endpoints: Mapping[str, EndpointRecord]) -> dict[int, IPv4Address | IPv6Address | str | None]:
        """The default routes that a container is to have, None for none, by IP version: a gateway or an interface."""
        found: dict[int, IPv4Address | IPv6Address | str | None] = {4: None, 6: None}
        for version, way in self.ways(endpoints).items():
            spec = self._networks.raised(self._networks.find(way.network))
            by_interface = isinstance(spec, Lan) and spec.routed
            found[version] = (
                way.interface if by_interface else ip_address(way.gateway if version == 4 else way.gateway6)
            )
        return found

    def release(self, container_id: str) -> None:
        """Unplugs a container from everything and gives its addresses back; blocking, idempotent."""
        sql = "SELECT network, endpoint FROM leases WHERE container = ?"
        for row in self._parts.db.query(sql, (container_id,)):
            self._unplug(row["network"], container_id, row["endpoint"])

    def release_one(self, container: Container, network: NetworkRecord) -> None:
        """Unplugs it from one network, as ``release`` does from all."""
        sql = "SELECT endpoint FROM leases WHERE network = ? AND container = ?"
        for row in self._parts.db.query(sql, (network.id, container.id)):
            self._unplug(network.id, container.id, row["endpoint"])

    def take_interfaces(self, container: Container, network: NetworkRecord, keep: set[str]) -> None:
        """What a container beside the host has of it is in its own namespace alone, so it is taken from there."""
        if network.driver in LANS:
            lan.remove_others(self._parts.containers.live(container).running().pidfd, keep)

    def _unplug(self, network_id: str, container_id: str, endpoint_id: str) -> None:
        """Order: the cable before the lease, so that no address is given out while its last owner answers to it."""
        user.unplug(endpoint_id)
        sql = "DELETE FROM leases WHERE network = ? AND container = ?"
        self._parts.db.forget(sql, (network_id, container_id), durable=False)

    def publish(self, container: Container, action: str, endpoints: Mapping[str, EndpointRecord]) -> None:
        """``connect`` or ``disconnect``, an event for each endpoint."""
        self.resolvers.directory.forget()
        if not endpoints and container.host.network_mode in ("host", "none"):  # as dockerd, which sees endpoints there
            network = self._networks.find(container.host.network_mode)
            self._networks.publish(network, action, container=container.id)
        for name, endpoint in endpoints.items():
            driver = next((network.driver for network in self._networks.all() if network.id == endpoint.network_id), "")
            attributes = {"container": container.id, "name": name, "type": driver or "bridge"}
            self._parts.events.publish("network", action, endpoint.network_id, attributes)

    async def adopt(self) -> None:
        """At the daemon's start: the resolvers of containers that run on, once leases and records agree."""
        await asyncio.gather(*(self._adopt(one) for one in self._parts.containers.all()))

    async def _adopt(self, container: Container) -> None:
        """With the lock, since it may end, or be removed, at any moment: then it needs no resolver."""
        containers = self._parts.containers
        with suppress(NotFound):
            live = containers.live(container)
            async with live.lock:
                if not (container.state.alive and live.monitor):
                    return
                there = await asyncio.to_thread(self._finish_moves, container)
                if there.keys() != container.state.endpoints.keys():
                    containers.note(container, container.state.status, endpoints=there)
                await self.resolvers.adopt(container, live.monitor.pidfd)

    def _finish_moves(self, container: Container) -> dict[str, EndpointRecord]:
        """What a crash in a connect or disconnect left: a lease that is on no record goes with its cable, and a record
        goes that has no lease. Blocking; returns the endpoints that there are.
        """
        recorded = {end.endpoint_id: name for name, end in container.state.endpoints.items()}
        sql = "SELECT network, endpoint FROM leases WHERE container = ?"
        leases = {row["endpoint"]: row["network"] for row in self._parts.db.query(sql, (container.id,))}
        for endpoint in leases.keys() - recorded.keys():
            network = next((one for one in self._networks.all() if one.id == leases[endpoint]), None)
            if network:
                self.release_one(container, network)
                self.take_interfaces(container, network, {end.interface for end in container.state.endpoints.values()})
        return {name: end for name, end in container.state.endpoints.items() if end.endpoint_id in leases}

    def members(self, network: NetworkRecord) -> dict[str, tuple[Container, EndpointRecord | None]]:
        """The running containers of a network, by id; those on host and none have no endpoint."""
        found: dict[str, tuple[Container, EndpointRecord | None]] = {}
        for container in self._parts.containers.all():
            if container.state.alive and network.name in container.networks:
                endpoint = container.state.endpoints.get(network.name)
                if endpoint or network.name in ("host", "none"):
                    found[container.id] = (container, endpoint)
        return found


def _record(name: str, end: Endpoint) -> EndpointRecord:
    return EndpointRecord(
        network=name,
        network_id=end.network_id,
        endpoint_id=end.endpoint_id,
        gateway=str(end.gateway),
        address=str(end.address.ip),
        prefix=end.address.network.prefixlen,
        mac=end.mac,
        interface=end.interface,
        gateway6=str(end.gateway6 or ""),
        address6=str(end.address6.ip) if end.address6 else "",
        prefix6=end.address6.network.prefixlen if end.address6 else 0,
    )
