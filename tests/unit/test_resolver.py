"""The resolver of a container: which of the host's resolvers it believes. The messages themselves: test_dns.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest

from minidock.network import dns, resolver
from minidock.network.resolver import Resolver, Sockets
from tests.unit.test_dns import parsed, query

ANSWERS = {
    "10.0.0.1": dns.failure(parsed(query())),
    "10.0.0.2": dns.failure(parsed(query()), dns.REFUSED),
    "10.0.0.3": dns.answer(parsed(query()), dns.A, [IPv4Address("7.7.7.7").packed], 512),
    "10.0.0.4": dns.failure(parsed(query()), 3),
}


class Servers:
    """No names, but these servers."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = servers

    def addresses(self, name: str) -> None:
        return None

    def name_of(self, address: IPv4Address | IPv6Address) -> None:
        return None

    def servers(self) -> Sequence[str]:
        return self._servers


async def _asked(servers: Sequence[str]) -> bytes:
    loop = asyncio.get_running_loop()
    udp, tcp, client = (socket.socket(socket.AF_INET, kind) for kind in (2, 1, 2))
    for sock in (udp, tcp):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    client.setblocking(False)
    client.connect(udp.getsockname())
    served = Resolver(Sockets(udp, tcp), Servers(servers))
    try:
        await loop.sock_sendall(client, query())
        async with asyncio.timeout(10):
            return await loop.sock_recv(client, 512)
    finally:
        served.close()
        client.close()


@pytest.mark.parametrize(
    ("servers", "answer"),
    [
        (["10.0.0.1", "10.0.0.2", "10.0.0.3"], "10.0.0.3"),  # the first two can't or won't tell
        (["10.0.0.9", "10.0.0.3"], "10.0.0.3"),  # nobody there
        (["10.0.0.4", "10.0.0.3"], "10.0.0.4"),  # "no such name" is an answer
        (["10.0.0.1", "10.0.0.2"], "10.0.0.2"),
        (["10.0.0.9"], "10.0.0.1"),
    ],
)
def test_the_next_server_is_asked_where_one_fails(
    servers: list[str], answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(server: str, data: bytes) -> bytes:
        if server not in ANSWERS:
            raise ConnectionRefusedError
        return ANSWERS[server]

    monkeypatch.setattr(resolver, "ask_by_udp", ask)
    assert asyncio.run(_asked(servers)) == ANSWERS[answer]
