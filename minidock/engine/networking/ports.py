"""Published ports: what was asked for, which ports of the host it becomes, and who holds them.

A port is held in three places for as long as it is published: here, so that a conflict can be told by name; by a bound
socket, so that no process of the host takes it; and in the kernel's table (network/ports.py), which does the work. The
database has it in the container's state, written before the kernel is told: a daemon that starts finds there what to
hold again. See: Docker Engine API 1.45, PortMap. Read next: ../network/ports.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface

from minidock.engine.config import Config, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container, EndpointRecord
from minidock.linux import nft
from minidock.network import ports as kernel
from minidock.network.ports import ANY, ANY6, PROTOCOLS, Element, Inside, PortTable, PublishedPort
from minidock.network.relay import Relay
from minidock.network.veth import port_name
from minidock.wire.errors import Error, InvalidArgument, ServerError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """A container's port, and where on the host it is wanted: one port, one of a range, or (None) any that is free;
    at one address, or ("") at all of IPv4 and, if the container has it, IPv6.
    """

    port: int
    protocol: str
    host_ip: str = ""
    host_ports: range | None = None


def wishes(config: Config, host: HostConfig) -> list[Wish]:
    """What -p and -P ask for, the most particular first: a chance port must not be one asked for by number.

    Raises InvalidArgument with Docker's words.
    """
    bindings = host.port_bindings or {}
    found = []
    for name in dict.fromkeys([*bindings, *(config.exposed_ports or {})]):
        port, protocol = parse_port(name)
        asked = bindings.get(name) or ()
        found += [
            Wish(port, protocol, _host_ip(one.host_ip), _host_ports(one.host_port)) for one in asked if one is not None
        ]
        if host.publish_all_ports and not asked:
            found.append(Wish(port, protocol))
    return sorted(found, key=lambda wish: len(wish.host_ports) if wish.host_ports else 1 << 16)


def parse_port(text: str) -> tuple[int, str]:
    """``80/tcp`` → (80, "tcp"); without a protocol it is TCP."""
    number, _, protocol = text.partition("/")
    if (protocol or "tcp").lower() not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}", "tcp, udp or sctp")
    return _number(number), (protocol or "tcp").lower()


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return int(text)


def _host_ports(text: str) -> range | None:
    if text in ("", "0"):
        return None
    first, dash, last = text.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return range(low, high + 1)


def _host_ip(text: str) -> str:
    """In one spelling, so that two can be compared."""
    if not text:
        return ""
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None


def check(config: Config, host: HostConfig) -> list[str]:
    """At create: raises for what can't be; the warnings."""
    if wishes(config, host) and host.network_mode == "host":
        return ["Published ports are discarded when using host network mode"]
    return []


Ways = Mapping[int, EndpointRecord]
"""The endpoints by which a container has its way out, by IP version; none where it has none."""


@dataclass
class _Held:
    """A container's ports, with the sockets that hold them, and the container's addresses by IP version."""

    addresses: dict[int, str]
    insides: list[Inside]
    ports: list[PublishedPort] = field(default_factory=list)
    sockets: list[socket.socket | Relay] = field(default_factory=list)


