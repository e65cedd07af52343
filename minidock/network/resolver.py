"""The resolver that containers on users' networks ask: 127.0.0.11 inside, the daemon behind it.

    container: getaddrinfo ──▶ 127.0.0.11:53 ──DNAT in its namespace──▶ 127.0.0.11:PORT, a socket of the daemon's

A socket belongs to the network namespace it was opened in, so the daemon needs to be there for a moment only. The port
is a free one, and port 53 stays the container's, which may be a name server itself (Docker does it the same way). The
names of the network are answered here; the rest goes to the host's own resolvers, asked from the host's network, by UDP
or TCP as the container asked; a container whose networks are all internal gets no answer to it, since a name server
would otherwise be its way out (CVE-2024-29018).

All but ``open_sockets`` runs on the daemon's loop, and no container can hold it up: few queries are taken at a time,
few are under way at once, each for a bounded time. Serves the engine's names.py. Read next: dns.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

from minidock.linux import nft, shim
from minidock.linux.netns import CLONE_NEWNET, in_thread
from minidock.network import clients, dns
from minidock.network.dns import Query
from minidock.wire.errors import Unavailable

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.11"
_AT_A_TIME = 16  # datagrams taken before others have their turn
_MOST_TASKS = 128  # forwarded queries and TCP clients of one container
_PATIENCE = 3.0  # seconds that a server gets
_IDLE = 10.0  # seconds that a TCP client may say nothing
_MOST = 65535


class Names(Protocol):
    """What a container may know."""

    def addresses(self, name: str) -> Sequence[IPv4Address | IPv6Address] | None:
        """Of a name on its networks; None for a name that is not there."""

    def name_of(self, address: IPv4Address | IPv6Address) -> str | None:
        """Whose address it is on its networks."""

    def servers(self) -> Sequence[str]:
        """Who is asked for the rest; nobody, if the container is to reach nothing outside."""


@dataclass(frozen=True)
class Sockets:
    """Both ends of 127.0.0.11 in a container's namespace."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        """Closes both."""
        self.udp.close()
        self.tcp.close()


def open_sockets(namespace: int) -> Sockets:
    """Opens them, and leads port 53 to them; blocking. ``namespace``: an fd of it, or a pidfd of a process in it."""
    return in_thread(lambda: _open(namespace))


def _open(namespace: int) -> Sockets:
    shim.setns(namespace, CLONE_NEWNET)
    with contextlib.ExitStack() as undo:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        undo.callback(udp.close)
        udp.bind((ADDRESS, 0))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        undo.callback(tcp.close)
        tcp.bind((ADDRESS, 0))
        tcp.listen(16)
        complaint = nft.load(ruleset(udp.getsockname()[1], tcp.getsockname()[1]))
        if complaint:
            raise Unavailable(f"lead {ADDRESS}:53 to the resolver: {complaint}")
        undo.pop_all()
    return Sockets(udp, tcp)


def ruleset(udp: int, tcp: int) -> str:
    """The table in the container's namespace, as an nft script that makes or replaces it."""
    return f"""
add table ip minidock-names
delete table ip minidock-names
table ip minidock-names {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr {ADDRESS} udp dport 53 dnat to {ADDRESS}:{udp}
        ip daddr {ADDRESS} tcp dport 53 dnat to {ADDRESS}:{tcp}
    }}
}}
"""


class Resolver:
    """Serves one container's sockets until it is closed."""

    def __init__(self, sockets: Sockets, names: Names) -> None:
        self._sockets = sockets
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.add_reader(sockets.udp, self._datagrams)
        self._loop.add_reader(sockets.tcp, self._clients)

    def close(self) -> None:
        """Ends whatever is under way, and closes the sockets."""
        self._loop.remove_reader(self._sockets.udp)
        self._loop.remove_reader(self._sockets.tcp)
        for task in self._tasks:
            task.cancel()
        self._sockets.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- UDP

    def _datagrams(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                data, client = self._sockets.udp.recvfrom(4096)
            except OSError:  # nothing more, or an ICMP error about an answer that a client did not wait for
                return
            query = dns.parse(data)
            if query is None:
                continue
            reply = self._own(query, query.room)
            if reply is not None:
                self._send(reply, client)
            elif len(self._tasks) < _MOST_TASKS:
                self._spawn(self._forward_datagram(data, query, client))

    def _send(self, reply: bytes, client: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a full buffer loses it, as a network may; the client asks again
            self._sockets.udp.sendto(reply, client)

    async def _forward_datagram(self, data: bytes, query: Query, client: tuple[str, int]) -> None:
        self._send(await self._forward(data, query, ask_by_udp), client)

    # ---- TCP

    def _clients(self) -> None:
        client = clients.take(self._loop, self._sockets.tcp, self._clients)
        if client is None:
            return
        if len(self._tasks) >= _MOST_TASKS:
            client.close()
            return
        self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, TimeoutError, EOFError):
            while True:
                async with asyncio.timeout(_IDLE):
                    data = await _read_message(client)
                query = dns.parse(data)
                if query is None:
                    return
                reply = self._own(query, _MOST)
                if reply is None:
                    reply = await self._forward(data, query, ask_by_tcp)
                async with asyncio.timeout(_IDLE):
                    await self._loop.sock_sendall(client, _framed(reply))

    # ---- answers

    def _own(self, query: Query, room: int) -> bytes | None:
        """The answer, if the name is one of the container's networks; None if others must be asked."""
        if query.kind == dns.PTR:
            address = dns.reversed_address(query.name)
            name = self._names.name_of(address) if address else None
            return None if name is None else dns.answer(query, dns.PTR, [dns.encode_name(name)], room)
        addresses = self._names.addresses(query.name)
        if addresses is None:
            return None
        kind, version = (dns.AAAA, 6) if query.kind == dns.AAAA else (dns.A, 4)
        known = query.kind in (dns.A, dns.AAAA, dns.ANY)
        packed = [address.packed for address in addresses if known and address.version == version]
        return dns.answer(query, kind, packed, room)

    async def _forward(self, data: bytes, query: Query, ask: Any) -> bytes:
        """The first answer of the host's resolvers, in their order; one that can't or won't answer is no better than
        none, as to the C library (resolv.conf(5), nameserver), which here sees a single server.
        """
        refusal = b""
        for server in self._names.servers():
            try:
                async with asyncio.timeout(_PATIENCE):
                    reply: bytes = await ask(server, data)
            except (OSError, TimeoutError, EOFError) as error:
                log.debug("resolver %s: %s", server, error or "no answer")
                continue
            if dns.fits(query, reply):
                if not dns.refuses(reply):
                    return reply
                refusal = reply
        return refusal or dns.failure(query)


async def ask_by_udp(server: str, data: bytes) -> bytes:
    """One server's answer. A socket for each query: its random port is what makes a forged answer hard."""
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (server, 53))
        await loop.sock_sendall(sock, data)
        return await loop.sock_recv(sock, _MOST)


async def ask_by_tcp(server: str, data: bytes) -> bytes:
    """The same, by a connection of its own."""
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (server, 53))
        await loop.sock_sendall(sock, _framed(data))
        return await _read_message(sock)


def _socket(server: str, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _framed(message: bytes) -> bytes:
    """By TCP a message has its length before it (RFC 1035, 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


async def _read_message(sock: socket.socket) -> bytes:
    return await _read(sock, int.from_bytes(await _read(sock, 2), "big"))


async def _read(sock: socket.socket, length: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < length:
        piece = await loop.sock_recv(sock, length - len(data))
        if not piece:
            raise EOFError("the connection ended within a message")
        data += piece
    return data
