"""What the API asks of the engine, and what it gets: the types at that border.

The API's handlers parse JSON and query strings into these, and write what comes back as Docker's JSON. A ``Hijack`` is
a client's connection that stops being HTTP: the engine hands its socket to the container's monitor.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, Protocol

from minidock.engine.config import Config, HostConfig


@dataclass(frozen=True)
class CreateRequest:
    """The body and the query of ``POST /containers/create``. ``networks``: name → endpoint settings as given.

    ``build``: the id of the build that it is a step of.
    """

    config: Config
    host: HostConfig
    name: str = ""
    networks: dict[str, Any] = field(default_factory=dict)
    platform: str = ""
    build: str = ""


@dataclass(frozen=True)
class Created:
    """The answer: the new id, and what could not be done as asked."""

    id: str
    warnings: tuple[str, ...] = ()


class Hijack(Protocol):
    """A client's connection, ready to be taken over."""

    def upgrade(self, multiplexed: bool) -> tuple[socket.socket, bytes]:
        """Answers 101 (200 without an Upgrade header) and gives up the connection.

        Returns the non-blocking socket, which now belongs to the caller, and what the client sent early. Does not
        block and does not await, so that whatever the caller does next comes before any other request.
        """


@dataclass(frozen=True)
class AttachRequest:
    """The query of ``POST /containers/{id}/attach``. ``detach_keys``: the bytes, empty for none.

    ``logs``: what it has said so far comes first. ``raw``: without frames, also where there is no terminal.
    """

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    logs: bool = False
    stream: bool = True
    detach_keys: bytes = b""
    raw: bool = False


@dataclass(frozen=True)
class ExecRequest:
    """The body of ``POST /containers/{id}/exec``."""

    cmd: tuple[str, ...] = ()
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, ...] | None = None


@dataclass
class ExecSession:
    """An exec, from create until some minutes after its end. ``exit_code`` is None until it has ended."""

    id: str
    container: str
    request: ExecRequest
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


@dataclass(frozen=True)
class LogRequest:
    """The query of ``GET /containers/{id}/logs``. Times in nanoseconds, 0 for no bound; ``tail`` None for all."""

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    timestamps: bool = False
    since: int = 0
    until: int = 0
    tail: int | None = None


@dataclass(frozen=True)
class LogEntry:
    """One piece of output: its stream (1 stdout, 2 stderr), its time in nanoseconds and its bytes."""

    stream: int
    time: int
    data: bytes


@dataclass(frozen=True)
class WaitResult:
    """How a wait ended: the exit code, and what went wrong with a removal."""

    status_code: int
    error: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened. ``type`` container, image, network, volume; ``action`` with Docker's words."""

    type: str
    action: str
    id: str
    attributes: dict[str, str]
    time: int


@dataclass(frozen=True)
class StepReport:
    """One step of a plan: its kind, its fields, one line for people; and how it went, None where it did not."""

    kind: str
    fields: tuple[str, ...]
    text: str
    errno: int | None = None
    usec: int | None = None


@dataclass(frozen=True)
class Top:
    """``GET /containers/{id}/top``: titles and rows of ps(1)."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class VolumeRecord:
    """A named or anonymous volume."""

    name: str
    mountpoint: str
    created: int
    labels: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False


@dataclass(frozen=True)
class SystemInfo:
    """``GET /info`` and ``GET /version``: what the daemon knows of itself and its host."""

    id: str
    containers: dict[str, int]
    images: int
    driver_status: tuple[tuple[str, str], ...]
    cgroup_driver: str
    warnings: tuple[str, ...]
    security_options: tuple[str, ...]
    kernel_version: str
    operating_system: str
    architecture: str
    ncpu: int
    mem_total: int
    root_dir: str
    name: str
    mirrors: tuple[str, ...]
    insecure_registries: tuple[str, ...]
    started_at: int
