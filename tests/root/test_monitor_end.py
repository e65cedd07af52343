"""The monitor at the end: what holds an exit up, who learns of it, what becomes of it when daemons come and go.

Each test runs with the monitor as it is built for use and as it is built with sanitizers, both with short time limits.
See: csrc/monitor.c (the order at an exit). Read next: test_monitor.py (the start, and every exit code).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from minidock.runtime.exit_record import read_exit_record
from minidock.runtime.monitor import Monitor
from tests.support import monitors
from tests.support.busybox import BUSYBOX
from tests.support.monitors import Workshop, attach, ended, finish, plan, shell, within
from tests.support.wait import eventually

# -- the end of things ------------------------------------------------------------------------------------------------


def test_a_stray_process_holds_the_exit_up_only_for_a_while(workshop: Workshop) -> None:
    """Its output until then is the container's; a stray that never stops writing does not keep it alive either.

    Seen to fail where the drain has no limit.
    """

    async def test() -> None:
        for stray, kept in (("sleep 60", b""), ("sleep 0.2; echo late; sleep 60", b"late\n")):
            monitor = await workshop.spawn(shell(f"({stray}) & echo $!; echo mine", log=workshop.log))
            client = attach(monitor)
            began = time.monotonic()
            await within(monitor.start())
            await within(monitor.exited)
            assert time.monotonic() - began > monitors.DRAIN / 1000 * 0.9
            stray_pid, rest = (await finish(monitor, client)).split(b"\n", 1)
            assert rest == b"mine\n" + kept
            os.killpg(os.getpgid(int(stray_pid)), signal.SIGKILL)

    workshop.run(test)


def test_a_stray_that_floods(workshop: Workshop) -> None:
    """Seen to fail where the drain has no limit."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("echo $$; yes & echo mine"))
        client = attach(monitor)
        await within(monitor.start())
        received = await finish(monitor, client)
        assert b"mine\n" in received
        with suppress(ProcessLookupError):  # the pipe it writes to has no reader any more
            os.killpg(int(received.split(b"\n", 1)[0]), signal.SIGKILL)

    workshop.run(test)


def test_strays_are_reaped(workshop: Workshop) -> None:
    """Orphans of a container without a pid namespace come to the monitor, and none stays a zombie.

    Seen to fail where only the first process is waited for.
    """

    async def test() -> None:
        monitor = await workshop.start(shell("(sleep 0.01 & sleep 0.02 &) ; read line", stdin="open"))
        (pid,) = workshop.processes()

        def children() -> list[str]:
            return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

        eventually(lambda: children() == [str(monitor.pid)], "orphans to be reaped")
        monitor.signal(signal.SIGKILL)
        await within(monitor.exited)
        ended(monitor)

    workshop.run(test)


def test_the_record_is_there_before_the_connection_closes(workshop: Workshop) -> None:
    """Clients ask for an exec's exit code the moment their connection ends; so it ends after RELEASE, not before.

    Seen to fail where the monitor waits for no RELEASE.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("exit 5"))
        client = attach(monitor)
        await within(monitor.start())
        await within(monitor.exited)
        with pytest.raises(BlockingIOError):
            client.sock.recv(1)
        began = time.monotonic()
        monitor.release()
        assert await client.rest() == b""
        assert not await _still_there(workshop, limit=15)
        assert time.monotonic() - began < monitors.RELEASE / 1000 / 2
        ended(monitor)

    workshop.run(test)


def test_the_connection_ends_for_all_who_hold_it(workshop: Workshop) -> None:
    """A copy of the socket that somebody else still has must not keep the client waiting.

    Seen to fail where a connection is closed and not shut down.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("echo bye"))
        theirs, ours = monitors.unix_pair()
        with theirs.dup():
            client = attach(monitor, pair=lambda: (theirs, ours))
            await within(monitor.start())
            assert await finish(monitor, client) == b"bye\n"

    workshop.run(test)


