"""What happens at the same time: between two awaits of the loop, in a thread beside it, while the daemon ends.

Each test was seen to fail. With a real daemon: root/test_faults_load.py, root/test_faults_crash.py.
"""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, asynccontextmanager, closing
from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from minidock.build.arguments import Arguments
from minidock.build.instructions import parse_text
from minidock.build.settings import Metadata
from minidock.build.stages import load
from minidock.cgroup.limits import Limits
from minidock.db import Database
from minidock.engine import copyup, create, leftovers, logs, restore, top
from minidock.engine.building.builds import Builds
from minidock.engine.building.files import Files
from minidock.engine.building.request import BuildRequest
from minidock.engine.building.run import Runner
from minidock.engine.building.stages import Build, State
from minidock.engine.commits import Commits
from minidock.engine.config import Config, HostConfig, LogConfig, RestartPolicy
from minidock.engine.containers import Containers
from minidock.engine.distribution import Distribution
from minidock.engine.engine import Engine
from minidock.engine.events import Events
from minidock.engine.lifecycle import Lifecycle
from minidock.engine.model import Container, Definition, EndpointRecord, Status
from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.parts import Parts
from minidock.engine.requests import CreateRequest, LogRequest
from minidock.engine.restarts import Restarts
from minidock.engine.roots import Hold
from minidock.engine.updates import Updates
from minidock.image.model import Image
from minidock.runtime.monitor import Monitor
from minidock.wire.errors import Error, InvalidArgument, NotFound, Unavailable


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    with closing(Database(tmp_path / "db")) as db:
        yield Containers(db)


def add(containers: Containers, digit: str, image: str = "i", status: Status = Status.RUNNING) -> Container:
    host = HostConfig(restart_policy=RestartPolicy("always"), log_config=LogConfig("json-file"))
    one = Container(digit * 64, f"c{digit}", int(digit), Definition(image, Config(), host))
    containers.add(one)
    one.state = type(one.state)(status)
    return one


def parts_with(**some: Any) -> Parts:
    """Of what an engine is made of, only these."""
    needed = [one.name for one in fields(Parts) if one.default_factory is MISSING]
    return Parts(**{**dict.fromkeys(needed), **some})


