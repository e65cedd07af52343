"""Exec: a further process in a container that runs. Made with one request, started with another.

The terminal of the *start* decides about framing, not that of the create: clients ask for one and expect the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.api.streams import terminal_size
from minidock.engine.codec import decode
from minidock.engine.requests import ExecRequest, ExecSession
from minidock.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


@dataclass(frozen=True)
class StartBody:
    """The body of ``POST /exec/{e}/start``."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, ...] | None = None


async def create(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/exec"""
    wanted = decode(ExecRequest, await request.json())
    if not wanted.cmd:
        raise InvalidArgument("No exec command specified")
    return json_answer({"Id": engine.exec_create(request.name, wanted)}, 201)


async def start(engine: Engine, request: Request) -> Answer | None:
    """POST /exec/{e}/start"""
    engine.exec_inspect(request.name)
    body = decode(StartBody, await request.json())
    size = body.console_size if body.tty else None
    if size is not None and len(size) != 2:
        raise InvalidArgument("invalid ConsoleSize: want [height, width]")
    if body.detach:
        await engine.exec_start(request.name, body.tty, size, None)
        return Answer(200)
    await engine.exec_start(request.name, body.tty, size, request.hijack())
    return None


async def resize(engine: Engine, request: Request) -> Answer:
    """POST /exec/{e}/resize"""
    rows, columns = terminal_size(request)
    engine.exec_resize(request.name, rows, columns)
    return Answer(200)


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /exec/{e}/json"""
    return json_answer(_shown(engine.exec_inspect(request.name)))


def _shown(session: ExecSession) -> dict[str, object]:
    wanted = session.request
    process: dict[str, object] = {
        "tty": wanted.tty,
        "entrypoint": wanted.cmd[0],
        "arguments": list(wanted.cmd[1:]),
        "privileged": wanted.privileged,
    }
    if wanted.user:
        process["user"] = wanted.user
    return {
        "ID": session.id,
        "Running": session.running,
        "ExitCode": session.exit_code,
        "ProcessConfig": process,
        "OpenStdin": wanted.attach_stdin,
        "OpenStderr": wanted.attach_stderr,
        "OpenStdout": wanted.attach_stdout,
        "CanRemove": not session.running and session.exit_code is not None,
        "ContainerID": session.container,
        "DetachKeys": wanted.detach_keys,
        "Pid": session.pid,
    }