async def _still_there(workshop: Workshop, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while workshop.processes() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return bool(workshop.processes())


def test_a_daemon_that_forgets_to_release(workshop: Workshop) -> None:
    """Seen to fail where the monitor waits for no RELEASE."""

    async def test() -> None:
        monitor = await workshop.start(shell("exit 5"))
        began = time.monotonic()
        await within(monitor.exited)
        assert not await _still_there(workshop, limit=15)
        assert time.monotonic() - began > monitors.RELEASE / 1000 * 0.8
        monitor.close()

    workshop.run(test)


# -- daemons come and go ----------------------------------------------------------------------------------------------


def test_another_daemon_finds_the_container_running(workshop: Workshop) -> None:
    """Seen to fail where a new connection is greeted with "waiting"."""

    async def test() -> None:
        first = await workshop.start(shell("while read line; do echo $line; done; exit 9", stdin="once"))
        client = attach(first)
        await client.send(b"before\n")
        await client.until(b"before\n")
        first.close()
        await client.send(b"between\n")
        await client.until(b"between\n")

        second = await within(Monitor.adopt(first.ident, workshop.directory(first.ident)))
        assert (second.state, second.pid) == ("running", first.pid)
        second.signal(0)
        another = attach(second)
        await another.send(b"after\n")
        await client.until(b"after\n")
        client.half_close()
        assert await finish(second, another) == b"after\n"
        assert second.exited.result().code == 9

    workshop.run(test)


def test_an_exit_while_no_daemon_is_there(workshop: Workshop) -> None:
    """Seen to fail where no exit record is written."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "sleep", "60"))
        directory = workshop.directory(monitor.ident)
        pidfd = os.pidfd_open(monitor.pid)
        monitor.close()
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        os.close(pidfd)
        assert not await _still_there(workshop, limit=15)  # it waits for nobody
        with pytest.raises(ConnectionRefusedError):
            await Monitor.adopt(monitor.ident, directory)
        record = read_exit_record(directory)
        assert record and (record.code, record.signal) == (143, 15)

    workshop.run(test)


def test_an_exit_that_can_not_be_recorded_waits_for_a_daemon(workshop: Workshop) -> None:
    """The tmpfs is full, say. Seen to fail where the monitor ends all the same, and the exit code with it."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "sleep", "60"))
        (workshop.directory(monitor.ident) / "exit.tmp").mkdir()
        pid = monitor.pid
        monitor.close()
        os.kill(pid, signal.SIGTERM)
        assert await _still_there(workshop, limit=1.2 * monitors.RELEASE / 1000)
        later = await Monitor.adopt(monitor.ident, workshop.directory(monitor.ident))
        assert (await within(later.exited)).code == 143
        assert ended(later).signal == 15
        assert not await _still_there(workshop, limit=15)

    workshop.run(test)


def test_a_monitor_that_nobody_can_find_does_not_wait(workshop: Workshop) -> None:
    """Somebody has removed its directory. Seen to fail where every exit without a record waits for a daemon."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "sleep", "60"))
        pid = monitor.pid
        shutil.rmtree(workshop.directory(monitor.ident))
        monitor.close()
        os.kill(pid, signal.SIGTERM)
        assert not await _still_there(workshop, limit=15)

    workshop.run(test)


def test_two_daemons_at_once_learn_the_same(workshop: Workshop) -> None:
    """Seen to fail where EXITED goes to one connection only."""

    async def test() -> None:
        first = await workshop.start(shell("read line; exit $line", stdin="open"))
        second = await within(Monitor.adopt(first.ident, workshop.directory(first.ident)))
        client = attach(second)
        await client.send(b"42\n")
        assert (await within(first.exited)) == (await within(second.exited))
        late = await within(Monitor.adopt(first.ident, workshop.directory(first.ident)))
        assert (late.state, late.exited.result()) == ("exited", first.exited.result())
        for monitor in (late, second, first):
            ended(monitor)

    workshop.run(test)


def test_there_is_nothing_to_adopt(workshop: Workshop) -> None:
    """Seen to fail where what is not there is a ServerError."""

    async def test() -> None:
        with pytest.raises(FileNotFoundError):
            await Monitor.adopt("0" * 64, workshop.directory("0" * 64))
        workshop.directory("1" * 64).mkdir()
        with pytest.raises(FileNotFoundError):
            await Monitor.adopt("1" * 64, workshop.directory("1" * 64))

    workshop.run(test)


def test_a_monitor_that_is_killed_is_an_error_and_never_0(workshop: Workshop) -> None:
    """Seen to fail where a missing record is 0."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "sleep", "60"))
        (pid,) = workshop.processes()
        os.kill(pid, signal.SIGKILL)
        end = await within(monitor.exited)
        assert (end.code, end.signal) == (255, 0)
        assert "monitor" in end.error
        monitor.signal(signal.SIGKILL)  # what the engine does by the cgroup
        monitor.close()

    workshop.run(test)
