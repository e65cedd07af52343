"""The small parts of the engine: events, waits, the records of containers, what create makes of a request."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from pathlib import Path

import pytest

from minidock.db import Database
from minidock.engine import create, namespaces
from minidock.engine.config import Config, HostConfig, LogConfig, PortBinding, RestartPolicy
from minidock.engine.containers import Containers
from minidock.engine.events import MEMORY, Events
from minidock.engine.model import TRANSITIONS, Container, Definition, Status
from minidock.engine.requests import CreateRequest, Event, WaitResult
from minidock.engine.waits import Waits
from minidock.image.model import Image, ImageConfig
from minidock.wire import names, times
from minidock.wire.errors import Ambiguous, Conflict, Error, InvalidArgument, NotFound, ServerError


def test_events_replay_what_is_kept_and_go_on() -> None:
    async def scenario() -> list[str]:
        events = Events()
        events.publish("container", "create", "1")
        stream = events.subscribe(since=0)
        events.publish("container", "start", "1")
        return [(await anext(stream)).action for _ in range(2)]

    assert asyncio.run(scenario()) == ["create", "start"]


def test_events_end_at_until() -> None:
    async def scenario() -> list[Event]:
        events = Events()
        events.publish("container", "create", "1")
        return [event async for event in events.subscribe(until=times.now() + times.SECOND // 20)]

    assert [event.action for event in asyncio.run(scenario())] == ["create"]


@pytest.mark.parametrize("turns", range(4))
def test_who_hangs_up_while_an_event_comes_is_let_go(turns: int) -> None:
    """In the same few turns of the loop: who was told of the end must not go on, for an event that a filter may drop.

    Seen to fail with asyncio.wait_for, which in Python 3.11 prefers the result to being cancelled.
    """

    async def scenario() -> None:
        events = Events()
        listening = asyncio.ensure_future(anext(events.subscribe(until=times.now() + 60 * times.SECOND)))
        for _ in range(4):
            await asyncio.sleep(0)
        events.publish("container", "create", "1")
        for _ in range(turns):
            await asyncio.sleep(0)
        if listening.cancel():
            await asyncio.wait([listening])
            assert listening.cancelled() and not events._listeners

    asyncio.run(scenario())


def test_a_listener_that_does_not_listen_costs_bounded_memory() -> None:
    async def scenario() -> int:
        events = Events()
        stream = events.subscribe()
        for number in range(MEMORY * 10):
            events.publish("container", str(number), "1")
        return int((await anext(stream)).action)

    assert asyncio.run(scenario()) == MEMORY * 10 - 4096, "the oldest go, the newest stay"


def test_a_listener_who_gives_up_before_he_listens_is_forgotten() -> None:
    """No descriptor is left to watch the client with, say. Seen to fail: each one kept thousands of events for ever."""

    async def scenario() -> None:
        events = Events()
        events.subscribe()
        gc.collect()
        events.publish("container", "create", "1")
        assert not events._listeners

    asyncio.run(scenario())


def test_a_wait_misses_nothing_that_comes_after_it() -> None:
    async def scenario() -> tuple[WaitResult, bool]:
        waits = Waits()
        future, given_up = waits.add("next-exit"), waits.add("next-exit")
        other = waits.add("removed")
        given_up.cancel()
        waits.fire("next-exit", WaitResult(3))
        return await future, other.done()

    assert asyncio.run(scenario()) == (WaitResult(3), False)


def definition(image: str = "sha256:1") -> Definition:
    return Definition(image, Config(image="alpine"), HostConfig())


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(Database(tmp_path / "db"))


def container(ident: str, name: str) -> Container:
    return Container(ident.ljust(64, "0"), name, times.now(), definition())


def test_a_container_is_found_by_id_name_and_prefix(containers: Containers) -> None:
    first, second = container("aabb", "one"), container("aacc", "two")
    containers.add(first)
    containers.add(second)
    for reference in (first.id, "one", "/one", "aab"):
        assert containers.resolve(reference) is first
    with pytest.raises(Ambiguous):
        containers.resolve("aa")
    for reference in ("nosuch", "", "/"):
        with pytest.raises(NotFound, match="No such container"):
            containers.resolve(reference)


def test_a_name_that_is_a_prefix_of_an_id_means_the_name(containers: Containers) -> None:
    containers.add(container("beef", "one"))
    named = container("cafe", "beef")
    containers.add(named)
    assert containers.resolve("beef") is named


def test_a_name_belongs_to_one_container(containers: Containers) -> None:
    containers.add(container("aa", "one"))
    with pytest.raises(Conflict, match=r'name "/one" is already in use by container "aa0'):
        containers.add(container("bb", "one"))
    assert len(containers.all()) == 1


def test_records_outlive_the_daemon_and_one_bad_row_spares_the_rest(tmp_path: Path) -> None:
    db = Database(tmp_path / "db")
    first = Containers(db)
    good, bad = container("aa", "good"), container("bb", "bad")
    first.add(good)
    first.add(bad)
    first.change(good, Status.RUNNING, pid=7)
    db.execute("UPDATE containers SET state = '{\"Status\":' WHERE id = ?", (bad.id,))
    again = Containers(db)
    assert [(c.name, c.state.status, c.state.pid) for c in again.all()] == [("good", Status.RUNNING, 7)]
    assert bad.id in again.known_ids(), "what can't be read is not deleted either"


@pytest.mark.parametrize("start", list(Status))
@pytest.mark.parametrize("end", list(Status))
def test_only_legal_moves(containers: Containers, start: Status, end: Status) -> None:
    one = container("aa", "one")
    containers.add(one)
    one.state = type(one.state)(start)
    if end is start or end in TRANSITIONS[start]:
        containers.change(one, end)
        assert one.state.status is end
    else:
        with pytest.raises(ServerError):
            containers.change(one, end)
        assert one.state.status is start


def image(**config: object) -> Image:
    return Image("sha256:" + "1" * 64, ("alpine:latest",), config=ImageConfig(**config))  # type: ignore[arg-type]


def define(config: Config, host: HostConfig | None = None, **of_image: object) -> Definition:
    return create.definition(CreateRequest(config, host or HostConfig()), image(**of_image), "f" * 64)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "result"),
    [
        (None, None, ("e", "c")),
        (None, ("x",), ("e", "x")),
        (("y",), None, ("y",)),
        (("y",), ("x",), ("y", "x")),
        (("",), ("x",), ("x",)),
    ],
)
def test_command_and_entrypoint(
    entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...] | None, result: tuple[str, ...]
) -> None:
    found = define(Config(entrypoint=entrypoint, cmd=cmd), entrypoint=("e",), cmd=("c",))
    assert (found.path, *found.args) == result


def test_the_image_fills_in_what_is_open() -> None:
    own = Config(cmd=("x",), env=("A=own", "GONE"), labels={"l": "own"})
    found = define(own, env=("A=image", "B=image", "GONE=x"), labels={"l": "image", "m": "image"}, user="app",
                   working_dir="/w", volumes=("/v",), stop_signal="SIGINT").config  # fmt: skip
    assert found.env == ("A=own", "B=image")
    assert found.labels == {"l": "own", "m": "image"}
    assert (found.user, found.working_dir, found.volumes, found.stop_signal) == ("app", "/w", {"/v": {}}, "SIGINT")
    assert found.hostname == "f" * 12


@pytest.mark.parametrize(
    ("config", "host", "error"),
    [
        (Config(), HostConfig(), InvalidArgument),
        (Config(cmd=("",)), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), working_dir="rel"), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), stop_signal="FOO"), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), hostname="a b"), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), user="-1"), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), user="4294967296"), HostConfig(), InvalidArgument),
        (Config(cmd=("x",), env=("=x",)), HostConfig(), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(cap_add=("BANANA",)), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(security_opt=("banana=1",)), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(sysctls={"kernel.panic": "1"}), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(sysctls={"net.ipv4.ip_forward": "1\n0"}), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(log_config=LogConfig("syslog")), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(log_config=LogConfig("json-file", {"max-file": "3"})), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(oom_score_adj=2000), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(auto_remove=True, restart_policy=RestartPolicy("always")), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(port_bindings={"80/tcp": (PortBinding("::x", "80"),)}), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(ipc_mode="shared"), InvalidArgument),
        (Config(cmd=("x",), hostname="a"), HostConfig(uts_mode="host"), InvalidArgument),
        (Config(cmd=("x",)), HostConfig(pid_mode="hosts"), InvalidArgument),
    ],
)  # fmt: skip
def test_what_create_refuses(config: Config, host: HostConfig, error: type[Error]) -> None:
    with pytest.raises(error):
        define(config, host)


@pytest.mark.parametrize(
    "name", ["", "a", "-a", ".a", "a/b", "../a", "a b", "a\n", "ä", "a" * 256, "0" * 64, "0123456789ab"]
)
def test_names_that_a_container_may_not_have(name: str) -> None:
    """Row 27 of docs/security.md (CVE-2014-5278): what is a path, or reads like an id.

    Variants: check_name() without the pattern, without the length, without the look for ids.
    """
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        names.check_name(name)
    assert names.check_name("/a.b_c-1") == "a.b_c-1"


def test_random_names_are_names() -> None:
    for _ in range(100):
        assert names.check_name(names.random_name())


def test_each_donor_of_a_namespace_has_a_descriptor_of_its_own() -> None:
    """fd 0 is the network's where there is one; then --pid's container, then --ipc's."""
    both = HostConfig(pid_mode="container:a", ipc_mode="container:b")
    found = namespaces.of(both, True)
    assert (found.join, found.pid_donor) == (((0, "net"), (2, "ipc")), 1)
    assert not {"pid", "ipc"} & set(found.new)
    found = namespaces.of(dataclasses.replace(both, pid_mode=""), False)
    assert (found.join, found.pid_donor) == (((0, "ipc"),), None)
