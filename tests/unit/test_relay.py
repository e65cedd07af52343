"""The relay of published ports, on loopback: both directions, half-closed ends, many at once, and its own end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from minidock.network.relay import Relay

HERE = "127.0.0.1"
PATIENCE = 20.0


def bound(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((HERE, 0))
    return sock


@contextmanager
def relay(target: tuple[str, int], kind: socket.SocketKind) -> Iterator[tuple[str, int]]:
    """A relay on a port of its own; its address."""
    sock = bound(kind)
    address: tuple[str, int] = sock.getsockname()
    one = Relay(sock, target)
    try:
        yield address
    finally:
        one.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), PATIENCE)

    asyncio.run(bounded())


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers only when the client has said all."""
    writer.write((await reader.read()).upper())
    writer.close()


def test_an_end_that_says_no_more_still_hears() -> None:
    async def work() -> None:
        server = await asyncio.start_server(shout, HERE, 0)
        with relay(server.sockets[0].getsockname(), socket.SOCK_STREAM) as address:

            async def ask(text: bytes) -> bytes:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(text)
                writer.write_eof()
                answer = await reader.read()
                writer.close()
                return answer

            big = bytes(range(97, 123)) * 40_000  # more than any buffer on the way
            assert await ask(big) == big.upper()
            many = [b"client %d" % number for number in range(50)]
            assert await asyncio.gather(*map(ask, many)) == [text.upper() for text in many]
        server.close()

    run(work)


class Crowded(socket.socket):
    """A listener of a process that has no file descriptor left, for the first two times that it asks for one."""

    asked: list[float] = []

    def accept(self) -> tuple[socket.socket, object]:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_without_a_file_descriptor_a_client_waits_and_the_loop_rests() -> None:
    """Seen to fail where the reader stays: it is called again at once, and again."""

    async def work() -> None:
        server = await asyncio.start_server(shout, HERE, 0)
        listener = Crowded(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((HERE, 0))
        address, one = listener.getsockname(), Relay(listener, server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"late")
        writer.write_eof()
        assert await reader.read() == b"LATE"
        first, second = Crowded.asked[:2]
        assert second - first > 0.1
        writer.close()
        one.close()
        server.close()

    run(work)


def test_a_client_of_nobody_is_told() -> None:
    async def work() -> None:
        free = bound(socket.SOCK_STREAM)
        target = free.getsockname()
        free.close()
        with relay(target, socket.SOCK_STREAM) as address:
            reader, writer = await asyncio.open_connection(*address)
            with suppress(ConnectionResetError):  # an orderly end is as good
                assert await reader.read() == b""
            writer.close()

    run(work)


def test_its_end_is_the_end_of_what_goes_by_it() -> None:
    async def work() -> None:
        server = await asyncio.start_server(shout, HERE, 0)
        with relay(server.sockets[0].getsockname(), socket.SOCK_STREAM) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            await writer.drain()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        writer.close()
        server.close()

    run(work)


def test_each_datagram_s_answer_finds_who_asked() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        with bound(socket.SOCK_DGRAM) as server, relay(server.getsockname(), socket.SOCK_DGRAM) as address:
            clients = [bound(socket.SOCK_DGRAM) for _ in range(5)]
            for sock in (server, *clients):
                sock.setblocking(False)
            for number, client in enumerate(clients):
                await loop.sock_sendto(client, b"client %d" % number, address)
            asked = [await loop.sock_recvfrom(server, 100) for _ in clients]
            assert len({peer for _, peer in asked}) == len(clients)
            for text, peer in reversed(asked):
                await loop.sock_sendto(server, text.upper(), peer)
            for number, client in enumerate(clients):
                assert await loop.sock_recvfrom(client, 100) == (b"CLIENT %d" % number, address)
                client.close()

    run(work)
