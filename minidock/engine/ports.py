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
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv6Address

from minidock.engine.config import Config, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container, EndpointRecord
from minidock.network import ports as kernel
from minidock.network.ports import ANY, PROTOCOLS, Element, Inside, PortTable, PublishedPort
from minidock.network.veth import port_name
from minidock.wire.errors import Error, InvalidArgument, NotImplemented, ServerError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """A container's port, and where on the host it is wanted: one port, one of a range, or (None) any that is free."""

    port: int
    protocol: str
    host_ip: str = ANY
    host_ports: range | None = None


def wishes(config: Config, host: HostConfig) -> list[Wish]:
    """What -p and -P ask for, the most particular first: a chance port must not be one asked for by number.

    Raises InvalidArgument with Docker's words, NotImplemented for an IPv6 address.
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
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
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
    if not text:
        return ANY
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        pass
    try:
        IPv6Address(text.removeprefix("[").removesuffix("]"))
    except AddressValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None
    raise NotImplemented(f"publish on {text}: IPv6 is not there yet in minidock", "publish on an IPv4 address")


def check(config: Config, host: HostConfig) -> list[str]:
    """At create: raises for what can't be; the warnings."""
    if wishes(config, host) and host.network_mode == "host":
        return ["Published ports are discarded when using host network mode"]
    return []


@dataclass
class _Held:
    """A container's ports, with the sockets that hold them."""

    inside: Inside | None
    ports: list[PublishedPort] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)


class Ports:
    """The verbs. All run on the daemon's loop, but for ``settle``."""

    def __init__(self, containers: Containers, table: PortTable) -> None:
        self._containers = containers
        self._table = table
        self._held: dict[str, _Held] = {}
        self._owners: dict[tuple[str, int], dict[str, str]] = {}  # (protocol, host's port) → address → container
        self._last: dict[str, int] = {}

    async def publish(self, container: Container, endpoint: EndpointRecord) -> None:
        """Holds, writes down and opens all ports that the container asks for, or none of them.

        Raises ServerError with Docker's words, naming who has the port.
        """
        wanted = wishes(container.config, container.host)
        if not wanted:
            return
        held = self._held[container.id] = _Held(_inside(endpoint))
        try:
            for wish in wanted:
                port, sock = self._allocate(wish, endpoint.address)
                self._keep(container, held, port, sock)
            self._containers.change(container, ports=tuple(held.ports))
            await asyncio.to_thread(self._open, tuple(held.ports), endpoint.endpoint_id)
        except Error as error:
            self.withdraw(container)
            where = f"endpoint {container.name} ({endpoint.endpoint_id})"
            message = f"driver failed programming external connectivity on {where}: {error.message}"
            raise ServerError(message, error.hint) from None

    def _open(self, ports: tuple[PublishedPort, ...], endpoint_id: str) -> None:
        kernel.hairpin(port_name(endpoint_id))
        self.settle()
        kernel.forget_flows(ports)

    def _keep(self, container: Container, held: _Held, port: PublishedPort, sock: socket.socket | None) -> None:
        held.ports.append(port)
        held.sockets += [sock] if sock else []
        self._owners.setdefault((port.protocol, port.host_port), {})[port.host_ip] = container.id

    def _allocate(self, wish: Wish, address: str) -> tuple[PublishedPort, socket.socket | None]:
        """The first port that can be had. Raises ServerError for a single one that is taken, by the one who has it."""
        for number in self._candidates(wish):
            port = PublishedPort(wish.host_ip, number, wish.protocol, address, wish.port)
            taken = self._conflict(port)
            if not taken:
                try:
                    return port, kernel.hold(port.protocol, port.host_ip, port.host_port)
                except OSError as error:
                    taken = _not_held(port, error)
            if wish.host_ports and len(wish.host_ports) == 1:
                raise taken
        raise ServerError(
            f"Bind for {wish.host_ip} failed: all ports are allocated", "another range, or stop containers"
        )

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
            if address == port.host_ip or ANY in (address, port.host_ip):
                owner = self._containers.get(ident)
                return _allocated(port, f"container {owner.name if owner else ident} has it")
        return None

    def withdraw(self, container: Container) -> None:
        """Lets go of the ports: from here on others may have them. The table follows with the next ``settle``."""
        held = self._held.pop(container.id, None) or _Held(None)
        for sock in held.sockets:
            sock.close()
        for port in held.ports:
            owners = self._owners[port.protocol, port.host_port]
            owners.pop(port.host_ip, None)
            if not owners:
                del self._owners[port.protocol, port.host_port]
        if container.state.ports:
            self._containers.change(container, ports=())

    def settle(self) -> None:
        """Brings the kernel's table to where we are. Blocks; nothing is done where nothing changed."""
        self._table.change(self._elements)

    def _elements(self) -> set[Element]:
        found: set[Element] = set()
        for held in list(self._held.values()):
            found |= kernel.elements(list(held.ports), held.inside)
        return found

    async def follow(self, container: Container, endpoint: EndpointRecord | None) -> None:
        """A running container has another way out, or none any more: its ports go with it."""
        held = self._held.get(container.id)
        if held and endpoint and all(port.address == endpoint.address for port in held.ports):
            return
        self.withdraw(container)
        if endpoint:
            await self.publish(container, endpoint)
        else:
            await asyncio.to_thread(self.settle)

    async def restore(self, mark: str) -> None:
        """At the daemon's start: holds again what running containers have, and makes the table anew."""
        for container in self._containers.all():
            if not container.state.alive:
                self.withdraw(container)  # the daemon went in the middle of a start
            if container.state.ports:
                self._hold_again(container)
        try:
            await asyncio.to_thread(self._table.rebuild, self._elements, mark)
        except Error as error:
            log.error("published ports: %s", error)

    def _hold_again(self, container: Container) -> None:
        """What somebody took while no daemon held it stays published all the same: the kernel comes first."""
        ports = container.state.ports
        ends = [end for end in container.state.endpoints.values() if end.address == ports[0].address]
        held = self._held[container.id] = _Held(_inside(ends[0]) if ends else None)
        for port in ports:
            sock = None
            try:
                sock = kernel.hold(port.protocol, port.host_ip, port.host_port)
            except OSError as error:
                log.warning("container %s: %s", container.name, _not_held(port, error))
            self._keep(container, held, port, sock)


def _inside(endpoint: EndpointRecord) -> Inside | None:
    return kernel.inside(endpoint.gateway, IPv4Interface(f"{endpoint.address}/{endpoint.prefix}"))


def _allocated(port: PublishedPort, hint: str) -> Error:
    return ServerError(f"Bind for {port.host_ip}:{port.host_port} failed: port is already allocated", hint)


def _not_held(port: PublishedPort, error: OSError) -> Error:
    """Why the host does not give the port."""
    if error.errno == errno.EADDRINUSE:
        option = "u" if port.protocol == "udp" else "t"
        return _allocated(port, f"a process of the host has it: ss -ln{option}p 'sport = :{port.host_port}'")
    what = f"Bind for {port.host_ip}:{port.host_port} failed: {os.strerror(error.errno or 0).lower()}"
    return ServerError(what, "it must be an address of this host" if error.errno == errno.EADDRNOTAVAIL else "")
