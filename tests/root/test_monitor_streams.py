"""A container's stdio through the monitor: output to clients and the log, input, terminals; every byte and in order.

See: csrc/pump.c, csrc/input.c. Read next: test_monitor_clients.py, ../unit/test_log_format.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine import logs
from minidock.engine.requests import LogRequest
from minidock.runtime.exit_record import read_exit_record
from minidock.runtime.monitor import Monitor
from tests.support import monitors
from tests.support.monitors import COUNT, Workshop, attach, ended, finish, shell, within
from tests.support.wait import eventually

Pair = Callable[[], tuple[socket.socket, socket.socket]]


# -- output -----------------------------------------------------------------------------------------------------------


def test_raw_output_is_what_was_written(workshop: Workshop) -> None:
    """Seen to fail where all get frames, and where all get both streams."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("echo out; echo err >&2; printf end"))
        everything, only_err = attach(monitor), attach(monitor, stdout=False)
        await within(monitor.start())
        await within(monitor.exited)
        ended(monitor)
        assert sorted((await everything.rest()).splitlines()) in ([b"end", b"err", b"out"], [b"enderr", b"out"])
        assert await only_err.rest() == b"err\n"

    workshop.run(test)


def test_frames_are_dockers(workshop: Workshop) -> None:
    """Seen to fail where the header counts itself."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("printf hello; read line; printf oops >&2; read line; printf bye"))
        client = attach(monitor, mux=True)
        await within(monitor.start())
        for said in (b"\1\0\0\0\0\0\0\5hello", b"\2\0\0\0\0\0\0\4oops"):
            await client.until(said)
            await client.send(b"\n")
        assert await finish(monitor, client) == b"\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\4oops\1\0\0\0\0\0\0\3bye"

    workshop.run(test)


@pytest.mark.parametrize("pair", [monitors.unix_pair, monitors.tcp_pair])
def test_much_output_to_many(workshop: Workshop, counted: bytes, pair: Pair) -> None:
    """All get every byte in order: framed and raw, on both kinds of sockets; and so does the log.

    Seen to fail where what a socket did not take is kept from the beginning of the chunk.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(COUNT, log=workshop.log))
        raw, framed = ([attach(monitor, mux=mux, pair=pair) for _ in range(2)] for mux in (False, True))
        await within(monitor.start())
        others = asyncio.gather(raw[1].rest(), *(client.frames() for client in framed))
        assert await finish(monitor, raw[0]) == counted
        assert await others == [counted, {1: counted}, {1: counted}]

    workshop.run(test)
    logged = "".join(json.loads(line)["log"] for line in workshop.log.read_bytes().splitlines())
    assert logged.encode() == counted


def test_output_without_listeners_is_logged(workshop: Workshop) -> None:
    """Seen to fail where a last line without a newline is not written at the end."""

    async def test() -> None:
        monitor = await workshop.start(shell("echo out; printf 'no newline'; echo err >&2", log=workshop.log))
        await within(monitor.exited)
        entries = [json.loads(line) for line in workshop.log.read_text().splitlines()]
        assert sorted((e["stream"], e["log"]) for e in entries) == [
            ("stderr", "err\n"), ("stdout", "no newline"), ("stdout", "out\n"),
        ]  # fmt: skip
        assert workshop.log.stat().st_mode & 0o777 == 0o640
        ended(monitor)

    workshop.run(test)


def test_rotation(workshop: Workshop, counted: bytes) -> None:
    """Seen to fail where files are renamed from the youngest on."""

    async def test() -> None:
        monitor = await workshop.start(shell(COUNT, log=workshop.log, size=1 << 20, files=100))
        await within(monitor.exited)
        ended(monitor)

    workshop.run(test)
    files = sorted(workshop.folder.glob("container.log.*"), key=lambda path: -int(path.suffix[1:]))
    assert len(files) > 10
    assert all(1 << 20 <= path.stat().st_size < (1 << 20) + 200 for path in files)
    data = b"".join(path.read_bytes() for path in [*files, workshop.log])
    assert "".join(json.loads(line)["log"] for line in data.splitlines()).encode() == counted


