"""Attached clients that detach, stall, vanish or are too many: the container and the others must not notice.

See: csrc/client.h for the rules. Read next: test_monitor_behind.py, test_monitor_control.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from subprocess import PIPE, Popen

import pytest

from minidock.runtime.monitor import Monitor
from tests.support import monitors
from tests.support.busybox import BUSYBOX
from tests.support.monitors import BIG, COUNT, Client, Workshop, attach, ended, finish, plan, shell, within
from tests.support.wait import eventually

Pair = Callable[[], tuple[socket.socket, socket.socket]]


# -- clients that come, go, stall -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [[b"kept\x10\x11lost"], [b"kept\x10", b"\x11"], [b"ke", b"pt", b"\x10\x11"], [b"k\x10", b"ept\x10\x11"]]
)
def test_detach_keys_end_the_connection_only(workshop: Workshop, pieces: list[bytes]) -> None:
    """Seen to fail where the keys are found and do nothing."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat", stdin="open"))
        watcher = attach(monitor, stdin=False)
        client = attach(monitor, detach_keys=b"\x10\x11", early=pieces[0])
        await within(monitor.start())
        for piece in pieces[1:]:
            await client.send(piece)
            await asyncio.sleep(0.05)
        assert b"\x10\x11" not in await client.rest()
        expected = b"".join(pieces).partition(b"\x10\x11")[0]
        assert await watcher.until(expected) == expected
        assert monitor.state == "running"
        monitor.signal(signal.SIGKILL)
        assert await finish(monitor, watcher) == expected

    workshop.run(test)


def test_the_daemon_is_told_who_detaches_and_missed_by_nobody_when_it_is_away(workshop: Workshop) -> None:
    """Seen to fail without the message, and with one that is told again to whoever connects next."""

    async def test() -> None:
        told: list[str] = []
        monitor = await workshop.spawn(shell("read line; exit $line", stdin="open"))
        early = attach(monitor, detach_keys=b"ab", early=b"ab")
        await within(monitor.start())
        assert await early.rest() == b""
        monitor.on_detach(lambda: told.append("one"))
        assert told == ["one"], "it had left before anybody asked"
        leaving, hanging_up = attach(monitor, detach_keys=b"ab"), attach(monitor, detach_keys=b"ab")
        late = attach(monitor, detach_keys=b"ab")
        await leaving.send(b"ab")
        assert await leaving.rest() == b""
        hanging_up.close()
        assert told == ["one", "one"]
        monitor.close()
        await late.send(b"ab")
        assert await late.rest() == b""
        again = await within(Monitor.adopt(monitor.ident, workshop.directory(monitor.ident)))
        again.on_detach(lambda: told.append("again"))
        await attach(again).send(b"11\n")
        assert (await within(again.exited)).code == 11
        ended(again)
        assert told == ["one", "one"]

    workshop.run(test)


def test_half_of_the_detach_keys_is_delivered_at_the_end_of_input(workshop: Workshop) -> None:
    """Seen to fail where held keys are dropped at the end of input."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat", stdin="once"))
        client = attach(monitor, detach_keys=b"abc", early=b"xyzab")
        client.half_close()
        await within(monitor.start())
        assert await finish(monitor, client) == b"xyzab"

    workshop.run(test)


def test_a_stalled_client_is_cut_off_and_the_others_miss_nothing(workshop: Workshop, counted: bytes) -> None:
    """The variant waits for it for ever, and so does the container.

    Seen to fail where nobody is ever cut off.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(COUNT))  # with a log nobody would wait: test_monitor_behind.py
        stalled = [attach(monitor, mux=n % 2 == 0) for n in range(5)]
        reader = attach(monitor)
        await within(monitor.start())
        began = time.monotonic()
        assert await finish(monitor, reader) == counted
        assert time.monotonic() - began > monitors.PATIENCE / 1000 * 0.9
        for client in stalled:
            got = await client.rest()
            assert 0 < len(got) < BIG

    workshop.run(test)