class Ports:
    """The verbs. All run on the daemon's loop, but for ``settle``."""

    def __init__(self, containers: Containers, table: PortTable) -> None:
        self._containers = containers
        self._table = table
        self._held: dict[str, _Held] = {}
        self._owners: dict[tuple[str, int], dict[str, str]] = {}  # (protocol, host's port) → address → container
        self._last: dict[str, int] = {}

    async def publish(self, container: Container, ways: Ways) -> None:
        """Holds, writes down and opens all ports that the container asks for, or none of them.

        Raises ServerError with Docker's words, naming who has the port.
        """
        wanted = wishes(container.config, container.host)
        if not wanted or not ways:
            return
        held = self._held[container.id] = _held(ways)
        try:
            for wish in wanted:
                self._allocate(container, held, wish)
            self._containers.change(container, ports=tuple(held.ports))
            endpoints = [way.endpoint_id for way in ways.values()]
            await asyncio.to_thread(self._open, tuple(held.ports), endpoints)
        except Error as error:
            self.withdraw(container)
            where = f"endpoint {container.name} ({next(iter(ways.values())).endpoint_id})"
            message = f"driver failed programming external connectivity on {where}: {error.message}"
            raise ServerError(message, error.hint) from None

    def _open(self, ports: tuple[PublishedPort, ...], endpoints: Iterable[str]) -> None:
        for ident in dict.fromkeys(endpoints):
            kernel.hairpin(port_name(ident))
        self.settle()
        kernel.forget_flows(ports)

    def _keep(self, container: Container, held: _Held, port: PublishedPort, sock: socket.socket | None) -> None:
        held.ports.append(port)
        if sock:
            served = ":" in port.host_ip and port.protocol != "sctp"
            held.sockets.append(Relay(sock, (port.address, port.port)) if served else sock)
        self._owners.setdefault((port.protocol, port.host_port), {})[port.host_ip] = container.id

    def _allocate(self, container: Container, held: _Held, wish: Wish) -> None:
        """The first port that can be had, the same for both families. Raises ServerError for a single one that is
        taken, by the one who has it.
        """
        for number in self._candidates(wish):
            ports = [
                PublishedPort(host_ip, number, wish.protocol, address, wish.port)
                for host_ip, address in _places(wish.host_ip, held.addresses)
            ]
            taken, sockets = self._hold(ports)
            if not taken:
                for port, sock in zip(ports, sockets, strict=True):
                    self._keep(container, held, port, sock)
                return
            if wish.host_ports and len(wish.host_ports) == 1:
                raise taken
        raise ServerError(
            f"Bind for {wish.host_ip or ANY} failed: all ports are allocated", "another range, or stop containers"
        )

    def _hold(self, ports: list[PublishedPort]) -> tuple[Error | None, list[socket.socket | None]]:
        """A socket for each, or why one can't be had."""
        with ExitStack() as undo:
            sockets: list[socket.socket | None] = []
            for port in ports:
                taken = self._conflict(port)
                if taken:
                    return taken, []
                try:
                    sock = kernel.hold(port.protocol, port.host_ip, port.host_port)
                except OSError as error:
                    return _not_held(port, error), []
                if sock:
                    undo.callback(sock.close)
                sockets.append(sock)
            undo.pop_all()
            return None, sockets

    def _candidates(self, wish: Wish) -> Iterator[int]:
        """The ports to try. Those that nobody chose go round in the kernel's range, so that a port which was just let
        go is not at once another container's.
        """
        if wish.host_ports:
            yield from wish.host_ports
            return
        chance = kernel.ephemeral_ports()
        start = self._last.get(wish.protocol, chance.start - 1) + 1 - chance.start
        for step in range(len(chance)):
            number = chance[(start + step) % len(chance)]
            self._last[wish.protocol] = number
            yield number

    def _conflict(self, port: PublishedPort) -> Error | None:
        for address, ident in self._owners.get((port.protocol, port.host_port), {}).items():
            one_family = kernel.family(address) == kernel.family(port.host_ip)
            if one_family and (address == port.host_ip or {address, port.host_ip} & {ANY, ANY6}):
                owner = self._containers.get(ident)
                return _allocated(port, f"container {owner.name if owner else ident} has it")
        return None

    def withdraw(self, container: Container) -> None:
        """Lets go of the ports: from here on others may have them. The table follows with the next ``settle``.

        It ends a run, so it must not fail for a full disk.
        """
        held = self._held.pop(container.id, None) or _Held({}, [])
        for sock in held.sockets:
            sock.close()
        for port in held.ports:
            owners = self._owners[port.protocol, port.host_port]
            owners.pop(port.host_ip, None)
            if not owners:
                del self._owners[port.protocol, port.host_port]
        if container.state.ports:
            self._containers.note(container, container.state.status, ports=())

    def settle(self) -> None:
        """Brings the kernel's table to where we are. Blocks; nothing is done where nothing changed."""
        self._table.change(self._elements)

    def _elements(self) -> set[Element]:
        found: set[Element] = set()
        for held in list(self._held.values()):
            found |= kernel.elements(list(held.ports), held.insides)
        return found

    async def follow(self, container: Container, ways: Ways) -> None:
        """A running container has another way out, or none any more: its ports go with it."""
        held = self._held.get(container.id)
        if held and held.addresses == _addresses(ways):
            return
        self.withdraw(container)
        await self.publish(container, ways)
        await asyncio.to_thread(self.settle)

    def strays(self, instance: str) -> list[str]:
        """What the kernel leads somewhere though nobody publishes it. Blocks. Raises OSError."""
        self.settle()
        there = kernel.loaded(instance)
        return [text for _, _, text in sorted(there - self._elements())]

    async def restore(self, mark: str, instance: str, bridged: bool) -> None:
        """At the daemon's start: holds again what running containers have, and makes the tables anew. Where there is
        nothing to publish and no bridge to do it by (``bridged``), what an earlier daemon left of them goes.
        """
        for container in self._containers.all():
            if not container.state.alive:
                self.withdraw(container)  # the daemon went in the middle of a start
            if container.state.ports:
                self._hold_again(container)
        try:
            if bridged or self._held:
                await asyncio.to_thread(self._table.rebuild, self._elements, mark)
            elif nft.find():
                await asyncio.to_thread(kernel.remove, instance)
        except (Error, OSError) as error:
            log.error("published ports: %s", error)

    def _hold_again(self, container: Container) -> None:
        """What somebody took while no daemon held it stays published all the same: the kernel comes first."""
        ports = container.state.ports
        used = {port.address for port in ports}
        ends = container.state.endpoints.values()
        found = ((4, [end for end in ends if end.address in used]), (6, [end for end in ends if end.address6 in used]))
        ways = {version: some[0] for version, some in found if some}
        held = self._held[container.id] = _held(ways)
        for port in ports:
            sock = None
            try:
                sock = kernel.hold(port.protocol, port.host_ip, port.host_port)
            except OSError as error:
                log.warning("container %s: %s", container.name, _not_held(port, error))
            self._keep(container, held, port, sock)


