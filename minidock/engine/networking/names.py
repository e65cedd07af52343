"""Names of containers on users' networks: who is called what, and a resolver for each container that may ask.

Docker's rules: on a user's network a container is known by its name, its aliases, its short id and its host name, alone
or followed by the network's name; several containers with one alias answer in turn. On the default bridge there are
no names. Read next: network/resolver.py.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from minidock.engine.config import HostConfig
from minidock.engine.model import Container
from minidock.engine.networking.links import aliases
from minidock.engine.networking.networks import Networks
from minidock.engine.networking.requests import PREDEFINED, dns_names
from minidock.engine.parts import Parts
from minidock.network import etc
from minidock.network.resolver import ADDRESS, Resolver, Sockets, open_sockets
from minidock.wire.errors import Error

log = logging.getLogger(__name__)
_Address = IPv4Address | IPv6Address
_Directory = dict[str, list[_Address]]


def named(networks: Iterable[str]) -> bool:
    """Whether a container on these networks has a resolver of ours."""
    return any(name not in PREDEFINED for name in networks)


def resolv_conf(host: HostConfig, ours: bool, ipv6: bool = False) -> str:
    """A container's resolv.conf; with ``ours`` it asks the resolver of ours alone, which asks the others. ``ipv6``:
    whether it reaches servers by IPv6.
    """
    text = etc.host_resolv_conf()
    servers, options = host.dns or (), host.dns_options or ()
    if ours:
        options = options or etc.parse_resolv_conf(text).options
        servers = (ADDRESS,)
        if not any(option.startswith("ndots:") for option in options):
            options = (*options, "ndots:0")  # names of one word are names here, not hosts of a search domain
    return etc.render_resolv_conf(text, servers, host.dns_search or (), options, ipv6)


class Directory:
    """Names and addresses by network, gathered when they are asked for and forgotten when anything changes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._names: dict[str, _Directory] = {}
        self._owners: dict[str, dict[_Address, str]] = {}

    def forget(self) -> None:
        """A container came, went or has another name."""
        self._names.clear()
        self._owners.clear()

    def names(self, network: str) -> _Directory:
        """Name in lower case → addresses, on one network."""
        if network not in self._names:
            self._gather(network)
        return self._names[network]

    def owners(self, network: str) -> dict[_Address, str]:
        """Address → the container's name, on one network."""
        if network not in self._owners:
            self._gather(network)
        return self._owners[network]

    def _gather(self, network: str) -> None:
        names: _Directory = {}
        owners = {}
        for container in self._parts.containers.all():
            endpoint = container.state.endpoints.get(network) if container.state.alive else None
            if endpoint:
                addresses = [ip_address(text) for text in endpoint.addresses]
                owners.update(dict.fromkeys(addresses, container.name))
                wish = container.networks[network]
                for name in {container.id, *(name.lower() for name in dns_names(container, wish))}:
                    names.setdefault(name, []).extend(addresses)
        self._names[network], self._owners[network] = names, owners


class View:
    """What one container may know: the names of its own networks. Serves its resolver."""

    def __init__(self, directory: Directory, container: Container) -> None:
        self._directory = directory
        self._container = container
        self._dns = container.host.dns or ()
        self.networks: tuple[str, ...] = ()
        self.forwards = True

    def addresses(self, name: str) -> list[_Address] | None:
        found: list[_Address] = []
        for network in self.networks:
            names, bare = self._directory.names(network), name.removesuffix(f".{network.lower()}")
            wish = self._container.networks.get(network)
            meant = aliases(wish).get(bare, "").lower() if wish else ""
            found += names.get(meant) or names.get(name) or names.get(bare) or []
        random.shuffle(found)
        return found or None

    def name_of(self, address: _Address) -> str | None:
        for network in self.networks:
            owner = self._directory.owners(network).get(address)
            if owner and len(owner) < 64 > len(network):  # longer ones are no labels
                return f"{owner}.{network}"
        return None

    def servers(self) -> Sequence[str]:
        if not self.forwards:
            return ()
        return self._dns or etc.parse_resolv_conf(etc.host_resolv_conf()).servers or etc.PUBLIC_RESOLVERS


class Resolvers:
    """One resolver a container that is on a user's network, by the container's id."""

    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._networks = networks
        self._open: dict[str, tuple[Resolver, View]] = {}
        self.directory = Directory(parts)

    async def update(self, container: Container, networks: Sequence[str], namespace: int) -> None:
        """A container is on these networks now: its resolver is opened, told, or closed."""
        if not named(networks):
            self.close(container.id)
            return
        if container.id not in self._open:
            sockets: Sockets = await asyncio.to_thread(open_sockets, namespace)
            view = View(self.directory, container)
            self._open[container.id] = (Resolver(sockets, view), view)
        view = self._open[container.id][1]
        view.networks = tuple(name for name in networks if name not in PREDEFINED)
        view.forwards = not all(self._networks.find(name).internal for name in networks)

    def close(self, ident: str) -> None:
        """The container has ended, or is on no such network any more."""
        opened = self._open.pop(ident, None)
        if opened:
            opened[0].close()

    def close_all(self) -> None:
        """The daemon ends."""
        for ident in list(self._open):
            self.close(ident)

    async def adopt(self, container: Container, pidfd: int) -> None:
        """For a container that an earlier daemon started; failing that it does without names."""
        try:
            await self.update(container, list(container.state.endpoints), pidfd)
        except (OSError, Error) as error:
            log.error("container %s: its resolver can't be opened again: %s", container.name, error)
