"""Exec: further processes in a container that runs, each with a monitor of its own.

A session is made, then started (once), and can be asked for its exit code until some time after its end. Sessions
live in memory: a daemon that starts anew knows nothing of older ones, as with Docker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from minidock.engine import bundle, reports
from minidock.engine.attach import Client
from minidock.engine.model import Container, Status
from minidock.engine.networking import links
from minidock.engine.parts import Parts
from minidock.engine.requests import ExecRequest, ExecSession, Hijack
from minidock.engine.restarts import check_not_restarting
from minidock.engine.roots import running_ids, running_root
from minidock.runtime.exit_record import remove_monitor_directory
from minidock.runtime.monitor import Monitor
from minidock.runtime.plan import encode, exec_plan
from minidock.wire import detach, frames, names
from minidock.wire.errors import Conflict, Error, ExecFailed, InvalidArgument, NotFound, StepFailed

log = logging.getLogger(__name__)
_KEPT_SECONDS = 300


class Execs:
    """All exec sessions of this daemon's life."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sessions: dict[str, ExecSession] = {}
        self._monitors: dict[str, Monitor] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, container: Container, request: ExecRequest) -> str:
        """A new session for a running container; nothing runs yet."""
        _check_running(container)
        if not request.cmd or not request.cmd[0]:
            raise InvalidArgument("No exec command specified", "give a command after the container's name")
        if request.working_dir and not request.working_dir.startswith("/"):
            raise InvalidArgument(
                f"the working directory '{request.working_dir}' is invalid, it needs to be an absolute path"
            )
        detach.parse(request.detach_keys)
        self._forget_orphans()
        session = ExecSession(names.new_id(), container.id, request)
        self._sessions[session.id] = session
        self._publish(container, session, "exec_create: " + " ".join(request.cmd))
        return session.id

    def _forget_orphans(self) -> None:
        """Sessions of containers that are gone."""
        for session in list(self._sessions.values()):
            if not session.running and self._parts.containers.get(session.container) is None:
                del self._sessions[session.id]

    def get(self, ident: str) -> ExecSession:
        """A session. Raises NotFound."""
        if ident not in self._sessions:
            raise NotFound(f"No such exec instance: {ident}")
        return self._sessions[ident]

    def of(self, container: Container) -> list[str]:
        """The ids of a container's sessions that run."""
        return [s.id for s in self._sessions.values() if s.container == container.id and s.running]

    def running(self) -> set[str]:
        """The ids of all sessions that run, or are about to."""
        return {session.id for session in self._sessions.values() if session.running}

    async def start(self, ident: str, tty: bool, console_size: tuple[int, ...] | None, hijack: Hijack | None) -> None:
        """Starts it: detached without a ``hijack``, else with the client's connection handed to the monitor.

        Once the connection is upgraded an error can only be told on it; the exit code tells it too (127, 126).
        """
        session = self.get(ident)
        container = self._parts.containers.get(session.container)
        if container is None:
            raise NotFound(f"No such container: {session.container}")
        if session.running or session.exit_code is not None:
            raise Conflict(f"Error: Exec command {ident} has already run")
        _check_running(container)
        session.running = True
        # To its end, also if the caller gives up: a process that has been asked for must find somebody who watches it.
        await asyncio.shield(self._spawn(self._begin(container, session, tty, console_size, hijack)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _begin(
        self, container: Container, session: ExecSession, tty: bool, size: tuple[int, ...] | None, hijack: Hijack | None
    ) -> None:
        try:
            with _telling(hijack, session.request, tty) as client:
                try:
                    await self._start(container, session, tty, size, client)
                except Exception as error:
                    session.exit_code = error.exit_code if isinstance(error, ExecFailed) else 126
                    raise
        finally:
            if session.id not in self._monitors:
                self._ended(session)

    async def capture(self, container: Container, request: ExecRequest, seconds: float, most: int) -> tuple[int, str]:
        """Runs a command to its end: (exit code, its output, cut at ``most`` bytes).

        Raises TimeoutError when it has run for so many seconds, in which its start does not count; it is killed then.
        """
        ident, output, parser = self.create(container, request), bytearray(), frames.FrameParser()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        try:
            await self.start(ident, False, None, _Collected(theirs))
            async with asyncio.timeout(seconds):
                while data := await asyncio.get_running_loop().sock_recv(ours, 1 << 16):
                    for _, payload in parser.feed(data):
                        output += payload[: most + 1 - len(output)]
        except TimeoutError:
            if ident in self._monitors:
                with suppress(ProcessLookupError):
                    self._monitors[ident].signal(9)
            raise
        finally:
            ours.close()
            theirs.close()
        code = self._sessions[ident].exit_code
        text = output[:most].decode(errors="replace") + ("..." if len(output) > most else "")
        return -1 if code is None else code, text

    async def _start(
        self, container: Container, session: ExecSession, tty: bool, size: tuple[int, ...] | None, client: Client | None
    ) -> None:
        parts, directory = self._parts, self._parts.settings.monitor_directory(session.id)
        request = session.request
        pidfd = parts.containers.live(container).running().pidfd
        with ExitStack() as fds:
            root = running_root(container, pidfd)
            fds.callback(os.close, root)
            cgroup = parts.cgroups.path(container.id)
            place = bundle.Place(
                parts.settings,
                parts.images,
                cgroup,
                parts.accounts,
                True,
                links.environment(container, parts.containers),
                running_ids(container),
            )
            plan = exec_plan(bundle.exec_spec(container, request, tty, size or request.console_size, root, place))
            with ExitStack() as undo:
                undo.callback(remove_monitor_directory, directory)
                monitor = await Monitor.spawn(
                    session.id, directory, parts.monitor_binary, encode(plan), [pidfd], parts.cgroups.monitors
                )
                undo.callback(monitor.close)
                if client:
                    client.hand_to(monitor)
                try:
                    await monitor.start()
                except StepFailed as error:
                    raise reports.failure(error, request.cmd[0]) from None
                undo.pop_all()
        session.pid = monitor.pid
        self._monitors[session.id] = monitor
        self._publish(container, session, "exec_start: " + " ".join(request.cmd))
        monitor.on_detach(partial(self._publish, container, session, "exec_detach"))
        self._spawn(self._watch(container, session, monitor))

    async def _watch(self, container: Container, session: ExecSession, monitor: Monitor) -> None:
        """Its end: the exit code is there before the client's connection is closed."""
        ended = await monitor.exited
        session.exit_code = ended.code
        self._publish(container, session, "exec_die", exitCode=str(ended.code))
        del self._monitors[session.id]
        monitor.release()
        monitor.close()
        remove_monitor_directory(self._parts.settings.monitor_directory(session.id))
        self._ended(session)

    def _ended(self, session: ExecSession) -> None:
        session.running = False
        session.pid = 0
        asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._sessions.pop, session.id, None)

    def resize(self, ident: str, rows: int, columns: int) -> None:
        """The client's terminal has another size."""
        session = self.get(ident)
        if ident not in self._monitors:
            raise Conflict(f"exec {session.id} is not running")
        self._monitors[ident].resize(rows, columns)

    def _publish(self, container: Container, session: ExecSession, action: str, **attributes: str) -> None:
        self._parts.events.container(container, action, execID=session.id, **attributes)


@dataclass(frozen=True)
class _Collected:
    """Stands for a client's connection: one end of a socket pair of the daemon's own."""

    sock: socket.socket

    def upgrade(self, multiplexed: bool) -> tuple[socket.socket, bytes]:
        return self.sock, b""


def _check_running(container: Container) -> None:
    if container.state.status is Status.PAUSED:
        raise Conflict(f"Container {container.name} is paused, unpause the container before exec")
    check_not_restarting(container)
    if not container.state.alive:
        raise Conflict(f"container {container.id} is not running")


@contextmanager
def _telling(hijack: Hijack | None, request: ExecRequest, tty: bool) -> Iterator[Client | None]:
    """The client's connection, upgraded; an error in the block is written onto it, as Docker does."""
    if hijack is None:
        yield None
        return
    sock, early = hijack.upgrade(multiplexed=not tty)
    with sock.dup() as ours:
        client = Client(
            sock,
            request.attach_stdin,
            request.attach_stdout,
            request.attach_stderr,
            not tty,
            _keys(request, tty),
            early,
        )
        try:
            yield client
        except Exception as error:
            sock.close()
            _tell(ours, error, tty)
            if not isinstance(error, Error | OSError):
                raise


def _keys(request: ExecRequest, tty: bool) -> bytes:
    """Only a terminal's keys are watched for: in a pipe these bytes are data."""
    return detach.parse(request.detach_keys) if tty else b""


def _tell(sock: socket.socket, error: Exception, tty: bool) -> None:
    """The error as the stream's last words; a client that does not take them at once does without."""
    text = f"{error}\r\n".encode()
    try:
        sock.send(text if tty else frames.frame(frames.STDERR, text))
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.info("exec: the client went before it could be told: %s", error)