@pytest.mark.parametrize("files", [2, 3, 5])
def test_a_log_that_is_rotated_all_the_time_is_followed(workshop: Workshop, files: int) -> None:
    """As by `logs -f`: no line twice, none torn, none before an older one, and all that is on disk in the end.

    Seen to fail where the daemon walks through the log's names once: out of order.
    """
    request = LogRequest(stdout=True, stderr=True, follow=True)

    async def follow(monitor: Monitor) -> list[int]:
        lines = logs.read(workshop.log, request, lambda: not monitor.exited.done())
        return [int(entry.data) async for entry in lines]

    async def test() -> None:
        monitor = await workshop.spawn(shell("seq 1 60000", log=workshop.log, size=1 << 13, files=files))
        followers = asyncio.gather(*(follow(monitor) for _ in range(2)))
        await within(monitor.start())
        seen = await within(followers, 60)
        ended(monitor)
        names = [workshop.log.with_name(f"{workshop.log.name}.{number}") for number in range(files - 1, 0, -1)]
        text = "".join(path.read_text() for path in [*names, workshop.log])
        left = [int(json.loads(line)["log"]) for line in text.splitlines()]
        for numbers in seen:
            assert numbers == sorted(set(numbers)) and numbers[-len(left) :] == left

    workshop.run(test)


def test_output_is_complete_before_the_exit_is_told(workshop: Workshop) -> None:
    """docker-py's test_attach_no_stream: what was written is there when wait answers.

    Seen to fail where an exit is told before all output is read.
    """

    async def test() -> None:
        for round in range(20):
            monitor = await workshop.spawn(shell(f"echo round {round}", log=workshop.log))
            client = attach(monitor)
            await within(monitor.start())
            await within(monitor.exited)
            assert client.sock.recv(100) == b"round %d\n" % round  # at once: the socket does not block
            assert json.loads(workshop.log.read_text().splitlines()[-1])["log"] == f"round {round}\n"
            ended(monitor)
            client.close()

    workshop.run(test)


def test_the_exit_is_told_when_the_last_client_has_all(workshop: Workshop) -> None:
    """The container has ended and all its output is read, but the client's socket was too small for it.

    Seen to fail where an exit waits for no client.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("dd if=/dev/zero bs=40000 count=1 2>/dev/null; kill -9 $$"))
        client = attach(monitor, pair=monitors.small_pair)
        await within(monitor.start())
        directory = workshop.directory(monitor.ident)
        while not read_exit_record(directory):
            await asyncio.sleep(0.01)
        await asyncio.sleep(monitors.FLUSH / 1000 / 4)
        assert not monitor.exited.done()
        assert await finish(monitor, client) == bytes(40000)

    workshop.run(test)


# -- input ------------------------------------------------------------------------------------------------------------


def test_the_end_of_input_ends_a_stdin_that_is_open_once(workshop: Workshop) -> None:
    """Seen to fail where that end is ignored."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat; echo done", stdin="once"))
        client = attach(monitor, early=b"early ")
        await within(monitor.start())
        await client.send(b"late\n")
        client.half_close()
        assert await finish(monitor, client) == b"early late\ndone\n"

    workshop.run(test)


def test_an_open_stdin_takes_one_client_after_the_other(workshop: Workshop) -> None:
    """Seen to fail where the first client's end of input is the container's."""

    async def test() -> None:
        monitor = await workshop.start(shell("read a; read b; echo $a $b", stdin="open"))
        first = attach(monitor)
        await first.send(b"one\n")
        first.half_close()
        watcher = attach(monitor, stdin=False)
        second = attach(monitor)
        await second.send(b"two\n")
        assert await finish(monitor, second) == b"one two\n"
        assert await first.rest() == b"one two\n"  # half-closed, and still served
        assert await watcher.rest() == b"one two\n"

    workshop.run(test)


def test_without_stdin_what_clients_send_is_dropped(workshop: Workshop) -> None:
    """Seen to fail where there is a pipe for stdin nonetheless."""

    async def test() -> None:
        monitor = await workshop.start(shell("cat; echo done; read x; echo $?", stdin="none"))
        client = attach(monitor)
        await client.send(b"hello" * 100)
        assert await finish(monitor, client) in (b"done\n1\n", b"")  # it may have been faster than the attach

    workshop.run(test)


