"""An engine that does nothing, for tests of the server: real records and errors, containers that are only words.

It stands behind the real server (support: harness.py). Names say what they are: ``web`` runs, ``tty`` runs with a
terminal, ``old`` has exited with 3, ``fresh`` is created. Calls are noted in ``calls``.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from minidock.cgroup.stats import Stats
from minidock.engine.config import Config, HostConfig, LogConfig
from minidock.engine.events import Events
from minidock.engine.housekeeping import ImageUse
from minidock.engine.model import Container, Definition, EndpointRecord, MountPoint, State, Status
from minidock.engine.networking.links import Shown
from minidock.engine.networking.requests import NetworkRecord, NetworkRequest, check
from minidock.engine.requests import (
    AttachRequest,
    Created,
    CreateRequest,
    ExecRequest,
    ExecSession,
    Hijack,
    LogEntry,
    LogRequest,
    StepReport,
    SystemInfo,
    Top,
    VolumeRecord,
    WaitResult,
)
from minidock.engine.statistics import Sample
from minidock.image.model import Auth, Found, History, Image, ImageConfig, Removed
from minidock.image.progress import Progress, ProgressLine
from minidock.wire import frames, times
from minidock.wire.errors import Conflict, ExecFailed, Forbidden, InvalidArgument, NotFound, NotModified

IMAGE = "sha256:" + "a" * 64
NETWORK = "b" * 64
WEB, TTY, OLD, FRESH = (digit * 64 for digit in "1234")
BORN = 1_795_300_000_123_456_789


def container(ident: str, name: str, state: State, **config: Any) -> Container:
    """A container of the image ``busybox``."""
    definition = Definition(
        image_id=IMAGE,
        config=Config(image="busybox", hostname=ident[:12], cmd=("sh", "-c", "exit 3"), **config),
        host=HostConfig(network_mode="bridge", log_config=LogConfig("json-file")),
        mounts=(MountPoint("volume", "/v/data/_data", "/data", "data", "local", "z"),),
        path="sh",
        args=("-c", "exit 3"),
    )
    return Container(ident, name, BORN, definition, state)


class Networks:
    """The three that are always there, and en, which has a container."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note

    def all(self) -> list[NetworkRecord]:
        return [
            NetworkRecord(NETWORK, "bridge", "bridge", "172.30.0.0/16", "172.30.0.1", "minidock0"),
            NetworkRecord("8" * 64, "host", "host"),
            NetworkRecord("9" * 64, "none", "null"),
            NetworkRecord("e" * 64, "en", "bridge", "10.1.0.0/16", "10.1.0.1", "br-en", BORN, labels={"of": "us"}),
        ]

    def find(self, reference: str) -> NetworkRecord:
        for network in self.all():
            if network.name == reference or network.id.startswith(reference):
                return network
        raise NotFound(f"network {reference} not found")

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        self._note("network create", request)
        check(request)
        return self.all()[-1]

    async def remove(self, reference: str) -> None:
        if self.find(reference).predefined:
            raise Forbidden(f"{reference} is a pre-defined network and cannot be removed")
        self._note("network rm", reference)

    async def prune(self, wanted: Callable[[NetworkRecord], bool]) -> list[str]:
        return [network.name for network in self.all() if not network.predefined and wanted(network)]


