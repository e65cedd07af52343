"""Who is on which network: containers join at their start, leave at their end, and move while they run.

An endpoint is a lease (network/leases.py) and a cable (network/veth.py). Its lease is written before the cable is made
and deleted after it is gone, so ``release`` finds by the leases alone what a container holds, of a crash too. A
container on the default bridge alone takes the short way that network/bridge.py has for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from minidock.engine import codec, network_requests
from minidock.engine.config import Config, EndpointWish, HostConfig
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.names import Resolvers, named, resolv_conf
from minidock.engine.network_requests import NetworkRecord
from minidock.engine.networks import Networks
from minidock.engine.parts import Parts
from minidock.engine.refill import Refill
from minidock.engine.requests import CreateRequest
from minidock.network import user, veth
from minidock.network.leases import Lease, Leases, Wish
from minidock.network.ready import Ready
from minidock.network.sandbox import Endpoint, Sandbox, isolated_netns
from minidock.wire.errors import Conflict, Error, Forbidden, InvalidArgument, NotFound, Unavailable

T = TypeVar("T")
SHARED = "container:"
_MOST_INTERFACES = 64


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
        self.resolvers = Resolvers(parts, networks)
        self.refill = Refill(Ready(parts.bridge, parts.settings.ready_sandboxes))

    # ---- create -----------------------------------------------------------------------------------------------------

    def settle(self, request: CreateRequest) -> tuple[CreateRequest, dict[str, EndpointWish]]:
        """A create request with its networks by their names, and the wishes for each. An unknown network is refused
        at the start only (Docker's rule). Raises InvalidArgument for what can't go together.
        """
        mode = request.host.network_mode or "default"
        given = {_known(name): _wish(name, value) for name, value in request.networks.items()}
        if mode.startswith(SHARED):
            if given.keys() - {mode}:
                raise _no_more_networks()
            return self._sharing(request, mode), {}
        primary = self._name(_known(mode))
        wishes = {primary: EndpointWish()} | {self._name(name): wish for name, wish in given.items()}
        if len(wishes) > 1 and {"host", "none"} & wishes.keys():
            raise InvalidArgument(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                if "none" in wishes
                else "conflicting options: host type networking can't be used with other networks"
            )
        wishes[primary] = _with_mac(wishes[primary], request.config)
        for name, wish in wishes.items():
            with suppress(NotFound):
                network_requests.check_wish(wish, self._networks.find(name))
        return request, wishes

    def _name(self, reference: str) -> str:
        """A network's name, of one given by its id too; as it is where there is none."""
        if reference in network_requests.PREDEFINED:
            return reference
        try:
            return self._networks.find(reference).name
        except NotFound:
            return reference

    def _sharing(self, request: CreateRequest, mode: str) -> CreateRequest:
        """``container:NAME``: what belongs to the network is the other container's, the host name too."""
        try:
            other = self._parts.containers.resolve(mode.removeprefix(SHARED))
        except NotFound as error:  # not a 404: clients would take that for a missing image, and pull it
            raise InvalidArgument(f"joining network namespace of container: {error}") from None
        _check_sharing(request.config, request.host)
        return dataclasses.replace(
            request,
            config=dataclasses.replace(request.config, hostname=other.config.hostname),
            host=dataclasses.replace(request.host, network_mode=SHARED + other.id),
        )

    # ---- the life of a container ------------------------------------------------------------------------------------

    async def join(self, container: Container, undo: AsyncExitStack, fds: AsyncExitStack) -> Joined:
        """Makes a sandbox with all its endpoints. ``fds`` closes the fd whatever comes, ``undo`` what is in it."""
        mode, wishes = container.host.network_mode, container.networks
        if mode == "host":
            return Joined([], {})
        if mode.startswith(SHARED):
            fd = self._shared(mode)
            fds.callback(os.close, fd)
            return Joined([fd], {})
        if container.config.network_disabled or not wishes.keys() - {"none"}:
            fd = await asyncio.to_thread(isolated_netns)
            fds.callback(os.close, fd)
            return Joined([fd], {})
        found = [(self._networks.find(name), wish) for name, wish in wishes.items()]
        undo.push_async_callback(asyncio.to_thread, self.release, container.id)
        if wishes.keys() == {"bridge"}:
            sandbox = await self._default(container.id, found[0][1].mac_address)
            fds.callback(os.close, sandbox.netns_fd)
            return Joined([sandbox.netns_fd], {"bridge": _record("bridge", sandbox.endpoint)})
        fd = await asyncio.to_thread(isolated_netns)
        fds.callback(os.close, fd)
        endpoints: dict[str, EndpointRecord] = {}
        for network, wish in found:
            endpoints[network.name] = await self._plug(container, network, wish, f"eth{len(endpoints)}", fd)
        await asyncio.to_thread(veth.route, fd, self._way_out(endpoints))
        undo.callback(self.resolvers.close, container.id)
        await self.resolvers.update(container, list(endpoints), fd)
        return Joined([fd], endpoints)

    async def _default(self, container_id: str, mac: str) -> Sandbox:
        """A sandbox on the default bridge, one that is ready or a new one."""
        if not mac and (sandbox := self.refill.take(container_id)):
            return sandbox
        return await self._with_room(lambda: self._parts.the_bridge().claim(container_id, mac))

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

    async def _plug(
        self, container: Container, network: NetworkRecord, wish: EndpointWish, interface: str, namespace: int
    ) -> EndpointRecord:
        """A lease and a cable. Undone by ``release``."""
        spec = self._networks.raised(network)
        async with self._networks.changing:
            self._networks.raised(network)
            lease = await self._with_room(lambda: self._claim(container, network, wish))
        end = await asyncio.to_thread(user.plug, spec, lease, interface, namespace)
        return _record(network.name, end)

    def _claim(self, container: Container, network: NetworkRecord, wish: EndpointWish) -> Lease:
        address = network_requests.static_address(wish)
        return Leases(self._parts.db, network.id, network.address).claim(
            container.id,
            Wish(
                IPv4Address(address) if address else None,
                wish.mac_address.replace("-", ":").lower(),
                IPv4Network(network.ip_range) if network.ip_range else None,
                frozenset(map(IPv4Address, network.reserved.values())) - {IPv4Address(address) if address else None},
            ),
        )

    def way_out(self, endpoints: Mapping[str, EndpointRecord]) -> EndpointRecord | None:
        """The endpoint on the first network, by name, that leads anywhere: Docker's order."""
        for name in sorted(endpoints):
            if not self._networks.find(name).internal:
                return endpoints[name]
        return None

    def _way_out(self, endpoints: Mapping[str, EndpointRecord]) -> IPv4Address | None:
        end = self.way_out(endpoints)
        return IPv4Address(end.gateway) if end else None

    def release(self, container_id: str) -> None:
        """Unplugs a container from everything and gives its addresses back; blocking, idempotent."""
        sql = "SELECT network, endpoint FROM leases WHERE container = ?"
        for row in self._parts.db.query(sql, (container_id,)):
            self._unplug(row["network"], container_id, row["endpoint"])

    def _unplug(self, network_id: str, container_id: str, endpoint_id: str) -> None:
        """Order: the cable before the lease, so that no address is given out while its last owner answers to it."""
        user.unplug(endpoint_id)
        sql = "DELETE FROM leases WHERE network = ? AND container = ?"
        self._parts.db.execute(sql, (network_id, container_id), durable=False)

    def publish(self, container: Container, action: str, endpoints: Mapping[str, EndpointRecord]) -> None:
        """``connect`` or ``disconnect``, an event for each endpoint."""
        self.resolvers.directory.forget()
        for name, endpoint in endpoints.items():
            attributes = {"container": container.id, "name": name, "type": "bridge"}
            self._parts.events.publish("network", action, endpoint.network_id, attributes)

    async def adopt(self) -> None:
        """At the daemon's start: the resolvers of containers that run on, once leases and records agree."""
        containers = self._parts.containers
        running = [one for one in containers.all() if one.state.alive and containers.live(one).monitor]
        for one in running:
            there = await asyncio.to_thread(self._finish_moves, one)
            if there.keys() != one.state.endpoints.keys():
                containers.change(one, endpoints=there)
        await asyncio.gather(*(self.resolvers.adopt(one, containers.live(one).running().pidfd) for one in running))

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
                self._release_one(container, network)
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

    # ---- connect and disconnect -------------------------------------------------------------------------------------

    async def connect(self, reference: str, name: str, settings: Any) -> None:
        """Puts a container on one more network; at once if it runs, else from its next start."""
        network, container = self._networks.find(reference), self._parts.containers.resolve(name)
        wish = _wish(network.name, settings)
        network_requests.check_wish(wish, network)
        _check_connectable(container, network)
        live = self._parts.containers.live(container)
        async with live.lock:
            networks = {key: value for key, value in container.networks.items() if key != "none"}
            if not container.state.alive:
                self._parts.containers.change(container, networks={**networks, network.name: wish})
                return
            if network.name in container.state.endpoints:
                raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
            endpoint = await self._plug_live(container, network, wish, live.running().pidfd)
            endpoints = {**container.state.endpoints, network.name: endpoint}
            networks = {**networks, network.name: wish}
            self._parts.containers.change(container, networks=networks, endpoints=endpoints)
            self._add_host(container, endpoint)
            self._write_resolv_conf(container)
            self.publish(container, "connect", {network.name: endpoint})
            await self._parts.ports.follow(container, self.way_out(endpoints))

    async def _plug_live(
        self, container: Container, network: NetworkRecord, wish: EndpointWish, pidfd: int
    ) -> EndpointRecord:
        taken = {end.interface for end in container.state.endpoints.values()}
        interface = next(f"eth{n}" for n in range(_MOST_INTERFACES) if f"eth{n}" not in taken)
        try:
            endpoint = await self._plug(container, network, wish, interface, pidfd)
            way = self._way_out({**container.state.endpoints, network.name: endpoint})
            await asyncio.to_thread(veth.route, pidfd, way)
            await self.resolvers.update(container, [*container.state.endpoints, network.name], pidfd)
        except BaseException:
            await asyncio.to_thread(self._release_one, container, network)
            raise
        return endpoint

    def _release_one(self, container: Container, network: NetworkRecord) -> None:
        sql = "SELECT endpoint FROM leases WHERE network = ? AND container = ?"
        for row in self._parts.db.query(sql, (network.id, container.id)):
            self._unplug(network.id, container.id, row["endpoint"])

    async def disconnect(self, reference: str, name: str, force: bool) -> None:
        """Takes a container off a network. With ``force`` one that is gone is no error."""
        network = self._networks.find(reference)
        if network.name == "host":
            raise InvalidArgument("container cannot be disconnected from host network or connected to host network")
        try:
            container = self._parts.containers.resolve(name)
        except NotFound:
            if force:
                return
            raise
        live = self._parts.containers.live(container)
        async with live.lock:
            if network.name not in container.networks:
                raise Error(f"container {container.id} is not connected to the network {network.name}")
            networks = {key: value for key, value in container.networks.items() if key != network.name}
            endpoints = dict(container.state.endpoints)
            endpoint = endpoints.pop(network.name, None)
            if endpoint:
                await asyncio.to_thread(self._release_one, container, network)
                await asyncio.to_thread(veth.route, live.running().pidfd, self._way_out(endpoints))
                self._drop_host(container, endpoint)
            self._parts.containers.change(container, networks=networks, endpoints=endpoints)
            if endpoint:
                await self.resolvers.update(container, list(endpoints), live.running().pidfd)
                self._write_resolv_conf(container)
                self.publish(container, "disconnect", {network.name: endpoint})
                await self._parts.ports.follow(container, self.way_out(endpoints))

    # ---- the files in /etc of a container that runs -----------------------------------------------------------------

    def _write_resolv_conf(self, container: Container) -> None:
        """Its networks have changed, and with them who answers for names."""
        path = self._parts.settings.container_directory(container.id) / "resolv.conf"
        path.write_text(resolv_conf(container.host, named(container.state.endpoints)))

    def _hosts(self, container: Container) -> Path:
        return self._parts.settings.container_directory(container.id) / "hosts"

    def _add_host(self, container: Container, endpoint: EndpointRecord) -> None:
        with self._hosts(container).open("a") as file:
            file.write(f"{endpoint.address}\t{container.config.hostname}\n")

    def _drop_host(self, container: Container, endpoint: EndpointRecord) -> None:
        """In place: the file is mounted into the container, so it must stay the same one."""
        path = self._hosts(container)
        lines = path.read_text(errors="replace").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(f"{endpoint.address}\t")))


