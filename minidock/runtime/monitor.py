"""The daemon's end of a monitor: spawn it or find it again, start the container, hand clients over, learn of the exit.

A monitor (csrc/monitor.c) outlives the daemon. All that connects the two is a Unix socket in the monitor's directory,
so a new daemon can `adopt` what an old one has `spawn`ed, and gets the same object. The exit record in that directory
speaks when no monitor is left to.

Everything runs on the daemon's event loop, without threads: the socket never blocks, and spawning does not fork the
daemon (linux/shim.py). Read next: control.py (the messages), plan.py (what is started), csrc/monitor.c (the other end).
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal as signals
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minidock.linux import poll, shim
from minidock.runtime import control
from minidock.runtime.control import AttachFlag, Kind, Message
from minidock.runtime.exit_record import Exit, lost, read_exit_record
from minidock.runtime.hints import hint
from minidock.runtime.memfd import sealed
from minidock.runtime.plan import MAGIC
from minidock.wire.errors import InvalidArgument, ServerError, StepFailed, Unavailable

State = Literal["waiting", "running", "exited"]
_STATES: tuple[State, ...] = ("waiting", "running", "exited")
_NOT_REACHED = 0xFFFFFFFF
_ANSWER = 5  # seconds for a monitor to say how it stands
_PATIENCE = 0.5  # seconds; the daemon serves nobody meanwhile
_RESULT = struct.Struct("<II")
_STATUS = struct.Struct("<ii")
_COUNT = struct.Struct("<I")


@dataclass(frozen=True)
class StepResult:
    """What came of one step of a plan: ``errno`` is 0 if it was done, None if it was not reached; ``usec`` its time."""

    errno: int | None
    usec: int


class StartFailed(StepFailed):
    """A step of a start failed; ``results`` has one entry for each step of the plan (none if it could not be read)."""

    def __init__(self, step: str, errno: int, path: str, index: int, results: tuple[StepResult, ...]) -> None:
        super().__init__(step, errno, path, index, hint(step, errno))
        self.results = results


class Monitor:
    """A connection to a monitor.

    ``state`` is waiting, running or exited; ``pid`` and ``pidfd`` are those of the container's first process (0 and -1
    before the start); ``exited`` resolves when the container has ended, all its output is with its clients and in its
    log, and the exit record is written. Nothing but `close` ends the connection from this side.
    """

    def __init__(self, ident: str, directory: Path, sock: socket.socket, plan: bytes = b"") -> None:
        self._loop = asyncio.get_running_loop()
        self.ident = ident
        self.state: State = "waiting"
        self.pid = 0
        self.pidfd = -1
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self._directory = directory
        self._sock = sock
        self._plan = plan
        self._detached = 0
        self._tell_detached: Callable[[], None] | None = None
        self._greeted: asyncio.Future[bool] = self._loop.create_future()
        self._outcome: asyncio.Future[tuple[StepResult, ...] | StartFailed | None] = self._loop.create_future()
        self._loop.add_reader(sock, self._readable)

    @classmethod
    async def spawn(
        cls, ident: str, directory: Path, binary: int, plan: bytes, fds: Sequence[int], cgroup: Path | None = None
    ) -> Monitor:
        """A new monitor, waiting for `start`, in the directory of a cgroup (None: the daemon's).

        Makes ``directory`` (0700). ``binary`` is `load_binary`'s; ``fds`` are what the plan calls fd:0, fd:1 …; both
        stay the caller's. Raises OSError, ServerError; nothing is left then.
        """
        first, sock = _launch(ident, directory, binary, plan, fds, cgroup)
        try:
            monitor = cls(ident, directory, sock, plan)
        except BaseException:
            sock.close()
            _exit_status(first)
            _remove(directory)
            raise
        try:
            await _reap(first)
            if not await monitor._greeted:
                raise ServerError(f"spawn monitor of {ident[:12]}: it ended before it answered")
        except BaseException:
            monitor.close()  # which ends the monitor: it has nobody to wait for any more
            _remove(directory)
            raise
        return monitor

    @classmethod
    async def adopt(cls, ident: str, directory: Path) -> Monitor:
        """The monitor that an earlier daemon has spawned.

        Raises FileNotFoundError or ConnectionError if it is gone, Unavailable if it is there and does not answer.
        """
        directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            monitor = cls(ident, directory, control.connect(directory_fd))
        finally:
            os.close(directory_fd)
        try:
            async with asyncio.timeout(_ANSWER):
                greeted = await monitor._greeted
            if not greeted:
                raise ConnectionResetError(f"adopt monitor of {ident[:12]}: it was about to end")
        except TimeoutError:
            monitor.close()
            raise Unavailable(f"adopt monitor of {ident[:12]}: it does not answer") from None
        except BaseException:
            monitor.close()
            raise
        return monitor

    async def start(self) -> tuple[StepResult, ...]:
        """Has the plan carried out; returns when execve has happened. Raises StartFailed, ServerError."""
        self._send(Kind.START)
        outcome = await self._outcome
        if outcome is None:
            raise ServerError(f"start container {self.ident[:12]}: its monitor ended before it answered")
        if isinstance(outcome, StartFailed):
            raise outcome
        return outcome

    def attach(
        self,
        sock: socket.socket,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        mux: bool,
        detach_keys: bytes = b"",
        early: bytes = b"",
        log: bool = False,
    ) -> None:
        """Gives a client's connection to the monitor, and closes our copy.

        ``mux``: output in frames. ``early``: input that came in with the request. Both limits are the message's. What
        the daemon sends on the connection itself has to be sent before. ``log``: what the container's log has comes
        first, and then what is written from now on, without a gap.
        """
        if len(detach_keys) > control.DETACH_MAX:
            raise InvalidArgument(f"detach keys: at most {control.DETACH_MAX} keys")
        if len(detach_keys) + len(early) > control.DATA_MAX:
            raise InvalidArgument(
                f"attach: more than {control.DATA_MAX} bytes of input before the connection is handed over"
            )
        flags = (
            AttachFlag.STDIN * stdin
            | AttachFlag.STDOUT * stdout
            | AttachFlag.STDERR * stderr
            | AttachFlag.FRAMES * mux
            | AttachFlag.LOG * log
        )
        with sock:
            self._send(Kind.ATTACH, flags, len(detach_keys), detach_keys + early, [sock.fileno()])

    def on_detach(self, tell: Callable[[], None]) -> None:
        """``tell`` is called each time that a client leaves by its detach keys; for those that already have, now."""
        self._tell_detached = tell
        for _ in range(self._detached):
            tell()

    def resize(self, rows: int, cols: int) -> None:
        """The size of the container's terminal; without one nothing happens."""
        self._send(Kind.RESIZE, min(max(rows, 0), 0xFFFF), min(max(cols, 0), 0xFFFF))

    def release(self) -> None:
        """The exit has been taken note of: the monitor may close its clients' connections and end."""
        if self.state == "exited":
            self._send(Kind.RELEASE)

    def signal(self, number: int) -> None:
        """Signals the container's first process. Raises ProcessLookupError if there is none any more."""
        if self.pidfd < 0 and self.state == "running":
            raise OSError(errno.EMFILE, "no descriptor of the container's process: too many are open")
        if self.pidfd < 0:
            raise ProcessLookupError(f"container {self.ident[:12]} does not run")
        signals.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Lets go of the monitor; it lives on if its container runs. ``exited`` stays as it is."""
        self._disconnect()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    # -- the connection -----------------------------------------------------------------------------------------------

    def _send(self, kind: Kind, a: int = 0, b: int = 0, data: bytes = b"", fds: Sequence[int] = ()) -> None:
        """A monitor that is gone shows when the connection is read, and nothing is raised here for it.

        One that has a queue of messages still to read gets a moment to do so, since a client's connection would be lost
        otherwise. Raises Unavailable if it doesn't.
        """
        if self._sock.fileno() < 0:
            return
        with suppress(ConnectionError):
            try:
                control.send(self._sock, kind, a, b, data, fds)
            except BlockingIOError:
                if not poll.ready(self._sock.fileno(), poll.WRITABLE, _PATIENCE):
                    raise Unavailable(f"the monitor of {self.ident[:12]} does not take messages") from None
                control.send(self._sock, kind, a, b, data, fds)

    def _disconnect(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _readable(self) -> None:
        try:
            message = control.receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            message = None
        try:
            handled = message is not None and self._handle(message)
        except (ValueError, IndexError, struct.error):
            handled = False
        if not handled:
            self._lost()

    def _handle(self, message: Message) -> bool:
        """Raises ValueError, IndexError or struct.error for a message that no monitor sends."""
        match message.kind:
            case Kind.STATE:
                self._on_state(message)
            case Kind.STARTED:
                self._on_running(message)
                self._resolve(_results(message.data))
            case Kind.FAILED:
                self._resolve(self._failure(message))
            case Kind.EXITED:
                self._on_exited(message.a, message.b)
            case Kind.DETACHED:
                self._on_detached()
            case _:
                raise ValueError(f"message of type {message.kind}")
        return True

    def _on_state(self, message: Message) -> None:
        self.state = _STATES[message.a]
        if self.state == "running":
            self._on_running(message)
        elif self.state == "exited":
            self._on_exited(*_STATUS.unpack(message.data))
        if not self._greeted.done():
            self._greeted.set_result(True)

    def _on_running(self, message: Message) -> None:
        self.state = "running"
        self.pid = message.b
        # None comes when this process has too many descriptors open; the container is none the worse for it.
        self.pidfd = message.fds[0] if message.fds else -1

    def _on_exited(self, code: int, signal: int) -> None:
        record = read_exit_record(self._directory)
        self._ended(Exit(code, signal, record.finished if record else ""))

    def _on_detached(self) -> None:
        self._detached += 1
        if self._tell_detached:
            self._tell_detached()

    def _failure(self, message: Message) -> StartFailed:
        (count,) = _COUNT.unpack_from(message.data)
        end = _COUNT.size + count * _RESULT.size
        detail = message.data[end:].decode(errors="replace")
        results = _results(message.data[_COUNT.size : end])
        return StartFailed(_step_kind(self._plan, message.a), message.b, detail, message.a, results)

    def _resolve(self, outcome: tuple[StepResult, ...] | StartFailed | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _lost(self) -> None:
        """The monitor is gone. Whoever waits for something of it learns so; the exit may be on record."""
        self._disconnect()
        if not self._greeted.done():
            self._greeted.set_result(False)
        self._resolve(None)
        self._ended(read_exit_record(self._directory) or lost())

    def _ended(self, end: Exit) -> None:
        self.state = "exited"
        if not self.exited.done():
            self.exited.set_result(end)


def _launch(
    ident: str, directory: Path, binary: int, plan: bytes, fds: Sequence[int], cgroup: Path | None
) -> tuple[int, socket.socket]:
    """The monitor's directory and socket, our connection to it, and the process: in this order.

    We connect before anybody accepts, so that from the first moment on a monitor has a connection whose end tells it
    that it is not wanted any more. Gives the process to reap, which the monitor forks off, and the connection.
    """
    with ExitStack() as undo, ExitStack() as ours:
        os.mkdir(directory, 0o700)
        undo.callback(_remove, directory)
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        ours.callback(os.close, directory_fd)
        listener = ours.enter_context(control.listen(directory_fd))
        sock = undo.enter_context(control.connect(directory_fd))
        plan_fd = sealed("minidock-plan", plan)
        ours.callback(os.close, plan_fd)
        given = [listener.fileno(), plan_fd, directory_fd, *fds]
        pid = shim.spawn(binary, given, ["minidock-monitor", ident, *([str(cgroup)] if cgroup else [])])
        undo.pop_all()
        return pid, sock


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        (directory / control.NAME).unlink()
    with suppress(FileNotFoundError):
        directory.rmdir()


async def _reap(pid: int) -> None:
    """Waits for the process that was spawned: it forks the monitor and exits. Raises ServerError if it could not."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        _exit_status(pid)  # no descriptor was free; it ends in a moment, and must not stay a zombie
        raise
    dead = asyncio.Event()
    try:
        loop.add_reader(pidfd, dead.set)
        await dead.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        status = _exit_status(pid)
    if status != 0:
        raise ServerError(f"spawn monitor: it ended with status {status}")


def _exit_status(pid: int) -> int:
    """Of a process that is dead, or will be in a moment if we are being cancelled."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _results(data: bytes) -> tuple[StepResult, ...]:
    return tuple(
        StepResult(None if errno == _NOT_REACHED else errno, usec) for errno, usec in _RESULT.iter_unpack(data)
    )


def _step_kind(plan: bytes, index: int) -> str:
    """The kind of a step of an encoded plan (plan.py, encode); `plan` where that can't be told."""
    at, kind = len(MAGIC), b"plan"
    try:
        for _ in range(index + 1):
            (fields,) = _COUNT.unpack_from(plan, at)
            at += _COUNT.size
            for field in range(fields):
                (length,) = _COUNT.unpack_from(plan, at)
                if field == 0:
                    kind = plan[at + _COUNT.size : at + _COUNT.size + length]
                at += _COUNT.size + length + 1
    except struct.error:
        return "plan"
    return kind.decode(errors="replace")
