"""Exec sessions where no process comes to be, or none that anybody waits for. With processes: root/test_verbs.py."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from minidock.engine.attach import Client
from minidock.engine.config import Config, HostConfig
from minidock.engine.events import Events
from minidock.engine.execs import Execs
from minidock.engine.model import Container, Definition, State, Status
from minidock.engine.requests import ExecRequest, ExecSession
from minidock.wire.errors import Conflict, ExecFailed

ONE = Container("1" * 64, "web", 1, Definition("i", Config(), HostConfig()), State(Status.RUNNING))


PARTS: Any = SimpleNamespace(containers=SimpleNamespace(get=lambda _: ONE), events=Events())


@dataclass(frozen=True)
class Connection:
    """A client's, ready to be taken over."""

    sock: socket.socket

    def upgrade(self, multiplexed: bool) -> tuple[socket.socket, bytes]:
        return self.sock, b""


class NotFound(Execs):
    """Every command is one that does not exist."""

    async def _start(self, *_: object) -> None:
        raise ExecFailed("nosuch", errno.ENOENT)


def test_a_session_whose_command_is_not_found_does_not_run() -> None:
    """Its client hears why on the connection that it was given; inspect, and `doctor --leaks`, that nothing runs.

    Seen to fail where a session that had a client ran for ever, and where one without a client had no exit code.
    """

    async def scenario() -> None:
        execs = NotFound(PARTS)
        ident = execs.create(ONE, ExecRequest(("nosuch",), attach_stdout=True))
        ours, theirs = socket.socketpair()
        with ours:
            await execs.start(ident, False, None, Connection(theirs))
            assert b"executable file not found" in ours.recv(1000) and ours.recv(1) == b""
        session = execs.get(ident)
        assert (session.exit_code, session.running, execs.running(), execs.of(ONE)) == (127, False, set(), [])
        with pytest.raises(Conflict, match="has already run"):
            await execs.start(ident, False, None, None)
        detached = execs.create(ONE, ExecRequest(("nosuch",)))
        with pytest.raises(ExecFailed):
            await execs.start(detached, False, None, None)
        with pytest.raises(Conflict, match="has already run"):
            await execs.start(detached, False, None, None)
        assert execs.get(detached).exit_code == 127

    asyncio.run(scenario())


class Slow(Execs):
    """A start takes as long as it is let."""

    def __init__(self) -> None:
        super().__init__(PARTS)
        self.begun, self.go, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def _start(self, _: Container, session: ExecSession, __: bool, ___: object, client: Client | None) -> None:
        self.begun.set()
        await self.go.wait()
        session.exit_code = 3
        assert client
        client.sock.close()
        self.done.set()


def test_a_start_that_takes_long_is_no_command_that_takes_long() -> None:
    """A health check's time begins when its command runs, as with docker.

    Seen to fail where the start counted: the command, which came to run all the same, was nobody's then.
    """

    async def scenario() -> None:
        one = Slow()
        capture = asyncio.ensure_future(one.capture(ONE, ExecRequest(("true",)), 0.01, 100))
        await one.begun.wait()
        asyncio.get_running_loop().call_later(0.1, one.go.set)
        assert await asyncio.wait_for(capture, 10) == (3, "")

    asyncio.run(scenario())


def test_a_start_under_way_goes_on_without_its_caller() -> None:
    """Seen to fail where the start was broken off: its monitor had been told to go, and nobody heard of its end."""

    async def scenario() -> None:
        one = Slow()
        capture = asyncio.ensure_future(one.capture(ONE, ExecRequest(("true",)), 10, 100))
        await one.begun.wait()
        capture.cancel()
        await asyncio.wait([capture])
        one.go.set()
        await asyncio.wait_for(one.done.wait(), 10)

    asyncio.run(scenario())
