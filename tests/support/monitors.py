"""Monitors without a daemon: builds of csrc/ with short time limits, plans that are next to nothing, clients to attach.

The plans here use no namespace, no cgroup and no root of their own: what is tested is how a monitor looks after a
process, not what the process is confined by. For tests/root/test_monitor*.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from minidock.runtime import plan as plans
from minidock.runtime.exit_record import Exit
from minidock.runtime.memfd import load_binary
from minidock.runtime.monitor import Monitor
from minidock.wire.frames import FrameParser
from tests.support.busybox import BUSYBOX
from tests.support.sources import TOP
from tests.support.wait import eventually

T = TypeVar("T")

LIMIT = 20.0

# A command with much output, of which every byte tells its place; and its length.
BIG = 2_500_000
COUNT = f"{BUSYBOX} seq 1 400000 | {BUSYBOX} head -c {BIG}"

# Milliseconds. Long enough for a slow machine to do what is asked within them, short enough to wait for.
PATIENCE, FLUSH, DRAIN, RELEASE, CONNECT, STEP = 1000, 2000, 2000, 4000, 4000, 4000
LIMITS = (
    f"-DCLIENT_PATIENCE={PATIENCE} -DFLUSH_PATIENCE={FLUSH} -DDRAIN_LIMIT={DRAIN} "
    f"-DRELEASE_LIMIT={RELEASE} -DCONNECT_LIMIT={CONNECT} -DSTEP_LIMIT={STEP}"
)


@dataclass(frozen=True)
class Build:
    """A build of the monitor: its program in a memfd, and where its sanitizers would complain."""

    binary: int
    reports: Path
    sanitized: bool

    def complaints(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.reports.glob("complaint.*")))


SANITIZERS = "-fsanitize=address,undefined"
# A monitor has no environment, so the options are compiled in. Leaks are not looked for: that takes ptrace, which a
# process that is not dumpable refuses.
OPTIONS = """
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0:log_path=%s/complaint"; }
const char *__ubsan_default_options(void) { return "print_stacktrace=1:log_path=%s/complaint"; }
"""


def build(folder: Path, *, sanitize: bool) -> Build:
    """Compiles csrc/ into the folder, with LIMITS."""
    program = folder / "minidock-monitor"
    make = ["make", "-s", "-j2", "-C", str(TOP / "csrc"), f"OUT={folder}", f"BINARY={program}"]
    if sanitize:
        options = folder / "options.c"
        options.write_text(OPTIONS % (folder, folder))
        subprocess.run(["cc", "-c", "-o", folder / "options.o", options], check=True, timeout=60)
        make += ["SAN=1", f"LINKING={SANITIZERS} {folder}/options.o"]
    optimize = "-O1" if sanitize else "-O2"
    subprocess.run([*make, f"CFLAGS={optimize} -g {LIMITS}"], check=True, timeout=300)
    return Build(load_binary(program), folder, sanitize)


def plan(
    *command: str, stdin: str = "open", tty: bool = False, log: Path | None = None, size: int = 0, files: int = 1
) -> bytes:
    """Runs a command with its stdio held by the monitor, and that is all."""
    step = plans.step
    return plans.encode(
        [
            *([step("log", str(log), size, files)] if log else []),
            step("stdio", "pty" if tty else "pipe", stdin, 24, 80),
            step("clone3", "", ""),
            step("session"),
            *([step("tty")] if tty else []),
            step("signals"),
            step("close_fds"),
            step("execve", len(command), *command),
        ]
    )


def shell(script: str, **options: Any) -> bytes:
    """The same for a busybox shell."""
    return plan(BUSYBOX, "sh", "-c", script, **options)


@dataclass
class Client:
    """Our end of an attached connection."""

    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    was_reset: bool = False

    async def read(self, n: int = 65536) -> bytes:
        """One read; empty at the end of the stream, also if that is a reset."""
        try:
            data = await within(asyncio.get_running_loop().sock_recv(self.sock, n))
        except ConnectionResetError:
            data, self.was_reset = b"", True
        self.received += data
        return data

    async def until(self, wanted: bytes) -> bytes:
        """Reads until these bytes have come; gives all that was read so far."""
        while wanted not in self.received:
            assert await self.read(), f"the connection ended; before it came {bytes(self.received[-200:])!r}"
        return bytes(self.received)

    async def rest(self) -> bytes:
        """Everything until the end of the stream, with what was read before."""
        while await self.read():
            pass
        return bytes(self.received)

    async def frames(self) -> dict[int, bytes]:
        """Everything until the end of the stream, by stream number."""
        streams: dict[int, bytes] = {}
        for stream, data in FrameParser().feed(await self.rest()):
            streams[stream] = streams.get(stream, b"") + data
        return streams

    async def send(self, data: bytes) -> None:
        await within(asyncio.get_running_loop().sock_sendall(self.sock, data))

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def small_pair() -> tuple[socket.socket, socket.socket]:
    """Holds a few KiB only, so that the monitor has to keep most of a chunk."""
    theirs, ours = unix_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return theirs, ours


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    return ours, theirs


def attach(
    monitor: Monitor,
    *,
    stdin: bool = True,
    stdout: bool = True,
    stderr: bool = True,
    mux: bool = False,
    pair: Callable[[], tuple[socket.socket, socket.socket]] = unix_pair,
    detach_keys: bytes = b"",
    early: bytes = b"",
    log: bool = False,
) -> Client:
    """A new connection, one end with the monitor."""
    theirs, ours = pair()
    ours.setblocking(False)
    monitor.attach(
        theirs, stdin=stdin, stdout=stdout, stderr=stderr, mux=mux, detach_keys=detach_keys, early=early, log=log
    )
    return Client(ours)


def ended(monitor: Monitor) -> Exit:
    """Takes note of the exit as the daemon does."""
    monitor.release()
    monitor.close()
    return monitor.exited.result()


async def finish(monitor: Monitor, client: Client) -> bytes:
    """Reads until the end, and takes note of the exit meanwhile, as the daemon does. All that the client got."""

    async def daemon() -> None:
        await within(monitor.exited)
        ended(monitor)

    received, _ = await asyncio.gather(client.rest(), daemon())
    return received


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def within(coming: Awaitable[T], limit: float = LIMIT) -> T:
    return await asyncio.wait_for(coming, limit)


@dataclass
class Workshop:
    """What a test of monitors has: a build, a folder, and a check that no monitor stays behind."""

    build: Build
    folder: Path
    idents: list[str] = field(default_factory=list)

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(asyncio.wait_for(test(), 100))

    def directory(self, ident: str) -> Path:
        return self.folder / ident

    @property
    def log(self) -> Path:
        return self.folder / "container.log"

    async def spawn(self, plan: bytes, fds: tuple[int, ...] = (), cgroup: Path | None = None) -> Monitor:
        ident = os.urandom(32).hex()
        self.idents.append(ident)
        return await within(Monitor.spawn(ident, self.directory(ident), self.build.binary, plan, fds, cgroup))

    async def start(self, plan: bytes) -> Monitor:
        monitor = await self.spawn(plan)
        await within(monitor.start())
        return monitor

    def processes(self) -> list[int]:
        """The monitors of this test that live."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    async def cpu_time(self, seconds: float) -> float:
        """What the only monitor of this test uses of the processor, in seconds, while nothing else is done."""
        (pid,) = self.processes()
        before = cpu_seconds(pid)
        await asyncio.sleep(seconds)
        return cpu_seconds(pid) - before

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return len(words) > 1 and words[1].decode(errors="replace") in self.idents

    def check(self) -> None:
        """Every monitor has ended, and the sanitizers have nothing to say."""
        try:
            eventually(lambda: not self.processes(), "the monitors to end")
            assert not self.build.complaints()
        finally:
            self._kill()

    def _kill(self) -> None:
        """After a test that failed: its monitors and what they started."""
        for monitor in self.processes():
            children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
            for pid in [*map(int, children), monitor]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
