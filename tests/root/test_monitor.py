"""The monitor at work: the start and the exit, what it holds and what it costs.

Each test runs with the monitor as it is built for use and as it is built with sanitizers, both with short time limits.
See: csrc/monitor.c. Read next: test_monitor_end.py, test_monitor_streams.py, test_monitor_clients.py.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.runtime import control
from minidock.runtime import plan as plans
from minidock.runtime.exit_record import read_exit_record
from minidock.runtime.monitor import Monitor, StartFailed, StepResult
from minidock.wire.errors import ServerError
from tests.support.busybox import BUSYBOX
from tests.support.figures import Figure
from tests.support.monitors import COUNT, Build, Workshop, attach, ended, finish, plan, shell, within
from tests.support.needs import cgroup2_mount
from tests.support.wait import eventually

PSS_LIMIT = 150_000 / 1024  # KiB of PSS
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


# -- start and exit ---------------------------------------------------------------------------------------------------


def test_start_and_exit(workshop: Workshop) -> None:
    """Seen to fail where the exit code is the status that waitpid gave, and where no exit record is written."""

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
    """Seen to fail where the exit code is the status that waitpid gave."""

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
    """Seen to fail where the code is the signal alone."""

    async def test() -> None:
        monitor = await workshop.start(plan(BUSYBOX, "sleep", "60"))
        monitor.signal(number)
        end = await within(monitor.exited)
        assert (end.code, end.signal) == (128 + number, number)
        with pytest.raises(ProcessLookupError):
            monitor.signal(number)
        ended(monitor)

    workshop.run(test)


def test_a_step_that_fails_is_named(workshop: Workshop) -> None:
    """Seen to fail where FAILED comes without its detail."""

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
    """Seen to fail where the errno stands at the last step."""

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


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Whoever opens or executes the file has to wait for us, as for a file server that does not answer.

    See: fcntl(2), leases. The kernel ends one after fs.lease-break-time, 45 s.
    """
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the holder is told that somebody waits
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


def test_a_step_that_hangs_is_given_up(workshop: Workshop) -> None:
    """Named with its path; its process is gone, and so is the monitor. One that only takes its time is waited for.

    Seen to fail where the wait for the child has no limit: no answer.
    """
    program = workshop.folder / "true"
    shutil.copy(BUSYBOX, program)

    async def test() -> None:
        with _held(program):
            monitor = await workshop.spawn(plan(str(program)))
            with pytest.raises(StartFailed) as caught:
                await within(monitor.start(), 60)
        failure = caught.value
        assert (failure.step, failure.errno, failure.path) == ("execve", errno.ETIMEDOUT, str(program))
        assert "does a network or FUSE file system not answer" in str(failure)
        eventually(lambda: not workshop.processes(), "the monitor to end")
        program.open("ab").close()  # nobody executes it: else this were ETXTBSY
        with _held(program):
            monitor = await workshop.spawn(plan(str(program)))
            starting = asyncio.ensure_future(monitor.start())
            await asyncio.sleep(0.2)
        await within(starting)
        await within(monitor.exited)
        assert ended(monitor).code == 0

    workshop.run(test)


def test_who_is_about_to_become_the_program_holds_nothing_of_the_monitors(workshop: Workshop) -> None:
    """CVE-2016-9962: a container with CAP_SYS_PTRACE may look into whoever joins it, before close-on-exec has done
    anything. What is open there may be no way to the host: pipes, the report's socket, what the plan was given.

    Seen to fail where the child keeps what it was born with: the monitor's directory, sockets, event loop and log.
    """
    program = workshop.folder / "true"
    shutil.copy(BUSYBOX, program)

    async def test() -> None:
        with _held(program):
            given = os.open("/proc/self/ns/net", os.O_RDONLY)
            monitor = await workshop.spawn(plan(str(program), log=workshop.log), (given,))
            os.close(given)
            client = attach(monitor)
            starting = asyncio.ensure_future(monitor.start())
            child = await _child(workshop)
            kinds = sorted(os.readlink(path).partition(":")[0] for path in Path(f"/proc/{child}/fd").iterdir())
            maps = Path(f"/proc/{child}/maps").read_text()
        await within(starting)
        await within(monitor.exited)
        ended(monitor)
        client.close()
        assert kinds == ["net", "pipe", "pipe", "pipe", "socket"]
        # Shared, it is refused by kernels before 6.7 that did not get the mend: the plan is sealed against writing.
        assert re.findall(r" (r\S+) .*/memfd:minidock-plan", maps) == ["r--p"]

    workshop.run(test)


async def _child(workshop: Workshop) -> int:
    """Of the only monitor, once it ignores no signal any more: nearly all steps are done then."""
    while True:
        for pid in workshop.processes():
            if re.search(r"SigIgn:\t0+\n", Path(f"/proc/{pid}/status").read_text()):
                return pid
        await asyncio.sleep(0.01)