def test_a_client_that_pauses_holds_the_container_back_and_misses_nothing(workshop: Workshop, counted: bytes) -> None:
    """As a pipe would, `| less` for one; it is not cut off for it, since nobody else wants the stream.

    Seen to fail where it is cut off though nobody else waits.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT}; echo written >&2"))
        slow, errors = attach(monitor, stderr=False), attach(monitor, stdout=False)
        await within(monitor.start())
        for _ in range(3):
            await asyncio.sleep(monitors.PATIENCE / 1000 * 1.5)
            assert await slow.read(400_000)
        assert not errors.received and monitor.state == "running"
        assert await finish(monitor, slow) == counted
        assert await errors.rest() == b"written\n"

    workshop.run(test)


def test_a_client_that_talks_to_the_end_loses_no_output(workshop: Workshop) -> None:
    """What it sends when nobody reads any more must not turn the end of the connection into a reset.

    Seen to fail where a socket is closed with unread input in it (a reset).
    """

    async def test() -> None:
        for stdin in ("none", "open"):
            monitor = await workshop.spawn(shell("read line; echo bye", stdin=stdin))
            client = attach(monitor)
            await within(monitor.start())
            await client.send(b"words " * 1000 + b"\n")
            talking = asyncio.ensure_future(_talk(client))
            assert await finish(monitor, client) == b"bye\n"
            assert not client.was_reset
            await talking

    workshop.run(test)


async def _talk(client: Client) -> None:
    with suppress(ConnectionError):
        while True:
            await client.send(b"more words" * 10_000)


@pytest.mark.strace
def test_a_watch_that_the_kernel_refused_is_asked_for_again(workshop: Workshop) -> None:
    """epoll has room for so many watches a user, and a container of the same user may have them all for a while.

    Seen to fail where it is asked for with the next event only: the client of a quiet container was never read.
    """

    async def test() -> None:
        monitor = await workshop.start(shell("read line; echo $line; read line", stdin="open"))
        (pid,) = workshop.processes()
        refusal = "inject=epoll_ctl:error=ENOSPC:when=1..3"
        command = ["strace", "-p", str(pid), "-o", str(workshop.folder / "strace"), "-e", refusal]
        with Popen(command, stderr=PIPE) as tracer:
            assert tracer.stderr and b"attached" in await asyncio.to_thread(tracer.stderr.readline)
            client = attach(monitor)
            await client.send(b"heard\n")
            try:
                await within(client.until(b"heard"))
            finally:
                tracer.terminate()  # before the end: LeakSanitizer needs ptrace for itself
        assert "ENOSPC" in (workshop.folder / "strace").read_text()
        await client.send(b"\n")
        await finish(monitor, client)

    workshop.run(test)


CASES = ["stalled client, closed stdout", "full stdin, client gone", "waiting client gone", "terminal nobody has open"]


@pytest.mark.parametrize("case", CASES)
def test_waiting_takes_no_processor_time(workshop: Workshop, case: str) -> None:
    """States in which a descriptor stays ready that nobody can serve now.

    Seen to fail where a watch that wants nothing stays in epoll.
    """

    async def test() -> None:
        script = "exec <&- >&- 2>&-; sleep 30"
        if not case.startswith("terminal"):
            script = f"{COUNT} | head -c 280000; {script}"
        monitor = await workshop.spawn(shell(script, tty=case.startswith("terminal")))
        client = attach(monitor, stdout=not case.startswith("full"))
        if case.startswith("waiting"):
            await client.send(b"x")
            client.close()
        else:
            await within(monitor.start())
        if case.startswith("full"):
            with suppress(TimeoutError):
                await asyncio.wait_for(client.send(bytes(1_000_000)), 0.5)
            client.close()
        await asyncio.sleep(0.1)
        assert await workshop.cpu_time(monitors.PATIENCE / 1000 * 0.5) < 0.05
        if monitor.state == "running":
            monitor.signal(signal.SIGKILL)
            await within(monitor.exited)
            ended(monitor)
        monitor.close()

    workshop.run(test)


def test_a_stalled_client_does_not_hold_up_the_exit_for_long(workshop: Workshop) -> None:
    """Seen to fail where an exit makes nobody impatient."""

    async def test() -> None:
        size = 71_000  # more than the socket and one chunk, less than that and a pipe
        monitor = await workshop.spawn(shell(f"dd if=/dev/zero bs={size} count=1 2>/dev/null"))
        client = attach(monitor, pair=monitors.small_pair)
        await within(monitor.start())
        assert (await within(monitor.exited)).code == 0
        ended(monitor)
        assert 0 < len(await client.rest()) < size

    workshop.run(test)


def _reset(client: Client) -> None:
    """Closes a TCP connection with a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("pair", [monitors.unix_pair, monitors.tcp_pair])
def test_clients_that_vanish_are_forgotten(workshop: Workshop, pair: Pair) -> None:
    """Seen to fail where EPIPE ends the monitor."""

    async def test() -> None:
        monitor = await workshop.start(shell("while read line; do echo $line; done", stdin="open"))
        steady = attach(monitor)
        (pid,) = workshop.processes()
        for n in range(100):
            passing = attach(monitor, pair=pair, mux=n % 2 == 0)
            await steady.send(b"%d\n" % n)
            if n % 4 == 0:
                await passing.read()
            if n % 3 == 0:
                passing.half_close()
            _reset(passing) if pair is monitors.tcp_pair else passing.close()
            await steady.until(b"%d\n" % n)
        steady.half_close()
        monitor.signal(signal.SIGKILL)
        assert await finish(monitor, steady) == b"".join(b"%d\n" % n for n in range(100))
        assert pid

    workshop.run(test)


def test_clients_that_left_cost_no_descriptor(workshop: Workshop) -> None:
    """CVE-2025-64329: each attach left something open in the variant, until there was no more to open.

    Seen to fail where a client that has hung up is kept.
    """

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "cat"))
        (pid,) = workshop.processes()
        before = len(os.listdir(f"/proc/{pid}/fd"))
        for _ in range(300):
            attach(monitor).close()
        steady = attach(monitor)
        await steady.send(b"x")
        await steady.until(b"x")
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before + 1, "the descriptors to be closed")
        monitor.signal(signal.SIGKILL)
        assert await finish(monitor, steady) == b"x"

    workshop.run(test)


def test_too_many_clients_are_turned_away(workshop: Workshop) -> None:
    """Seen to fail without the limit."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "cat"))
        clients = [attach(monitor) for _ in range(140)]
        for client in clients[128:]:
            assert await client.read() == b""
        await clients[0].send(b"hello")
        for client in clients[:128]:
            await client.until(b"hello")
        monitor.signal(signal.SIGKILL)
        await finish(monitor, clients[0])

    workshop.run(test)