def _addresses(ways: Ways) -> dict[int, str]:
    return {version: way.address if version == 4 else way.address6 for version, way in ways.items()}


def _held(ways: Ways) -> _Held:
    """Nothing yet, for a container that is to be reached by these."""
    insides = []
    for version, way in ways.items():
        bridge = kernel.bridge_of(way.gateway)
        interface = f"{way.address}/{way.prefix}" if version == 4 else f"{way.address6}/{way.prefix6}"
        if bridge:
            insides.append(Inside(bridge, str(ip_interface(interface).network)))
    return _Held(_addresses(ways), insides)


def _places(host_ip: str, addresses: Mapping[int, str]) -> list[tuple[str, str]]:
    """Where on the host, and to which address of the container. An IPv6 address of the host may lead to an IPv4 one of
    the container (relay.py); the opposite there is not.
    """
    if not host_ip:
        return [
            (everywhere, addresses[version]) for version, everywhere in ((4, ANY), (6, ANY6)) if version in addresses
        ]
    if ":" in host_ip:
        return [(host_ip, addresses.get(6) or addresses[4])]
    return [(host_ip, addresses[4])] if 4 in addresses else []


def _allocated(port: PublishedPort, hint: str) -> Error:
    return ServerError(f"Bind for {_shown(port)} failed: port is already allocated", hint)


def _shown(port: PublishedPort) -> str:
    return f"[{port.host_ip}]:{port.host_port}" if ":" in port.host_ip else f"{port.host_ip}:{port.host_port}"


def _not_held(port: PublishedPort, error: OSError) -> Error:
    """Why the host does not give the port."""
    if error.errno == errno.EADDRINUSE:
        option = "u" if port.protocol == "udp" else "t"
        return _allocated(port, f"a process of the host has it: ss -ln{option}p 'sport = :{port.host_port}'")
    what = f"Bind for {_shown(port)} failed: {os.strerror(error.errno or 0).lower()}"
    return ServerError(what, "it must be an address of this host" if error.errno == errno.EADDRNOTAVAIL else "")
