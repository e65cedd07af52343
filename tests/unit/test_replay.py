"""A client that the log is read to: it then waits; and when the start overtakes it, it has everything once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from minidock.engine.replay import Replay
from minidock.engine.requests import LogEntry
from minidock.wire import frames

LOG = [LogEntry(1 + number % 2, number, b"%d " % number * 1000 + b"\n") for number in range(200)]


async def entries() -> AsyncIterator[LogEntry]:
    for entry in LOG:
        yield entry


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    return ours, theirs


def wire(framed: bool, log: list[LogEntry]) -> bytes:
    return b"".join(frames.frame(entry.stream, entry.data) if framed else entry.data for entry in log)


async def everything(sock: socket.socket) -> bytes:
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
        data += piece
    return data


def streams(framed: bool, data: bytes) -> dict[int, bytes]:
    """What came, by stream; frames may be cut otherwise than they were written."""
    if not framed:
        return {1: data}
    found = {1: b"", 2: b""}
    for stream, piece in frames.FrameParser().feed(data):
        found[stream] += piece
    return found


@pytest.mark.parametrize("framed", [False, True])
def test_who_has_the_log_waits_with_its_connection_open(framed: bool) -> None:
    async def scenario() -> None:
        ours, theirs = pair()
        replay = asyncio.create_task(Replay(ours, framed, entries()).run())
        wanted = wire(framed, LOG)
        data = b""
        while len(data) < len(wanted):
            data += await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
        assert data == wanted and await replay and ours.fileno() >= 0
        ours.close()
        theirs.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("framed", [False, True])
def test_a_start_while_it_is_read_to_leaves_nothing_out_and_says_nothing_twice(framed: bool) -> None:
    """Broken build: `_skip` that skips nothing; a stand-in that is closed at once."""

    async def scenario() -> None:
        ours, theirs = pair()
        reading = Replay(ours, framed, entries())
        replay = asyncio.create_task(reading.run())
        loop = asyncio.get_running_loop()
        begin = await loop.sock_recv(theirs, 1000)
        monitor = reading.stand_in()
        monitor.setblocking(False)
        more = [LogEntry(1, 0, b"new\n"), LogEntry(2, 0, b"newer\n")]

        async def speak() -> None:
            await loop.sock_sendall(monitor, wire(framed, LOG + more))
            assert await loop.sock_recv(monitor, 10) == b"input"
            assert await loop.sock_recv(monitor, 10) == b""
            monitor.close()

        speaking = asyncio.create_task(speak())
        await loop.sock_sendall(theirs, b"input")
        theirs.shutdown(socket.SHUT_WR)
        data = begin + await everything(theirs)
        await speaking
        assert streams(framed, data) == streams(framed, wire(framed, LOG + more))
        assert not await replay and ours.fileno() < 0
        theirs.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("handed", [False, True])
def test_who_hangs_up_costs_nothing_more(handed: bool) -> None:
    async def scenario() -> None:
        ours, theirs = pair()
        reading = Replay(ours, True, entries())
        replay = asyncio.create_task(reading.run())
        await asyncio.sleep(0)
        monitor = reading.stand_in() if handed else None
        theirs.close()
        assert not (await asyncio.gather(replay, return_exceptions=True))[0] or replay.cancelled()
        assert ours.fileno() < 0
        if monitor:
            monitor.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(monitor, 1) == b""
            monitor.close()

    asyncio.run(scenario())
