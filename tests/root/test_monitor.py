"""The monitor at work: start, stdio, attached clients, exit, and being found again by another daemon.

Each test runs with the monitor as it is built for use and as it is built with sanitizers, both with short time limits.
See: csrc/monitor.c (the order at an exit), docs of the Engine API on attach for what clients expect.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minidock.runtime import control
from minidock.runtime import plan as plans
from minidock.runtime.control import Kind
from minidock.runtime.monitor import Exit, Monitor, StartFailed, StepResult, read_exit_record
from minidock.wire.errors import InvalidArgument, ServerError
from tests.support import monitors
from tests.support.monitors import Build, Workshop, attach, plan, shell, within
from tests.support.wait import eventually

Pair = Callable[[], tuple[socket.socket, socket.socket]]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    made = monitors.build(tmp_path_factory.mktemp("monitor"), sanitize=request.param == "sanitized")
    yield made
    os.close(made.binary)


@pytest.fixture
def workshop(build: Build, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(build, tmp_path)
    yield made
    made.check()


def ended(monitor: Monitor) -> Exit:
    """Takes note of the exit as the daemon does."""
    monitor.release()
    monitor.close()
    return monitor.exited.result()


# -- start and exit ---------------------------------------------------------------------------------------------------


def test_start_and_exit(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("exit 3"))
        assert (monitor.state, monitor.pid) == ("waiting", 0)
        results = await within(monitor.start())
        assert len(results) == 6
        assert all(result.errno == 0 for result in results)
        assert monitor.pid > 0
        end = await within(monitor.exited)
        assert (end.code, end.signal, end.error) == (3, 0, "")
        assert STAMP.fullmatch(end.finished)
        directory = workshop.directory(monitor.ident)
        assert (directory / "exit").read_text() == f'{{"code":3,"signal":0,"finished":"{end.finished}"}}\n'
        assert sorted(os.listdir(directory)) == ["control", "exit"]
        assert ended(monitor) == end

    workshop.run(test)


@pytest.mark.parametrize("code", [0, 1, 2, 63, 125, 126, 127, 128, 137, 254, 255])
def test_every_exit_code(workshop: Workshop, code: int) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell(f"exit {code}"))
        end = await within(monitor.exited)
        assert (end.code, end.signal) == (code, 0)
        assert read_exit_record(workshop.directory(monitor.ident)) == end
        ended(monitor)

    workshop.run(test)


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, 34, 64]
)
def test_an_end_by_signal_is_128_and_its_number(workshop: Workshop, number: int) -> None:
    async def test() -> None:
        monitor = await workshop.start(plan(monitors.BUSYBOX, "sleep", "60"))
        monitor.signal(number)
        end = await within(monitor.exited)
        assert (end.code, end.signal) == (128 + number, number)
        with pytest.raises(ProcessLookupError):
            monitor.signal(number)
        ended(monitor)

    workshop.run(test)


def test_a_step_that_fails_is_named(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(plan("/nowhere/to/be/found", "x"))
        with pytest.raises(StartFailed) as caught:
            await within(monitor.start())
        error = caught.value
        assert (error.step, error.errno, error.index) == ("execve", 2, 5)
        assert "/nowhere/to/be/found" in error.path
        assert [result.errno for result in error.results] == [0, 0, 0, 0, 0, 2]
        monitor.close()

    workshop.run(test)


def test_steps_after_a_failure_are_not_reached(workshop: Workshop) -> None:
    async def test() -> None:
        step = plans.step
        steps = [step("stdio", "pipe", "none", 0, 0), step("clone3", "", ""), step("setns", "fd:9", "net"),
                 step("session"), step("execve", 1, "/bin/true")]  # fmt: skip
        monitor = await workshop.spawn(plans.encode(steps))
        client = attach(monitor)
        with pytest.raises(StartFailed) as caught:
            await within(monitor.start())
        assert (caught.value.step, caught.value.index) == ("setns", 2)
        assert caught.value.results[3:] == (StepResult(None, 0), StepResult(None, 0))
        assert await client.rest() == b""
        monitor.close()

    workshop.run(test)


def test_a_plan_that_makes_no_sense_is_refused(workshop: Workshop) -> None:
    async def test() -> None:
        for bad in (b"", b"something else\n", plans.MAGIC, plans.MAGIC + b"\xff" * 8, plan("/bin/true")[:-3]):
            monitor = await workshop.spawn(bad)
            with pytest.raises(StartFailed) as caught:
                await within(monitor.start())
            assert caught.value.errno == 22
            monitor.close()

    workshop.run(test)


def test_without_a_start_nothing_stays(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("exit 0"))
        client = attach(monitor)
        monitor.close()
        assert await client.rest() == b""

    workshop.run(test)


def test_a_monitor_that_was_never_contacted_ends(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon may die between the spawn and its first word."""

    async def test() -> None:
        def nobody(directory: int) -> socket.socket:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.close()
            return ours

        monkeypatch.setattr(control, "connect", nobody)
        with pytest.raises(ServerError):
            await workshop.spawn(shell("exit 0"))
        assert workshop.processes()

    workshop.run(test)