class Endpoints:
    """web is on en; what is asked for is noted."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def members(self, network: NetworkRecord) -> dict[str, Any]:
        web = self._engine.container("web")
        endpoint = web.state.endpoint
        return {WEB: (web, endpoint)} if network.name in ("bridge", "en") else {}

    async def connect(self, network: str, name: str, settings: Any) -> None:
        self._engine.note("connect", network, self._engine.container(name).name, settings)

    async def disconnect(self, network: str, name: str, force: bool) -> None:
        self._engine.note("disconnect", network, self._engine.container(name).name, force)


class Images:
    """One image, busybox, which has a second name."""

    layers_dir = Path("/var/lib/minidock/layers")

    def __init__(self) -> None:
        config = ImageConfig(env=("PATH=/bin",), cmd=("sh",), labels={"maker": "us"})
        history = (History("2026-01-01T00:00:00Z", "ADD rootfs"), History(created_by="CMD sh", empty_layer=True))
        self.busybox = Image(
            IMAGE, ("busybox:latest", "127.0.0.1:5000/team/tool:1"), ("busybox@sha256:" + "c" * 64,),
            "2026-01-01T00:00:00Z", 1984399, "amd64", diff_ids=("sha256:" + "d" * 64,), config=config, history=history,
        )  # fmt: skip

    def resolve(self, name: str) -> Image:
        if name in (IMAGE, "busybox", *self.busybox.tags):
            return self.busybox
        raise NotFound(f"No such image: {name if ':' in name.rpartition('/')[2] else name + ':latest'}")

    def of_container(self, ident: str) -> Image:
        return self.resolve(ident)

    def list(self) -> builtins.list[Image]:
        return [self.busybox]

    def lowers(self, image: Image) -> builtins.list[str]:
        return ["e" * 64 + "/diff"]

    def layer_sizes(self, image: Image) -> tuple[int, ...]:
        return (image.size,)

    def line(self, image: Image) -> builtins.list[str]:
        return [image.id]


class Volumes:
    """A volume ``data`` that is in use."""

    def all(self) -> list[VolumeRecord]:
        return [self.get("data")]

    def get(self, name: str) -> VolumeRecord:
        if name != "data":
            raise NotFound(f"get {name}: no such volume")
        return VolumeRecord("data", "/v/data/_data", BORN, {})

    def create(self, name: str, labels: dict[str, str], _: bool | None, options: dict[str, str]) -> VolumeRecord:
        return VolumeRecord(name or "f" * 64, f"/v/{name}/_data", BORN, labels, options)

    def remove(self, name: str, force: bool) -> None:
        if self.get(name):
            raise Conflict(f"remove {name}: volume is in use - [{WEB}]")


class Distribution:
    """Registries: all tags come as one image does; a search knows one tool."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    async def pull_all(self, reference: str, auth: Auth | None, progress: Progress) -> list[Image]:
        self._engine.note("all tags")
        return [await self._engine.pull(reference, auth, progress)]

    async def search(self, term: str, limit: int, auth: Auth | None, fits: Callable[[Found], bool]) -> list[Found]:
        self._engine.note("search", term, limit, auth)
        return [one for one in (Found("tool", "A tool", 12, official=True), Found("me/tool")) if fits(one)]