def _known(name: str) -> str:
    return "bridge" if name == "default" else name


def _wish(name: str, value: Any) -> EndpointWish:
    return EndpointWish() if value is None else codec.decode(EndpointWish, value, f"EndpointsConfig.{name}")


def _with_mac(wish: EndpointWish, config: Config) -> EndpointWish:
    """The container-wide MAC address, which older clients send, is that of the first network."""
    if config.mac_address and wish.mac_address and config.mac_address != wish.mac_address:
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
            "or be left empty"
        )
    return dataclasses.replace(wish, mac_address=wish.mac_address or config.mac_address)


def _check_sharing(config: Config, host: HostConfig) -> None:
    for given, words in (
        (config.hostname, "hostname"),
        (config.mac_address, "mac-address"),
        (host.dns, "dns"),
        (host.extra_hosts, "custom host-to-IP mapping"),
        (host.links, "links"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {words} and the network mode")
    if host.port_bindings or host.publish_all_ports:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if config.exposed_ports:
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")


def _no_more_networks() -> InvalidArgument:
    return InvalidArgument(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )


def _check_connectable(container: Container, network: NetworkRecord) -> None:
    mode = container.host.network_mode
    if mode == "host" or mode.startswith(SHARED):
        raise _no_more_networks()
    if network.name == "host":
        raise InvalidArgument("container cannot be disconnected from host network or connected to host network")
    if network.name == "none" or "none" in container.networks:
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def _record(name: str, end: Endpoint) -> EndpointRecord:
    address, prefix = str(end.address.ip), end.address.network.prefixlen
    return EndpointRecord(
        name, end.network_id, end.endpoint_id, str(end.gateway), address, prefix, end.mac, end.interface
    )