def test_nothing_is_left_of_a_spawn_that_fails(workshop: Workshop) -> None:
    async def test() -> None:
        with open("/dev/null") as no_program, pytest.raises(OSError):
            ident = "0" * 64
            await Monitor.spawn(ident, workshop.directory(ident), no_program.fileno(), b"", ())
        assert list(workshop.folder.iterdir()) == []

    before = os.listdir("/proc/self/fd")
    workshop.run(test)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_monitor_shrugs_off_signals(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        (pid,) = workshop.processes()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(pid, number)
        client = attach(monitor)
        await client.send(b"7\n")
        assert (await within(monitor.exited)).code == 7
        ended(monitor)

    workshop.run(test)


def test_the_monitor_is_a_stranger_to_the_daemon(workshop: Workshop) -> None:
    """Another session, another parent, none of the daemon's descriptors; those of the plan are closed at the start."""

    async def test() -> None:
        leaked = os.open("/", os.O_RDONLY)
        os.set_inheritable(leaked, True)
        reader, writer = os.pipe()
        monitor = await workshop.spawn(shell("exec sleep 60"), (reader,))
        (pid,) = workshop.processes()
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert "/" not in opened
        await within(monitor.start())
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert os.readlink(f"/proc/self/fd/{reader}") not in opened
        assert not any("plan" in name for name in opened)
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert int(status[1]) != os.getpid() and int(status[3]) not in (os.getsid(0), pid)
        for fd in (leaked, reader, writer):
            os.close(fd)
        monitor.signal(signal.SIGKILL)
        await within(monitor.exited)
        ended(monitor)

    workshop.run(test)


# -- output -----------------------------------------------------------------------------------------------------------


def test_raw_output_is_what_was_written(workshop: Workshop) -> None:
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
    async def test() -> None:
        monitor = await workshop.spawn(shell("printf hello; read line; printf oops >&2; read line; printf bye"))
        client = attach(monitor, mux=True)
        await within(monitor.start())
        for said in (b"\1\0\0\0\0\0\0\5hello", b"\2\0\0\0\0\0\0\4oops"):
            await client.until(said)
            await client.send(b"\n")
        assert await _finish(monitor, client) == b"\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\4oops\1\0\0\0\0\0\0\3bye"

    workshop.run(test)


async def _finish(monitor: Monitor, client: monitors.Client) -> bytes:
    """Reads until the end, and takes note of the exit meanwhile, as the daemon does. All that the client got."""

    async def daemon() -> None:
        await within(monitor.exited)
        ended(monitor)

    received, _ = await asyncio.gather(client.rest(), daemon())
    return received


BIG = 2_500_000
COUNT = f"{monitors.BUSYBOX} seq 1 400000 | {monitors.BUSYBOX} head -c {BIG}"


@pytest.fixture(scope="module")
def counted() -> bytes:
    return b"".join(b"%d\n" % n for n in range(1, 400001))[:BIG]


@pytest.mark.parametrize("pair", [monitors.unix_pair, monitors.tcp_pair])
def test_much_output_to_many(workshop: Workshop, counted: bytes, pair: Pair) -> None:
    """All get every byte in order: framed and raw, on both kinds of sockets; and so does the log."""

    async def test() -> None:
        monitor = await workshop.spawn(shell(COUNT, log=workshop.log))
        raw, framed = ([attach(monitor, mux=mux, pair=pair) for _ in range(2)] for mux in (False, True))
        await within(monitor.start())
        others = asyncio.gather(raw[1].rest(), *(client.frames() for client in framed))
        assert await _finish(monitor, raw[0]) == counted
        assert await others == [counted, {1: counted}, {1: counted}]

    workshop.run(test)
    logged = "".join(json.loads(line)["log"] for line in workshop.log.read_bytes().splitlines())
    assert logged.encode() == counted


def test_output_without_listeners_is_logged(workshop: Workshop) -> None:
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


def test_output_is_complete_before_the_exit_is_told(workshop: Workshop) -> None:
    """docker-py's test_attach_no_stream: what was written is there when wait answers."""

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


# -- input ------------------------------------------------------------------------------------------------------------


def test_the_end_of_input_ends_a_stdin_that_is_open_once(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("cat; echo done", stdin="once"))
        client = attach(monitor, early=b"early ")
        await within(monitor.start())
        await client.send(b"late\n")
        client.half_close()
        assert await _finish(monitor, client) == b"early late\ndone\n"

    workshop.run(test)


def test_an_open_stdin_takes_one_client_after_the_other(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read a; read b; echo $a $b", stdin="open"))
        first = attach(monitor)
        await first.send(b"one\n")
        first.half_close()
        watcher = attach(monitor, stdin=False)
        second = attach(monitor)
        await second.send(b"two\n")
        assert await _finish(monitor, second) == b"one two\n"
        assert await first.rest() == b"one two\n"  # half-closed, and still served
        assert await watcher.rest() == b"one two\n"

    workshop.run(test)


def test_without_stdin_what_clients_send_is_dropped(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("cat; echo done; read x; echo $?", stdin="none"))
        client = attach(monitor)
        await client.send(b"hello" * 100)
        assert await _finish(monitor, client) in (b"done\n1\n", b"")  # it may have been faster than the attach

    workshop.run(test)


def test_much_input_through_a_slow_reader(workshop: Workshop, counted: bytes) -> None:
    """Input waits in the client's socket while the pipe is full; none is lost, not even the last piece at the end."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("sleep 0.3; cat", stdin="once"))
        client = attach(monitor, early=counted[:60000])
        await within(monitor.start())

        async def feed() -> None:
            await client.send(counted[60000:])
            client.half_close()

        _, received = await asyncio.gather(feed(), _finish(monitor, client))
        assert received == counted

    workshop.run(test)


def test_input_nobody_reads_is_dropped(workshop: Workshop) -> None:
    """`yes | docker run -i busybox true` must end: the container's side of the pipe is closed, the client's is not."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("exec <&-; echo closed; sleep 1; echo done", stdin="open"))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"closed")
        await client.send(b"x" * 2_000_000)
        assert await _finish(monitor, client) == b"closed\ndone\n"

    workshop.run(test)


def test_a_client_that_vanishes_leaves_its_last_words(workshop: Workshop) -> None:
    """It has sent, closed and gone before the container was there to read it."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat", stdin="once"))
        watcher = attach(monitor, stdin=False)
        client = attach(monitor, early=b"last ")
        await client.send(b"words")
        client.close()
        await within(monitor.start())
        assert await _finish(monitor, watcher) == b"last words"

    workshop.run(test)


# -- clients that come, go, stall -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [[b"kept\x10\x11lost"], [b"kept\x10", b"\x11"], [b"ke", b"pt", b"\x10\x11"], [b"k\x10", b"ept\x10\x11"]]
)
def test_detach_keys_end_the_connection_only(workshop: Workshop, pieces: list[bytes]) -> None:
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
        assert await _finish(monitor, watcher) == expected

    workshop.run(test)


def test_half_of_the_detach_keys_is_delivered_at_the_end_of_input(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("cat", stdin="once"))
        client = attach(monitor, detach_keys=b"abc", early=b"xyzab")
        client.half_close()
        await within(monitor.start())
        assert await _finish(monitor, client) == b"xyzab"

    workshop.run(test)


def test_a_stalled_client_is_cut_off_and_the_others_miss_nothing(workshop: Workshop, counted: bytes) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell(COUNT, log=workshop.log))
        stalled = [attach(monitor, mux=n % 2 == 0) for n in range(5)]
        reader = attach(monitor)
        await within(monitor.start())
        began = time.monotonic()
        assert await _finish(monitor, reader) == counted
        assert time.monotonic() - began > monitors.PATIENCE / 1000 * 0.9
        for client in stalled:
            got = await client.rest()
            assert 0 < len(got) < BIG

    workshop.run(test)


def test_a_client_that_pauses_holds_the_container_back_and_misses_nothing(workshop: Workshop, counted: bytes) -> None:
    """As a pipe would; it is not cut off as long as it takes something now and then."""

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT}; echo written >&2"))
        slow, errors = attach(monitor, stderr=False), attach(monitor, stdout=False)
        await within(monitor.start())
        for _ in range(3):
            await asyncio.sleep(monitors.PATIENCE / 1000 * 0.7)
            assert await slow.read(400_000)
        assert not errors.received and monitor.state == "running"
        assert await _finish(monitor, slow) == counted
        assert await errors.rest() == b"written\n"

    workshop.run(test)


def test_a_stalled_client_does_not_hold_up_the_exit_for_long(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT} | head -c 300000", log=workshop.log))
        attach(monitor)
        await within(monitor.start())
        began = time.monotonic()
        assert (await within(monitor.exited)).code == 0
        assert time.monotonic() - began < (monitors.PATIENCE + monitors.FLUSH) / 1000 + 3
        assert sum(len(json.loads(line)["log"]) for line in workshop.log.read_bytes().splitlines()) == 300_000
        ended(monitor)

    workshop.run(test)


def _reset(client: monitors.Client) -> None:
    """Closes a TCP connection with a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("pair", [monitors.unix_pair, monitors.tcp_pair])
def test_clients_that_vanish_are_forgotten(workshop: Workshop, pair: Pair) -> None:
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
        assert await _finish(monitor, steady) == b"".join(b"%d\n" % n for n in range(100))
        assert pid

    workshop.run(test)


def test_clients_that_left_cost_no_descriptor(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(plan(monitors.BUSYBOX, "cat"))
        (pid,) = workshop.processes()
        before = len(os.listdir(f"/proc/{pid}/fd"))
        for _ in range(300):
            attach(monitor).close()
        steady = attach(monitor)
        await steady.send(b"x")
        await steady.until(b"x")
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before + 1, "the descriptors to be closed")
        monitor.signal(signal.SIGKILL)
        assert await _finish(monitor, steady) == b"x"

    workshop.run(test)


def test_too_many_clients_are_turned_away(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(plan(monitors.BUSYBOX, "cat"))
        clients = [attach(monitor) for _ in range(140)]
        for client in clients[128:]:
            assert await client.read() == b""
        await clients[0].send(b"hello")
        for client in clients[:128]:
            await client.until(b"hello")
        monitor.signal(signal.SIGKILL)
        await _finish(monitor, clients[0])

    workshop.run(test)


# -- terminals --------------------------------------------------------------------------------------------------------


def test_a_terminal(workshop: Workshop) -> None:
    async def test() -> None:
        script = "trap 'stty size' WINCH; stty size; while read line || [ $? -gt 1 ]; do echo got:$line; done; echo over"
        monitor = await workshop.spawn(shell(script, tty=True, log=workshop.log))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"24 80\r\n")
        monitor.resize(50, 132)
        await client.until(b"50 132\r\n")
        await client.send(b"hi\n")
        await client.until(b"hi\r\ngot:hi\r\n")
        await client.send(b"\x04")
        assert (await _finish(monitor, client)).endswith(b"over\r\n")
        assert ended(monitor).code == 0

    workshop.run(test)
    entries = [json.loads(line) for line in workshop.log.read_bytes().splitlines()]
    assert {entry["stream"] for entry in entries} == {"stdout"}
    assert entries[-1]["log"] == "over\r\n"


def test_the_end_of_a_clients_input_is_nothing_to_a_terminal(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("read line; echo got:$line", tty=True, stdin="once"))
        first = attach(monitor)
        first.half_close()
        await within(monitor.start())
        second = attach(monitor)
        await second.send(b"x\n")
        assert b"got:x" in await _finish(monitor, second)
        assert b"got:x" in await first.rest()

    workshop.run(test)


def test_all_of_a_terminals_last_output(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell(f"stty -opost; {COUNT}", tty=True))
        client = attach(monitor)
        await within(monitor.start())
        assert len(await _finish(monitor, client)) == BIG

    workshop.run(test)


def test_ctrl_c_reaches_the_foreground(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("echo ready; exec sleep 60", tty=True))
        client = attach(monitor)
        await within(monitor.start())
        await client.until(b"ready")
        await client.send(b"\x03")
        assert (await within(monitor.exited)).signal == signal.SIGINT
        await _finish(monitor, client)

    workshop.run(test)


# -- the end of things ------------------------------------------------------------------------------------------------


def test_a_stray_process_holds_the_exit_up_only_for_a_while(workshop: Workshop) -> None:
    """Its output until then is the container's; a stray that never stops writing does not keep it alive either."""

    async def test() -> None:
        for stray, kept in (("sleep 60", b""), ("sleep 0.2; echo late; sleep 60", b"late\n")):
            monitor = await workshop.spawn(shell(f"({stray}) & echo $!; echo mine", log=workshop.log))
            client = attach(monitor)
            await within(monitor.start())
            began = time.monotonic()
            await within(monitor.exited)
            assert time.monotonic() - began > monitors.DRAIN / 1000 * 0.9
            stray_pid, rest = (await _finish(monitor, client)).split(b"\n", 1)
            assert rest == b"mine\n" + kept
            os.killpg(os.getpgid(int(stray_pid)), signal.SIGKILL)

    workshop.run(test)


def test_a_stray_that_floods(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.spawn(shell("echo $$; yes & echo mine"))
        client = attach(monitor)
        await within(monitor.start())
        received = await _finish(monitor, client)
        assert b"mine\n" in received
        with suppress(ProcessLookupError):  # the pipe it writes to has no reader any more
            os.killpg(int(received.split(b"\n", 1)[0]), signal.SIGKILL)

    workshop.run(test)


def test_strays_are_reaped(workshop: Workshop) -> None:
    """Orphans of a container without a pid namespace come to the monitor, and none stays a zombie."""

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
    """Clients ask for an exec's exit code the moment their connection ends; so it ends after RELEASE, not before."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("exit 5"))
        client = attach(monitor)
        await within(monitor.start())
        await within(monitor.exited)
        with pytest.raises(BlockingIOError):
            client.sock.recv(1)
        monitor.release()
        assert await client.rest() == b""
        assert not await _still_there(workshop, limit=monitors.RELEASE / 1000 / 2)
        ended(monitor)

    workshop.run(test)


async def _still_there(workshop: Workshop, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while workshop.processes() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return bool(workshop.processes())


def test_a_daemon_that_forgets_to_release(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("exit 5"))
        await within(monitor.exited)
        began = time.monotonic()
        assert not await _still_there(workshop, limit=15)
        assert time.monotonic() - began > monitors.RELEASE / 1000 * 0.8
        monitor.close()

    workshop.run(test)


# -- daemons come and go ----------------------------------------------------------------------------------------------


def test_another_daemon_finds_the_container_running(workshop: Workshop) -> None:
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
        assert await _finish(second, another) == b"after\n"
        assert second.exited.result().code == 9

    workshop.run(test)


def test_an_exit_while_no_daemon_is_there(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(plan(monitors.BUSYBOX, "sleep", "60"))
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


def test_two_daemons_at_once_learn_the_same(workshop: Workshop) -> None:
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
    async def test() -> None:
        with pytest.raises(FileNotFoundError):
            await Monitor.adopt("0" * 64, workshop.directory("0" * 64))
        workshop.directory("1" * 64).mkdir()
        with pytest.raises(FileNotFoundError):
            await Monitor.adopt("1" * 64, workshop.directory("1" * 64))

    workshop.run(test)


def test_a_monitor_that_is_killed_is_an_error_and_never_0(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(plan(monitors.BUSYBOX, "sleep", "60"))
        (pid,) = workshop.processes()
        os.kill(pid, signal.SIGKILL)
        end = await within(monitor.exited)
        assert (end.code, end.signal) == (255, 0)
        assert "monitor" in end.error
        monitor.signal(signal.SIGKILL)  # what the engine does by the cgroup
        monitor.close()

    workshop.run(test)


# -- what a broken daemon may send ------------------------------------------------------------------------------------

HEADER = struct.Struct("<4I")


def _raw_connection(directory: Path) -> socket.socket:
    fd = os.open(directory, os.O_PATH)
    try:
        sock = control.connect(fd)
    finally:
        os.close(fd)
    sock.setblocking(True)
    sock.settimeout(monitors.LIMIT)
    message, fds, _, _ = socket.recv_fds(sock, 65536, 4)
    assert HEADER.unpack_from(message)[0] == Kind.STATE
    for fd in fds:
        os.close(fd)
    return sock


MALFORMED = {
    "empty": b"\0",
    "short": b"\1\0\0\0" * 3,
    "length too small": HEADER.pack(Kind.RESIZE, 1, 1, 0) + b"x",
    "length too large": HEADER.pack(Kind.RESIZE, 1, 1, 5) + b"x",
    "length of 4 GiB": HEADER.pack(Kind.RESIZE, 1, 1, 0xFFFFFFFF),
    "unknown type": HEADER.pack(99, 0, 0, 0),
    "a message of the monitor's": HEADER.pack(Kind.EXITED, 0, 0, 0),
    "a second start": HEADER.pack(Kind.START, 0, 0, 0),
    "a release before the exit": HEADER.pack(Kind.RELEASE, 0, 0, 0),
    "a terminal too large": HEADER.pack(Kind.RESIZE, 70000, 1, 0),
    "attach without a socket": HEADER.pack(Kind.ATTACH, 7, 0, 0),
    "larger than a message may be": HEADER.pack(Kind.ATTACH, 7, 0, 70000) + bytes(70000),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_message_ends_its_connection_only(workshop: Workshop, what: str) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        with _raw_connection(workshop.directory(monitor.ident)) as sock:
            sock.send(MALFORMED[what])
            assert sock.recv(100) == b""
        await _proves_alive(monitor)

    workshop.run(test)


async def _proves_alive(monitor: Monitor) -> None:
    client = attach(monitor)
    await client.send(b"11\n")
    assert (await within(monitor.exited)).code == 11
    ended(monitor)


def _attach_with(fds: list[int], flags: int = 7, keys: int = 0, data: bytes = b"") -> tuple[bytes, list[int]]:
    return HEADER.pack(Kind.ATTACH, flags, keys, len(data)) + data, fds


def test_a_malformed_attach_ends_its_connection_and_keeps_no_descriptor(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        (pid,) = workshop.processes()
        before = len(os.listdir(f"/proc/{pid}/fd"))
        reader, writer = os.pipe()
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours, theirs = monitors.unix_pair()
        good = theirs.fileno()
        bad = [
            _attach_with([reader]),
            _attach_with([datagram.fileno()]),
            _attach_with([good], flags=16),
            _attach_with([good], keys=1),
            _attach_with([good], keys=65, data=bytes(65)),
            _attach_with([good], keys=0xFFFFFFFF, data=b"x"),
            (HEADER.pack(Kind.RESIZE, 70000, 1, 0), [good, good, reader, writer]),
        ]
        for packet, fds in bad:
            with _raw_connection(workshop.directory(monitor.ident)) as sock:
                socket.send_fds(sock, [packet], fds)
                assert sock.recv(100) == b""
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before, "the descriptors to be closed")
        for closing in (datagram, ours, theirs):
            closing.close()
        os.close(reader)
        os.close(writer)
        await _proves_alive(monitor)

    workshop.run(test)


def test_any_bytes_at_all(workshop: Workshop) -> None:
    """Messages made by chance, most of them nearly right, on a monitor that waits and on one that runs."""

    async def test() -> None:
        chance = random.Random(20261122)
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        directory = workshop.directory(monitor.ident)
        for _ in range(400):
            kind = chance.choice([*Kind, chance.getrandbits(32)])
            data = chance.randbytes(chance.choice([0, 1, 4, 64, 300]))
            values = [chance.choice([0, 1, 7, 15, 64, len(data), 0xFFFF, 0xFFFFFFFF]) for _ in range(2)]
            length = chance.choice([len(data), len(data), len(data) + 1, 0xFFFFFFFF])
            packet = HEADER.pack(kind, *values, length) + data
            ours, theirs = monitors.unix_pair()
            with _raw_connection(directory) as sock, ours, theirs:
                fds = chance.choice([[], [theirs.fileno()], [theirs.fileno()] * 4])
                socket.send_fds(sock, [packet[: chance.choice([len(packet), chance.randint(1, 20)])]], fds)
                if chance.random() < 0.5:
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
        await _still_itself(monitor)

    workshop.run(test)


async def _still_itself(monitor: Monitor) -> None:
    """Chance may well have attached somebody and typed something; what counts is that it serves us to the end."""
    monitor.signal(signal.SIGKILL)
    assert (await within(monitor.exited)).code == 137
    ended(monitor)


def test_connections_beyond_the_limit_wait(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        directory = workshop.directory(monitor.ident)
        socks = [_raw_connection(directory) for _ in range(7)]
        adopting = asyncio.ensure_future(Monitor.adopt(monitor.ident, directory))
        await asyncio.sleep(0.2)
        assert not adopting.done()
        for sock in socks:
            sock.close()
        (await within(adopting)).close()
        await _proves_alive(monitor)

    workshop.run(test)


def test_an_attach_that_does_not_fit_a_message_is_refused(workshop: Workshop) -> None:
    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        for options in ({"detach_keys": bytes(65)}, {"early": bytes(65536)}):
            with pytest.raises(InvalidArgument):
                attach(monitor, **options)
        await _proves_alive(monitor)

    workshop.run(test)


# -- cost -------------------------------------------------------------------------------------------------------------


def test_a_monitor_is_small(workshop: Workshop, build: Build) -> None:
    """performance.md's bound for the memory that a running container costs. The sanitizers' own does not count."""
    if not build.sanitized:
        workshop.run(lambda: _measure(workshop))


async def _measure(workshop: Workshop) -> None:
    running = [
        await workshop.start(shell(f"{COUNT} | head -c 200000; exec sleep 60", log=workshop.log)) for _ in range(10)
    ]
    await asyncio.sleep(1.5)  # until what the output took has been given back
    sizes = [_pss(pid) for pid in workshop.processes()]
    print("PSS in KiB:", sizes)
    assert len(sizes) == 10
    assert sum(sizes) / len(sizes) <= 150
    for monitor in running:
        monitor.signal(signal.SIGKILL)
        await within(monitor.exited)
        ended(monitor)


def _pss(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
