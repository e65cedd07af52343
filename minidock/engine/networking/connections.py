"""Containers put on a network and taken off it while they exist: at once if they run, else from their next start.

What a move changes of a container that runs: its interfaces and routes, its resolver, its hosts and resolv.conf, and
the way by which its ports are published. Read next: endpoints.py.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from minidock.engine.config import EndpointWish
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.networking import hosts, links, requests
from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.networking.names import named, resolv_conf
from minidock.engine.networking.networks import Networks
from minidock.engine.networking.requests import NetworkRecord
from minidock.engine.networking.wishes import SHARED, no_more_networks, parse
from minidock.engine.parts import Parts
from minidock.network import veth
from minidock.wire.errors import Error, Forbidden, InvalidArgument, NotFound

_MOST_INTERFACES = 64


class Connections:
    """The two verbs; both run on the loop."""

    def __init__(self, parts: Parts, networks: Networks, endpoints: Endpoints) -> None:
        self._parts = parts
        self._networks = networks
        self._endpoints = endpoints

    async def connect(self, reference: str, name: str, settings: Any) -> None:
        """Puts a container on one more network; at once if it runs, else from its next start."""
        network, container = self._networks.find(reference), self._parts.containers.resolve(name)
        wish = links.settle_wish(parse(network.name, settings), network.name, self._parts.containers)
        requests.check_wish(wish, network)
        _check_connectable(container, network)
        live = self._parts.containers.live(container)
        async with live.lock:
            networks = {key: value for key, value in container.networks.items() if key != "none"}
            if not container.state.alive:
                self._parts.containers.change(container, networks={**networks, network.name: wish})
                return
            if network.name in container.state.endpoints:
                raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
            endpoint = await self._plug_live(container, network, {**networks, network.name: wish})
            self._add_host(container, endpoint)
            self._write_resolv_conf(container)
            self._endpoints.publish(container, "connect", {network.name: endpoint})
            ways = self._endpoints.ways(container.state.endpoints)
            await self._parts.ports.follow(container, self._endpoints.bridged(ways))

    async def _plug_live(
        self, container: Container, network: NetworkRecord, wishes: dict[str, EndpointWish]
    ) -> EndpointRecord:
        """Cable, routes, resolver, and the record of them; all or nothing."""
        ends, before = self._endpoints, container.state.endpoints
        pidfd = self._parts.containers.live(container).running().pidfd
        taken = {end.interface for end in before.values()}
        interface = next(f"eth{n}" for n in range(_MOST_INTERFACES) if f"eth{n}" not in taken)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(asyncio.to_thread, ends.take_interfaces, container, network, taken)
            undo.push_async_callback(asyncio.to_thread, ends.release_one, container, network)
            endpoint = await ends.plug(container, network, wishes[network.name], interface, pidfd)
            endpoints = {**before, network.name: endpoint}
            undo.push_async_callback(asyncio.to_thread, veth.route, pidfd, ends.gateways(before))
            await asyncio.to_thread(veth.route, pidfd, ends.gateways(endpoints))
            undo.push_async_callback(ends.resolvers.update, container, list(before), pidfd)
            await ends.resolvers.update(container, list(endpoints), pidfd)
            self._parts.containers.change(container, networks=wishes, endpoints=endpoints)
            undo.pop_all()
        return endpoint

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
                kept = {end.interface for end in endpoints.values()}
                await asyncio.to_thread(self._endpoints.take_interfaces, container, network, kept)
                await asyncio.to_thread(self._endpoints.release_one, container, network)
                await asyncio.to_thread(veth.route, live.running().pidfd, self._endpoints.gateways(endpoints))
            self._parts.containers.change(container, networks=networks, endpoints=endpoints)
            if endpoint:
                self._drop_host(container, endpoint)
                await self._endpoints.resolvers.update(container, list(endpoints), live.running().pidfd)
                self._write_resolv_conf(container)
                self._endpoints.publish(container, "disconnect", {network.name: endpoint})
                await self._parts.ports.follow(container, self._endpoints.bridged(self._endpoints.ways(endpoints)))

    # ---- the files in /etc of a container that runs -----------------------------------------------------------------

    def _write_resolv_conf(self, container: Container) -> None:
        """Its networks have changed, and with them who answers for names."""
        path = self._parts.settings.container_directory(container.id) / "resolv.conf"
        endpoints = container.state.endpoints
        ipv6 = any(endpoint.address6 for endpoint in endpoints.values())
        path.write_text(resolv_conf(container.host, named(endpoints), ipv6))

    def _hosts(self, container: Container) -> Path:
        return self._parts.settings.container_directory(container.id) / "hosts"

    def _add_host(self, container: Container, endpoint: EndpointRecord) -> None:
        new = [f"{address}\t{container.config.hostname}" for address in endpoint.addresses]
        hosts.edit(self._hosts(container), lambda lines: lines + new)

    def _drop_host(self, container: Container, endpoint: EndpointRecord) -> None:
        starts = tuple(f"{address}\t" for address in endpoint.addresses)
        hosts.edit(self._hosts(container), lambda lines: [line for line in lines if not line.startswith(starts)])


def _check_connectable(container: Container, network: NetworkRecord) -> None:
    mode = container.host.network_mode
    if mode == "host" or mode.startswith(SHARED):
        raise no_more_networks()
    if network.name == "host":
        raise InvalidArgument("container cannot be disconnected from host network or connected to host network")
    if network.name == "none" or "none" in container.networks:
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