def test_a_plan_that_makes_no_sense_is_refused(workshop: Workshop) -> None:
    """Seen to fail where a refusal has another errno than EINVAL."""

    async def test() -> None:
        for bad in (b"", b"something else\n", plans.MAGIC, plans.MAGIC + b"\xff" * 8, plan("/bin/true")[:-3]):
            monitor = await workshop.spawn(bad)
            with pytest.raises(StartFailed) as caught:
                await within(monitor.start())
            assert caught.value.errno == 22
            monitor.close()

    workshop.run(test)


def test_without_a_start_nothing_stays(workshop: Workshop) -> None:
    """Seen to fail where a monitor waits on when its last connection has gone."""

    async def test() -> None:
        monitor = await workshop.spawn(shell("exit 0"))
        client = attach(monitor)
        monitor.close()
        assert await client.rest() == b""

    workshop.run(test)


def test_a_monitor_that_was_never_contacted_ends(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon may die between the spawn and its first word.

    Seen to fail where a monitor waits without a limit.
    """

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
    """Seen to fail where a spawn that fails leaves its directory."""

    async def test() -> None:
        with open("/dev/null") as no_program, pytest.raises(OSError):
            ident = "0" * 64
            await Monitor.spawn(ident, workshop.directory(ident), no_program.fileno(), b"", ())
        assert list(workshop.folder.iterdir()) == []

    before = os.listdir("/proc/self/fd")
    workshop.run(test)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_the_monitor_shrugs_off_signals(workshop: Workshop) -> None:
    """Seen to fail where no signal is ignored."""

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
    """Another session, another parent, none of the daemon's descriptors; those of the plan are closed at the start.

    Seen to fail where the descriptors of the plan stay open.
    """

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


def test_the_containers_standing_with_the_oom_killer_is_the_daemons(workshop: Workshop) -> None:
    """The monitor protects itself from it where it may; what it starts does not inherit that.

    Seen to fail where the monitor changes its own before the start.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell("cat /proc/self/oom_score_adj"))
        client = attach(monitor)
        await within(monitor.start())
        assert await finish(monitor, client) == Path("/proc/self/oom_score_adj").read_bytes()

    workshop.run(test)


def test_a_life_leaves_no_descriptor_in_the_daemon(workshop: Workshop) -> None:
    """Seen to fail where `close` keeps the pidfd."""

    async def life(command: str) -> None:
        monitor = await workshop.spawn(plan(command, "sh", "-c", "echo hello", log=workshop.log))
        client = attach(monitor, stdin=False)
        try:
            await within(monitor.start())
            await finish(monitor, client)
        except StartFailed:
            monitor.close()
        client.close()

    async def test() -> None:
        await life(BUSYBOX)  # the event loop's own come with the first
        before = len(os.listdir("/proc/self/fd"))
        for command in (BUSYBOX, "/nowhere", BUSYBOX):
            await life(command)
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors to be closed")

    workshop.run(test)


@pytest.mark.cgroup2
def test_a_monitor_is_born_in_its_cgroup(workshop: Workshop) -> None:
    """Seen to fail where the fork comes without CLONE_INTO_CGROUP."""
    mount = cgroup2_mount()
    assert mount
    cgroup = mount / f"minidock-test-{os.urandom(4).hex()}"

    async def test() -> None:
        with pytest.raises(ServerError):
            await workshop.spawn(shell("true"), cgroup=cgroup)  # which is not there yet
        assert list(workshop.folder.iterdir()) == []
        cgroup.mkdir()
        monitor = await workshop.spawn(shell("cat /proc/self/cgroup"), cgroup=cgroup)
        (pid,) = workshop.processes()
        assert f"0::/{cgroup.name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        monitor.close()

    try:
        workshop.run(test)
        eventually(lambda: not workshop.processes(), "the monitor to end")
    finally:
        if cgroup.exists():
            cgroup.rmdir()


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_monitor_is_small(workshop: Workshop, build: Build, figure: Figure) -> None:
    """The bound of 0.15 MB for what a running container costs, also with a client. The sanitizers' own does not count.

    Seen to fail where the memory that output took is not given back.
    """
    if not build.sanitized:
        workshop.run(lambda: _measure(workshop, figure))


async def _measure(workshop: Workshop, figure: Figure) -> None:
    running = [
        await workshop.start(shell(f"{COUNT} | head -c 200000; exec sleep 60", log=workshop.log)) for _ in range(10)
    ]
    alone = await _mean_pss(workshop)
    clients = [attach(monitor) for monitor in running]
    for client in clients:
        await client.send(b"typed")
    attached = await _mean_pss(workshop)
    assert alone <= PSS_LIMIT and attached <= PSS_LIMIT
    figure("memory of a monitor, of ten", "0.15 MB PSS at most", f"{alone:.0f} KiB, {attached:.0f} with a client")
    for monitor in running:
        monitor.signal(signal.SIGKILL)
        await within(monitor.exited)
        ended(monitor)


async def _mean_pss(workshop: Workshop) -> float:
    """In KiB, when what passed through has been given back; at the latest after some seconds."""
    sizes = []
    for _ in range(20):
        await asyncio.sleep(0.5)
        sizes = [_pss(pid) for pid in workshop.processes()]
        if sum(sizes) <= PSS_LIMIT * len(sizes):
            break
    assert len(sizes) == 10
    return sum(sizes) / len(sizes)


def _pss(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