class Upkeep:
    """Stands for engine.updates, .statistics and .housekeeping."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    async def update(self, reference: str, wish: HostConfig) -> list[str]:
        self._engine.note("update", self._engine.container(reference).name, wish.cpu_shares)
        return []

    async def sample(self, one: Container) -> Sample:
        if not one.state.alive:
            return Sample()
        return Sample(BORN, Stats(7, 7, 0, 0, 0, 0, None, None, {}, 1, None, None), 9, 2)

    async def prune_containers(self, fits: Callable[[Container], bool]) -> tuple[list[str], int]:
        return [one.id for one in self._engine.list if not one.state.up and fits(one)], 12

    async def prune_images(self, fits: Callable[[Image], bool]) -> tuple[list[Removed], int]:
        return [Removed(deleted=one.id) for one in self._engine.images.list() if fits(one)], 0

    def images(self) -> tuple[int, list[ImageUse]]:
        return 1984399, [ImageUse(one, 0, 4) for one in self._engine.images.list()]


class FakeEngine:
    """What the API calls."""

    def __init__(self) -> None:
        now = times.now()
        endpoint = EndpointRecord("bridge", NETWORK, "9" * 64, "172.30.0.1", "172.30.0.2", 16, "02:42:ac:1e:00:02")
        running = State(Status.RUNNING, pid=4242, started_at=now - 3 * times.SECOND, endpoints={"bridge": endpoint})
        self.list = [
            container(FRESH, "fresh", State()),
            container(OLD, "old", State(Status.EXITED, exit_code=3, started_at=now - 9, finished_at=now - 5)),
            container(TTY, "tty", running, tty=True, open_stdin=True),
            container(WEB, "web", running, labels={"a": "b"}, exposed_ports={"80/tcp": {}}, open_stdin=True),
        ]
        self.images, self.volumes, self.events = Images(), Volumes(), Events()
        self.updates = self.statistics = self.housekeeping = Upkeep(self)
        self.calls: list[tuple[Any, ...]] = []
        self.networks, self.endpoints, self.distribution = Networks(self.note), Endpoints(self), Distribution(self)
        self.connections = self.endpoints
        self.waits: list[asyncio.Future[WaitResult]] = []
        self.gate = threading.Event()  # what a slow call waits for
        self.log = [LogEntry(1, BORN, b"out\n"), LogEntry(2, BORN + 1, b"err\n")]
        self.following: set[str] = set()
        self.more_log: asyncio.Queue[LogEntry] = asyncio.Queue()
        self.sessions: dict[str, ExecSession] = {}
        self.pull_lines: list[ProgressLine | Exception] = [ProgressLine("Pulling from library/busybox", "latest")]
        self.received = b""

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    # Containers

    def container(self, reference: str) -> Container:
        for one in self.list:
            if reference == one.name or one.id.startswith(reference):
                return one
        raise NotFound(f"No such container: {reference}")

    def containers(self) -> list[Container]:
        return list(self.list)

    async def create(self, request: CreateRequest) -> Created:
        self.note("create", request)
        if request.config.image == "explode":
            raise ZeroDivisionError("a bug")
        self.images.resolve(request.config.image)
        return Created("5" * 64, ("a limit was discarded",) if request.host.memory else ())

    async def start(self, reference: str) -> None:
        self.note("start", reference)
        one = self.container(reference)
        if one.state.alive:
            raise NotModified("it runs")
        if one.name == "old":
            raise ExecFailed("/nosuchbin", 2)

    async def stop(self, reference: str, timeout: int | None, signal: str) -> None:
        self.note("stop", self.container(reference).name, timeout, signal)
        if not self.container(reference).state.alive:
            raise NotModified("it is stopped")
        await asyncio.to_thread(self.gate.wait, 5)

    async def restart(self, reference: str, timeout: int | None, signal: str) -> None:
        self.note("restart", self.container(reference).name, timeout, signal)

    async def kill(self, reference: str, signal: str) -> None:
        self.note("kill", self.container(reference).name, signal)
        if not self.container(reference).state.alive:
            raise Conflict(f"cannot kill container: {reference}: container {OLD} is not running")

    async def pause(self, reference: str) -> None:
        self.note("pause", self.container(reference).name)

    async def unpause(self, reference: str) -> None:
        self.note("unpause", self.container(reference).name)

    async def rename(self, reference: str, name: str) -> None:
        self.note("rename", self.container(reference).name, name)

    async def remove(self, reference: str, force: bool, volumes: bool) -> None:
        self.note("remove", self.container(reference).name, force, volumes)

    async def top(self, reference: str, ps_args: str) -> Top:
        self.note("top", self.container(reference).name, ps_args)
        return Top(("PID", "CMD"), (("4242", "sleep 60"),))

    async def sizes(self, reference: str) -> tuple[int, int]:
        return 12, 1984411

    def links_of(self, container: Container) -> Shown:
        return Shown(None, {})

    def apparmor_of(self, _: Container) -> str:
        return ""

    def directory(self, one: Container) -> Path:
        return Path("/var/lib/minidock/containers") / one.id

    def log_path(self, one: Container) -> Path:
        return self.directory(one) / f"{one.id}-json.log"

    # Streams

    def wait(self, reference: str, condition: str) -> asyncio.Future[WaitResult]:
        if condition not in ("not-running", "next-exit", "removed"):
            raise InvalidArgument(f'invalid condition: "{condition}"')
        self.note("wait", self.container(reference).name, condition)
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        self.waits.append(future)
        return future

    def attach(self, reference: str, request: AttachRequest, hijack: Hijack) -> None:
        one = self.container(reference)
        framed = not one.config.tty and not request.raw
        self.note("attach", one.name, request)
        sock, early = hijack.upgrade(multiplexed=framed)
        self.attached = sock
        self._echo(sock, early, framed)

    def hang_up(self) -> None:
        """What a monitor does when its container has ended."""
        self.attached.shutdown(socket.SHUT_RDWR)

    def _echo(self, sock: socket.socket, early: bytes, framed: bool) -> None:
        """Stands for a monitor: says back what it hears, and ``bye`` at the end of input."""
        sock.setblocking(True)
        wrap: Callable[[bytes], bytes] = (lambda data: frames.frame(1, data)) if framed else bytes

        def serve() -> None:
            with sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                data = early or sock.recv(65536)
                while data:
                    sock.sendall(wrap(data))
                    data = sock.recv(65536)
                sock.sendall(wrap(b"bye"))

        threading.Thread(target=serve, daemon=True).start()

    def resize(self, reference: str, rows: int, columns: int) -> None:
        self.note("resize", self.container(reference).name, rows, columns)

    def logs(self, reference: str, request: LogRequest) -> AsyncIterator[LogEntry]:
        if not (request.stdout or request.stderr):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        self.note("logs", self.container(reference).name, request)
        return self._logs(reference, request)

    async def _logs(self, reference: str, request: LogRequest) -> AsyncIterator[LogEntry]:
        self.following.add(reference)
        try:
            for entry in self.log:
                yield entry
            while request.follow:
                yield await self.more_log.get()
        finally:
            self.following.discard(reference)

    # Exec

    def exec_create(self, reference: str, request: ExecRequest) -> str:
        one = self.container(reference)
        ident = f"{len(self.sessions) + 6:064x}"
        self.sessions[ident] = ExecSession(ident, one.id, request)
        return ident

    def exec_inspect(self, ident: str) -> ExecSession:
        if ident not in self.sessions:
            raise NotFound(f"No such exec instance: {ident}")
        return self.sessions[ident]

    def execs_of(self, one: Container) -> list[str]:
        return [s.id for s in self.sessions.values() if s.container == one.id and s.running]

    async def exec_start(self, ident: str, tty: bool, size: tuple[int, ...] | None, hijack: Hijack | None) -> None:
        session = self.exec_inspect(ident)
        self.note("exec_start", tty, size, hijack is not None)
        if session.request.cmd == ("bad",):
            raise Conflict(f"container {session.container} is not running")
        if hijack:
            self._echo(*hijack.upgrade(multiplexed=not tty), not tty)
        session.exit_code = 0

    def exec_resize(self, ident: str, rows: int, columns: int) -> None:
        self.note("exec_resize", self.exec_inspect(ident).id, rows, columns)

    # Images

    async def pull(self, reference: str, auth: Auth | None, progress: Progress) -> Image:
        self.note("pull", reference, auth)
        await asyncio.to_thread(self._say, progress)
        return self.images.busybox

    def _say(self, progress: Progress) -> None:
        for line in self.pull_lines:
            if isinstance(line, Exception):
                raise line
            progress(line)

    async def load(self, stream: BinaryIO, progress: Progress) -> list[Image]:
        self.received = await asyncio.to_thread(stream.read)
        if not self.received.startswith(b"tar"):
            raise InvalidArgument("load: this is no tar archive")
        progress(ProgressLine("Loading layer", "abc", 1, 2))
        progress(ProgressLine(stream="Loaded image: busybox:latest\n"))
        return [self.images.busybox]

    async def import_image(self, stream: BinaryIO, ref: str | None, message: str, changes: Sequence[str]) -> Image:
        self.received = await asyncio.to_thread(stream.read)
        self.note("import", ref, message, tuple(changes))
        return self.images.busybox

    async def tag_image(self, reference: str, target: str) -> None:
        self.note("tag", self.images.resolve(reference).id, target)

    async def remove_image(self, reference: str, force: bool, prune: bool) -> list[Removed]:
        self.note("rmi", self.images.resolve(reference).id, force, *([] if prune else ["noprune"]))
        return [Removed(untagged="busybox:latest"), Removed(deleted=IMAGE)]

    # The rest

    async def plan(self, request: CreateRequest) -> tuple[tuple[StepReport, ...], tuple[str, ...]]:
        return (StepReport("clone3", ("mnt,pid", ""), "clone3 into new namespaces"),), ("careful",)

    async def plan_of(self, reference: str) -> tuple[StepReport, ...]:
        self.container(reference)
        return (StepReport("clone3", ("mnt",), "clone3", 0, 120), StepReport("execve", (), "execve"))

    def info(self) -> SystemInfo:
        return SystemInfo(
            "instance", {"running": 2, "exited": 1, "created": 1}, 1, (("Backing Filesystem", "ext4"),), "cgroupfs",
            ("WARNING: No memory limit support",), ("name=seccomp,profile=builtin",), "6.1.0", "Debian", "x86_64", 2,
            1 << 30, "/var/lib/minidock", "host", (), ("127.0.0.1:5000", "10.0.0.0/8"), BORN,
        )  # fmt: skip

    async def doctor(self) -> list[Any]:
        return [Check("overlay", "ok", "mounts", "")]


@dataclasses.dataclass(frozen=True)
class Check:
    """As linux/doctor.py has it."""

    name: str
    status: str
    detail: str
    hint: str
