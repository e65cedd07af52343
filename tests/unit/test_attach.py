"""Clients that wait for a container's start: who hangs up is let go, who only sends or ends its input is kept."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from minidock.engine.attach import Client, Waiting
from minidock.engine.requests import LogEntry


def client(sock: socket.socket) -> Client:
    return Client(sock, stdin=True, stdout=True, stderr=True, multiplexed=True, detach_keys=b"", early=b"")


def open_files() -> int:
    """Fewer than before may be open: the garbage collector closes what other tests left."""
    return len(os.listdir("/proc/self/fd"))


async def settled(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fits():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("said", [b"", b"x"])
def test_clients_that_hang_up_are_let_go(said: bytes) -> None:
    async def scenario() -> None:
        waiting = Waiting()
        before = open_files()
        for _ in range(50):
            ours, theirs = socket.socketpair()
            waiting.join(client(ours))
            if said:
                theirs.send(said)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            theirs.close()
        await settled(lambda: open_files() <= before)

    asyncio.run(scenario())


def test_a_client_that_sends_and_ends_its_input_is_kept_with_all_it_sent() -> None:
    async def scenario() -> None:
        waiting = Waiting()
        before = open_files()
        ours, theirs = socket.socketpair()
        waiting.join(client(ours))
        theirs.send(b"early")
        await asyncio.sleep(0.02)
        theirs.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.02)
        assert ours.recv(99) == b"early"
        waiting.close()
        assert ours.fileno() == -1 and theirs.recv(1) == b""
        theirs.close()
        assert open_files() <= before

    asyncio.run(scenario())


def test_a_client_whose_container_goes_before_the_log_is_read_to_it_is_let_go() -> None:
    """It has not even taken the answer to its request yet. Seen to fail: its socket stayed open, and it waited."""

    async def nothing() -> AsyncIterator[LogEntry]:
        return
        yield

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"the answer")
            waiting = Waiting()
            waiting.read_out(client(theirs), nothing(), stay=True)
            await asyncio.sleep(0)
            waiting.close()
            await settled(lambda: theirs.fileno() < 0)
            assert ours.recv(100) == b"the answer" and ours.recv(1) == b""

    asyncio.run(scenario())