def test_monitors_are_asked_at_the_same_time(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of containers and, after them, those of execs: one that hangs makes nobody wait but the daemon, once.

    Seen to fail where restore asked one after the other, of either kind.
    """
    idents = [add(containers, digit).id for digit in "123"]
    for name in ("execs", *"456"):
        (tmp_path / "monitors" / name).mkdir(parents=True)
    asked: list[str] = []
    alone: list[str] = []

    async def scenario() -> None:
        everyone = asyncio.Condition()

        async def adopt(ident: str, _: Path) -> None:
            asked.append(ident)
            wanted = 3 if ident in idents else 7
            async with everyone:
                everyone.notify_all()
                try:
                    async with asyncio.timeout(10):
                        await everyone.wait_for(lambda: len(asked) >= wanted)
                except TimeoutError:
                    alone.append(ident)
            raise Unavailable("it does not answer")

        async def nothing(*_: object) -> None:
            pass

        monkeypatch.setattr(restore, "Monitor", SimpleNamespace(adopt=adopt))
        monkeypatch.setattr(leftovers, "find", lambda *_: [])
        parts = parts_with(
            containers=containers,
            cgroups=SimpleNamespace(place=lambda *_: None),
            settings=SimpleNamespace(exec_root=tmp_path, monitor_directory=Path, instance=""),
            images=SimpleNamespace(release=lambda _: None),
            volumes=SimpleNamespace(remake=lambda: None),
            ports=SimpleNamespace(restore=nothing),
        )
        lifecycle: Any = SimpleNamespace(restarts=SimpleNamespace(begin=lambda: None))
        endpoints: Any = SimpleNamespace(adopt=nothing, mark="")
        await restore.restore(parts, lifecycle, endpoints)
        for one in containers.all():
            watcher = containers.live(one).watcher
            assert watcher and watcher.cancel(), "it is asked again later"

    asyncio.run(scenario())
    assert sorted(asked) == sorted([*idents, "execs", *"456"]) and not alone


def test_two_updates_at_once_both_come_true(containers: Containers) -> None:
    """The second one looks at what the first has made of the container, not at what it was when it came."""
    one = add(containers, "1")
    told: list[Limits] = []
    cgroups = SimpleNamespace(check=lambda _: [], update=lambda _, limits: told.append(limits))
    parts: Any = SimpleNamespace(containers=containers, cgroups=cgroups, events=Events())

    async def scenario() -> None:
        updates = Updates(parts)
        await asyncio.gather(
            updates.update(one.id, HostConfig(memory=1 << 26)), updates.update(one.id, HostConfig(cpu_shares=512))
        )

    asyncio.run(scenario())
    assert (one.host.memory, one.host.cpu_shares) == (1 << 26, 512)
    assert (told[-1].memory, told[-1].cpu_shares) == (1 << 26, 512), "nor does the kernel lose the first"


def test_who_uses_an_image_is_told_in_a_thread_while_containers_and_builds_come(containers: Containers) -> None:
    """`df` and `rmi` ask from threads of their own; the loop goes on making containers meanwhile."""
    one = add(containers, "1")

    class Definitions:
        @property
        def image_id(self) -> str:
            if len(containers.all()) < 3:
                add(containers, str(len(containers.all()) + 1), "other")
            return "i"

    one.definition = Definitions()  # type: ignore[assignment]
    assert containers.using_image("i") == [one]

    builds = Builds(SimpleNamespace(containers=containers), None, (None, None, None), None)  # type: ignore[arg-type]

    def needs(_: str) -> bool:
        builds._running[f"{len(builds._running)}"] = SimpleNamespace(needs=lambda _: False)  # type: ignore[assignment]
        return True

    builds._running["a build"] = SimpleNamespace(needs=needs)  # type: ignore[assignment]
    assert [user.container for user in builds.users_of("nobody's")] == ["a build"]


def test_a_container_that_goes_while_the_daemon_ends_keeps_nothing_from_being_closed(containers: Containers) -> None:
    first, second = add(containers, "2"), add(containers, "1")
    closed: list[str] = []

    async def goes() -> None:
        await asyncio.sleep(0)
        containers.discard(second)

    async def nothing() -> None:
        closed.append("refill")

    async def scenario() -> None:
        containers.live(first).letting_go = asyncio.ensure_future(goes())
        engine: Any = SimpleNamespace(
            _lifecycle=SimpleNamespace(restarts=SimpleNamespace(close=lambda: asyncio.sleep(0))),
            _parts=SimpleNamespace(containers=containers, trash=SimpleNamespace(close=lambda: closed.append("trash"))),
            endpoints=SimpleNamespace(
                resolvers=SimpleNamespace(close_all=lambda: None), refill=SimpleNamespace(close=nothing)
            ),
        )
        await Engine.close(engine)

    asyncio.run(scenario())
    assert closed == ["refill", "trash"]


def test_what_ends_while_the_daemon_ends_is_left_to_the_next_one(containers: Containers) -> None:
    one = add(containers, "1", status=Status.RESTARTING)

    started: list[object] = []

    async def start(*_: object) -> None:
        started.append(_)

    async def scenario() -> None:
        restarts = Restarts(parts_with(containers=containers), start, start)
        restarts.begin()
        await restarts.close()
        restarts.after(one, 0)
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert not started


def test_a_restart_that_fails_in_the_database_is_a_failed_restart(containers: Containers) -> None:
    """Or the container would be restarting for ever, which nothing but a stop gets it out of."""
    one, failed = add(containers, "1", status=Status.RESTARTING), asyncio.Event()

    async def start(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def note(*_: object) -> None:
        failed.set()

    async def scenario() -> None:
        restarts = Restarts(parts_with(containers=containers), start, note)
        restarts.begin()
        restarts.after(one, 0)
        await asyncio.wait_for(failed.wait(), 10)

    asyncio.run(scenario())


def test_each_restart_keeps_a_container_with_rm_for_itself(containers: Containers) -> None:
    """One that is refused (a signal that does not exist, say) while another waits for the end of the run."""
    one, ends, removals = add(containers, "1"), asyncio.Event(), list[str]()

    async def stop(_: Container, timeout: int | None, signal: str) -> None:
        if signal:
            raise InvalidArgument("invalid signal")
        await ends.wait()
        if not containers.live(one).restarts:
            removals.append(one.id)

    async def start(_: Container) -> None:
        pass

    async def scenario() -> None:
        lifecycle: Any = Lifecycle.__new__(Lifecycle)
        lifecycle._parts = SimpleNamespace(containers=containers, events=Events())
        lifecycle.stops, lifecycle.start = SimpleNamespace(stop=stop), start
        restart = asyncio.ensure_future(lifecycle.restart(one, None, ""))
        await asyncio.sleep(0)
        with pytest.raises(InvalidArgument):
            await lifecycle.restart(one, None, "BOGUS")
        ends.set()
        await restart
        assert not removals and not containers.live(one).restarts

    asyncio.run(scenario())


def test_who_is_asked_again_and_can_t_be_restored_is_told_of(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, answers = add(containers, "1"), iter((Unavailable("no answer"), NotFound("its cgroup is gone")))
    (tmp_path / "monitors").mkdir()
    directory = (tmp_path / "monitors").joinpath
    settings = SimpleNamespace(monitor_directory=directory, exec_root=tmp_path, instance="")
    nothing, later = lambda *_: None, lambda *_: asyncio.sleep(0)
    cgroups, images, ports = (SimpleNamespace(place=nothing, release=nothing, restore=later) for _ in range(3))
    parts = parts_with(
        containers=containers, settings=settings, cgroups=cgroups, images=images, ports=ports,
        volumes=SimpleNamespace(remake=nothing),
    )  # fmt: skip
    endpoints: Any = SimpleNamespace(adopt=later, mark="")
    lifecycle: Any = SimpleNamespace(restarts=SimpleNamespace(begin=nothing))

    async def adopt(*_: object) -> NoReturn:
        raise next(answers)

    async def scenario() -> None:
        await restore.restore(parts, lifecycle, endpoints)
        again = containers.live(one).watcher
        assert again
        await again

    monkeypatch.setattr(restore, "PAUSE", 0)
    monkeypatch.setattr(Monitor, "adopt", adopt)
    monkeypatch.setattr(leftovers, "find", lambda *_: [])
    asyncio.run(scenario())
    assert "its cgroup is gone" in caplog.text


def test_the_end_of_a_long_log_is_looked_for_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail of millions of lines reads the whole file, which may be gigabytes."""
    where: list[threading.Thread] = []

    class Watched(io.FileIO):
        def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
            if whence == os.SEEK_END:
                where.append(threading.current_thread())
            return super().seek(offset, whence)

    async def scenario() -> None:
        async for _ in logs.read(tmp_path / "log", LogRequest(stdout=True, tail=10), lambda: False):
            pass

    (tmp_path / "log").touch()
    monkeypatch.setattr("minidock.engine.logs.open", lambda path, *_, **__: Watched(path), raising=False)
    asyncio.run(scenario())
    assert where and threading.main_thread() not in where


def test_a_plan_too_looks_at_the_host_s_paths_in_threads_that_may_hang() -> None:
    """Before anything on the loop does: `--mount` of a path whose server has gone held up all clients."""

    async def hangs(_: HostConfig) -> None:
        raise Unavailable("no answer")

    engine: Any = SimpleNamespace(_parts=None, _sources=SimpleNamespace(look=hangs))
    with pytest.raises(Unavailable, match="no answer"):
        asyncio.run(Engine.plan(engine, CreateRequest(Config(), HostConfig())))


def test_a_commit_that_fails_tells_that_the_container_goes_on(containers: Containers) -> None:
    one, events = add(containers, "1"), Events()

    def fails(*_: object) -> None:
        raise Error("no space left")

    @asynccontextmanager
    async def still(_: Container) -> AsyncIterator[None]:
        yield

    images = SimpleNamespace(of_container=lambda _: None, commit=fails)
    settings = SimpleNamespace(container_directory=lambda _: Path("/nowhere"))
    parts: Any = SimpleNamespace(containers=containers, images=images, settings=settings, events=events)

    async def scenario() -> list[str]:
        with pytest.raises(Error, match="no space left"):
            await Commits(parts, SimpleNamespace(still=still)).commit(one.id, None, "", "", (), True, {})  # type: ignore[arg-type]
        told = events.subscribe(since=1)
        return [(await anext(told)).action for _ in range(2)]

    assert asyncio.run(scenario()) == ["pause", "unpause"]


@pytest.mark.parametrize("step", ["LABEL a=b", "RUN true"])
def test_a_build_that_is_cancelled_waits_for_the_layer_that_is_being_made(step: str, containers: Containers) -> None:
    """What it is read from is deleted next, and what is gone is left out of it: the cache would keep half a layer."""
    begun, go, one = threading.Event(), threading.Event(), add(containers, "1")

    def make(*_: object) -> NoReturn:
        begun.set()
        go.wait(10)
        raise Error("no space left")

    @asynccontextmanager
    async def still(_: Container) -> AsyncIterator[None]:
        yield

    async def run(_: object, use: Callable[[Container], Awaitable[Any]]) -> Any:
        return await use(one)

    images = SimpleNamespace(layers_dir="", lowers=make, add_step=make)
    images.resolve, images.settings = (lambda _: Image("sha256:" + "1" * 64)), (lambda _: {"Env": []})
    parts = parts_with(images=images, settings=SimpleNamespace(container_directory=lambda _: Path("/nowhere")))
    roots: Any = SimpleNamespace(still=still)
    runner: Any = SimpleNamespace(run=run)
    output: Any = SimpleNamespace(say=lambda _: None)
    workplace: Any = None

    async def scenario() -> None:
        build = Build(parts, roots, BuildRequest(no_cache=True), workplace, runner, output)
        working = asyncio.ensure_future(build.run(load(f"FROM base\n{step}\n".encode())))
        await asyncio.to_thread(begun.wait, 10)
        working.cancel()
        _, still_working = await asyncio.wait([working], timeout=0.1)
        go.set()
        await asyncio.wait([working])
        assert still_working and working.cancelled()

    asyncio.run(scenario())


def test_a_build_that_is_cancelled_closes_the_sources_that_are_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has them open before anybody has them. Seen to fail: a descriptor a file, each time."""
    begun, go, closed = threading.Event(), threading.Event(), threading.Event()

    def opens(_: object, __: object, ___: object, fds: ExitStack) -> list[Any]:
        fds.callback(closed.set)
        begun.set()
        go.wait(10)
        return []

    async def scenario() -> None:
        build = Build.__new__(Build)
        build._parts, build._escape = parts_with(), "\\"
        build._workplace = build._output = None  # type: ignore[assignment]
        build._state, build._arguments = State(None, Metadata({})), Arguments({}, {})
        monkeypatch.setattr(Files, "open", opens)
        working = asyncio.ensure_future(build._copy(parse_text("COPY a /b")))
        await asyncio.to_thread(begun.wait, 10)
        working.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([working])
        assert working.cancelled() and closed.is_set()

    asyncio.run(scenario())


def test_a_build_that_is_cancelled_waits_for_the_start_that_is_under_way(containers: Containers) -> None:
    """What is not there yet can't be removed. Seen to fail: the thread that made its network made it for nobody."""
    one = add(containers, "1")

    async def scenario() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def start(_: str) -> None:
            begun.set()
            await go.wait()

        verbs: Any = (None, start, None)
        runner = Runner(parts_with(containers=containers), verbs, "", BuildRequest(), None)  # type: ignore[arg-type]
        working = asyncio.ensure_future(runner._until_exit(one, "true"))
        await begun.wait()
        working.cancel()
        _, still_working = await asyncio.wait([working], timeout=0.1)
        go.set()
        await asyncio.wait([working])
        assert still_working and working.cancelled()

    asyncio.run(scenario())


def test_a_create_that_is_cancelled_waits_for_what_is_copied_into_its_volumes(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail: they were taken away while a thread went on to write into them."""
    one, begun, go, story = add(containers, "1"), threading.Event(), threading.Event(), list[str]()

    def fill(*_: object) -> None:
        begun.set()
        go.wait(10)
        story.append("filled")

    async def remove(*_: object, **__: object) -> None:
        story.append("removed")

    async def scenario() -> None:
        engine = Engine.__new__(Engine)
        engine._parts = SimpleNamespace(  # type: ignore[assignment]
            settings=SimpleNamespace(container_directory=lambda _: None), images=None, containers=None, volumes=None
        )
        engine._sources = SimpleNamespace(look=lambda _: asyncio.sleep(0))  # type: ignore[assignment]
        engine._lifecycle = SimpleNamespace(remove=remove)  # type: ignore[assignment]
        engine.networks = None  # type: ignore[assignment]
        monkeypatch.setattr(create, "image_of", lambda *_: None)
        monkeypatch.setattr(create, "settled", lambda *_: (one.definition, []))
        monkeypatch.setattr(create, "write", lambda *_: one)
        monkeypatch.setattr(copyup, "fill", fill)
        creating = asyncio.ensure_future(engine.create(CreateRequest(Config(), HostConfig())))
        await asyncio.to_thread(begun.wait, 10)
        creating.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([creating])
        assert creating.cancelled() and story == ["filled", "removed"]

    asyncio.run(scenario())


def test_who_saves_an_image_and_goes_leaves_nothing_open() -> None:
    """The archive's generator is at work in a thread when its client hangs up, and holds layers until it is closed."""
    begun, go, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            begun.set()
            go.wait(10)
            yield b""
        finally:
            closed.set()

    async def read(archive: AsyncIterator[bytes]) -> None:
        async with aclosing(archive):  # type: ignore[type-var]
            await anext(archive)

    async def scenario() -> None:
        parts = parts_with(images=SimpleNamespace(save=lambda _: pieces()))
        reading = asyncio.ensure_future(read(await Distribution(parts).save([])))
        await asyncio.to_thread(begun.wait, 10)
        reading.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([reading])
        assert reading.cancelled() and closed.is_set()

    asyncio.run(scenario())


class Freezer:
    """A cgroup's, which takes as long as it is let."""

    def __init__(self) -> None:
        self.begun, self.go, self.frozen = threading.Event(), threading.Event(), False

    def freeze(self, _: str) -> None:
        self.begun.set()
        self.go.wait(10)
        self.frozen = True

    def thaw(self, _: str) -> None:
        self.frozen = False


def test_who_goes_while_a_container_is_being_frozen_leaves_it_running(containers: Containers) -> None:
    one, freezer, held = add(containers, "1"), Freezer(), dict[str, int]()

    async def scenario() -> None:
        parts = parts_with(containers=containers, cgroups=freezer)
        taking = asyncio.ensure_future(Hold(parts, one, held).take())
        await asyncio.to_thread(freezer.begun.wait, 10)
        taking.cancel()
        await asyncio.sleep(0)
        freezer.go.set()
        await asyncio.wait([taking])
        assert taking.cancelled() and not freezer.frozen and not held

    asyncio.run(scenario())


def test_no_client_s_pace_keeps_a_container_from_being_frozen(containers: Containers) -> None:
    """Its lock is held meanwhile. Seen to fail where stalled uploads had all the threads: nobody could stop it."""
    one, freezer, stalled = add(containers, "1"), Freezer(), threading.Event()
    freezer.go.set()

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(stalled.wait, 100)
            parts = parts_with(containers=containers, cgroups=freezer, slow_threads=threads)
            try:
                async with asyncio.timeout(10):
                    await Hold(parts, one, {}).take()
            finally:
                stalled.set()
        assert freezer.frozen

    asyncio.run(scenario())


def test_a_container_that_was_removed_meanwhile_needs_no_letting_go(containers: Containers) -> None:
    """`cp` out of a --rm container that ends while it is read: the archive is whole, and no error follows it."""
    one, held = add(containers, "1", status=Status.EXITED), dict[str, int]()

    async def scenario() -> None:
        hold = Hold(parts_with(containers=containers), one, held)
        await hold.take()
        containers.discard(one)
        await hold.release()
        assert not held

    asyncio.run(scenario())


def test_containers_may_end_and_go_while_their_resolvers_are_opened_again(containers: Containers) -> None:
    """The daemon's start was over with "the container has no monitor"."""
    ends, goes = add(containers, "2"), add(containers, "1")
    endpoints, opened, found = Endpoints.__new__(Endpoints), [], threading.Event()
    endpoints._parts = SimpleNamespace(containers=containers)  # type: ignore[assignment]

    def finish_moves(container: Container) -> dict[str, EndpointRecord]:
        found.wait(10)  # until the end has been noticed
        return {}

    async def opens(container: Container, pidfd: int) -> None:
        opened.append((container, pidfd))

    async def end() -> None:
        found.set()
        async with containers.live(ends).lock:
            containers.live(ends).monitor = None

    async def scenario() -> None:
        containers.live(ends).monitor = SimpleNamespace(pidfd=7)  # type: ignore[assignment]
        adopting = asyncio.ensure_future(endpoints.adopt())
        containers.discard(goes)
        await asyncio.sleep(0)
        await asyncio.gather(adopting, end())

    endpoints._finish_moves = finish_moves  # type: ignore[method-assign]
    endpoints.resolvers = SimpleNamespace(adopt=opens)  # type: ignore[assignment]
    asyncio.run(scenario())
    assert opened == [(ends, 7)]


def test_a_ps_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what the memory of every process holds, and one that hangs would hold up `top` for ever; nor does it
    outlive a client that goes.

    Seen to fail where nobody set it a limit, and where nobody killed it.
    """
    pid = tmp_path / "pid"
    ps = tmp_path / "ps"
    ps.write_text(f"#!/bin/sh\necho $$ >{pid}.new; mv {pid}.new {pid}\nexec sleep 1000\n")
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(top, "LIMIT", 2)

    def is_gone() -> bool:
        return not Path(f"/proc/{pid.read_text().strip()}").exists()

    async def scenario() -> None:
        with pytest.raises(Unavailable, match="ps did not end"):
            await top.top(set(), "")
        while not is_gone():
            await asyncio.sleep(0.01)
        pid.unlink()
        asking = asyncio.ensure_future(top.top(set(), ""))
        while not pid.exists():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        while not is_gone():
            await asyncio.sleep(0.01)

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())