def test_much_input_through_a_slow_reader(workshop: Workshop, counted: bytes) -> None:
    """Input waits in the client's socket while the pipe is full; none is lost, not even the last piece at the end.

    Seen to fail where what the pipe does not take is dropped.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("sleep 0.3; cat", stdin="once"))
        client = attach(monitor, early=counted[:60000])
        await within(monitor.start())

        async def feed() -> None:
            await client.send(counted[60000:])
            client.half_close()

        _, received = await asyncio.gather(feed(), finish(monitor, client))
        assert received == counted

    workshop.run(test)


def test_input_nobody_reads_is_dropped(workshop: Workshop) -> None:
    """`yes | docker run -i busybox true` must end: the container's side of the pipe is closed, the client's is not.

    Seen to fail where SIGPIPE is not ignored.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("exec <&-; echo closed; sleep 1; echo done", stdin="open"))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"closed")
        await client.send(b"x" * 2_000_000)
        assert await finish(monitor, client) == b"closed\ndone\n"

    workshop.run(test)


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_client_that_vanishes_leaves_its_last_words(workshop: Workshop, pause: float) -> None:
    """It has sent, closed and gone before the container was there to read it; the monitor may have noticed or not.

    Seen to fail where a client that hangs up is dropped at once.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat", stdin="once"))
        watcher = attach(monitor, stdin=False)
        client = attach(monitor, early=b"last ")
        await client.send(b"words")
        client.close()
        await asyncio.sleep(pause)
        await within(monitor.start())
        assert await finish(monitor, watcher) == b"last words"

    workshop.run(test)


# -- terminals --------------------------------------------------------------------------------------------------------


def test_a_terminal(workshop: Workshop) -> None:
    """Seen to fail where RESIZE is ignored."""

    async def test() -> None:
        script = "stty size; read line; stty size; read line; echo got:$line; read line; echo over:$?"
        monitor = await workshop.spawn(shell(script, tty=True, log=workshop.log))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"24 80\r\n")
        monitor.resize(50, 132)
        await client.send(b"\n")
        await client.until(b"\r\n50 132\r\n")
        await client.send(b"hi\n")
        await client.until(b"hi\r\ngot:hi\r\n")
        await client.send(b"\x04")
        assert (await finish(monitor, client)).endswith(b"over:1\r\n")
        assert monitor.exited.result().code == 0

    workshop.run(test)
    entries = [json.loads(line) for line in workshop.log.read_bytes().splitlines()]
    assert {entry["stream"] for entry in entries} == {"stdout"}
    assert entries[-1]["log"] == "over:1\r\n"


def test_a_terminal_that_is_opened_again(workshop: Workshop) -> None:
    """All who had it open have closed it, as a daemon or a getty does. It is not over; nor with docker 20.10.

    Seen to fail where the first EIO is the end of the output.
    """
    again = workshop.folder / "again"
    reopen = "echo here >/dev/tty; read line </dev/tty; echo got:$line >/dev/tty"
    script = f"exec </dev/null >/dev/null 2>&1; until [ -e {again} ]; do sleep 0.05; done; {reopen}"

    async def test() -> None:
        monitor = await workshop.spawn(shell(script, tty=True, log=workshop.log))
        client = attach(monitor)
        await within(monitor.start())
        eventually(lambda: os.readlink(f"/proc/{monitor.pid}/fd/2") == "/dev/null", "the terminal to be closed")
        other = await Monitor.adopt(monitor.ident, workshop.directory(monitor.ident))  # it has seen the hang-up by now
        other.close()
        await client.send(b"typed\n")
        again.touch()
        assert (await finish(monitor, client)).endswith(b"got:typed\r\n")

    workshop.run(test)
    assert "here\\r\\n" in workshop.log.read_text()


def test_the_end_of_a_clients_input_is_nothing_to_a_terminal(workshop: Workshop) -> None:
    """Seen to fail where it ends the terminal's input."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("read line; echo got:$line", tty=True, stdin="once"))
        first = attach(monitor)
        first.half_close()
        await within(monitor.start())
        second = attach(monitor)
        await second.send(b"x\n")
        assert b"got:x" in await finish(monitor, second)
        assert b"got:x" in await first.rest()

    workshop.run(test)


def test_all_of_a_terminals_last_output(workshop: Workshop) -> None:
    """The monitor comes to read it, in several pieces, when its writer is gone: it was stopped meanwhile.

    Seen to fail where a terminal is not read any more once the container has exited.
    """

    async def test() -> None:
        go = workshop.folder / "go"
        waiting = f"stty -opost; while [ ! -e {go} ]; do sleep 0.02; done; head -c 6000 /dev/zero"
        monitor = await workshop.spawn(shell(waiting, tty=True))
        client = attach(monitor)
        await within(monitor.start())
        status = Path(f"/proc/{monitor.pid}/stat")
        supervisor = int(status.read_text().rpartition(")")[2].split()[1])
        os.kill(supervisor, signal.SIGSTOP)
        try:
            go.touch()
            while status.read_text().rpartition(")")[2].split()[0] != "Z":
                await asyncio.sleep(0.01)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert await finish(monitor, client) == bytes(6000)

    workshop.run(test)


def test_ctrl_c_reaches_the_foreground(workshop: Workshop) -> None:
    """Seen to fail where the terminal is not the controlling one."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("echo ready; exec sleep 60", tty=True))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"ready")
        await client.send(b"\x03")
        assert (await within(monitor.exited)).signal == signal.SIGINT
        await finish(monitor, client)

    workshop.run(test)
