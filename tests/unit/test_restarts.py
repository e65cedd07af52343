"""Restart policies, decided: which container starts again, after how long, and what is refused."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minidock.cli.values import restart_policy
from minidock.db import Database
from minidock.engine import restarts
from minidock.engine.config import Config, HostConfig, RestartPolicy
from minidock.engine.containers import Containers
from minidock.engine.model import Container, Definition, State, Status
from minidock.engine.restarts import Restarts
from minidock.wire import times
from minidock.wire.errors import InvalidArgument


def ended(policy: str, count: int = 0, **state: int | bool) -> Container:
    host = HostConfig(restart_policy=RestartPolicy(policy, count))
    return Container("1" * 64, "web", 1, Definition("i", Config(), host), State(Status.EXITED, started_at=5, **state))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "code", "again"),
    [
        (ended("no"), 1, False),
        (ended(""), 1, False),
        (ended("always"), 0, True),
        (ended("unless-stopped"), 137, True),
        (ended("on-failure"), 0, False),
        (ended("on-failure"), 1, True),
        (ended("on-failure", 2, restart_count=1), 1, True),
        (ended("on-failure", 2, restart_count=2), 1, False),
        (ended("always", stopped_by_hand=True), 1, False),
        (ended("unless-stopped", stopped_by_hand=True), 1, False),
    ],
)
def test_who_starts_again(container: Container, code: int, again: bool) -> None:
    """Seen to fail where tries are not counted, where the code does not matter, where a stop by hand does not count."""
    assert restarts.wanted(container, code) is again


def test_the_daemon_s_start_tells_always_from_unless_stopped() -> None:
    """Seen to fail where unless-stopped starts what was stopped by hand."""

    def wanted(container: Container) -> bool:
        return container.definition.wanted_at_boot(container.state)

    assert wanted(ended("always", stopped_by_hand=True)) and wanted(ended("unless-stopped"))
    assert not wanted(ended("unless-stopped", stopped_by_hand=True))
    assert not wanted(ended("no")) and not wanted(ended("on-failure"))
    never = ended("always")
    never.state = State()
    assert not wanted(never), "a container that was never started stays so"


def test_waits_double_up_to_a_minute_and_begin_anew_after_a_calm_run() -> None:
    """Seen to fail where they double without a limit."""
    waits, wait = [], 0.0
    for _ in range(12):
        wait = restarts.next_wait(wait, ran=times.SECOND)
        waits.append(wait)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8] and waits[-2:] == [60.0, 60.0]
    assert restarts.next_wait(60.0, ran=10 * times.SECOND) == 0.1


def boot(containers: Containers, *order: Container, hangs: str = "") -> list[str]:
    """The names of those that were started, in their order, when all were to be at once."""
    started: list[str] = []

    async def start(container: Container, _: object) -> None:
        if container.name == hangs:
            await asyncio.Event().wait()
        for _ in range(10):
            await asyncio.sleep(0)
        started.append(container.name)

    async def scenario() -> None:
        restarts = Restarts(SimpleNamespace(containers=containers), start, start)  # type: ignore[arg-type]
        for one in order:
            one.state = State(Status.RESTARTING)
            restarts.after(one, 0)
        restarts.begin()
        async with asyncio.timeout(10):
            while len(started) < len(order) - bool(hangs):
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
    return started


@pytest.mark.parametrize(
    "needs",
    [{"links": ("1" * 64 + ":db",)}, {"network_mode": "container:" + "1" * 64}, {"pid_mode": "container:" + "1" * 64}],
)
def test_who_needs_another_starts_after_it(
    needs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a boot all start at once, the youngest first; a start that fails for the other's sake would be the last.

    Seen to fail without the wait. One that hangs is not waited for long.
    """
    with closing(Database(tmp_path / "db")) as db:
        containers = Containers(db)
        base = Container("1" * 64, "base", 1, Definition("i", Config(), HostConfig()))
        user = Container("2" * 64, "user", 2, Definition("i", Config(), HostConfig(**needs)))
        containers.add(base)
        containers.add(user)
        assert boot(containers, user, base) == ["base", "user"]
        monkeypatch.setattr(restarts, "PATIENCE", 0.05)
        assert boot(containers, user, base, hangs="base") == ["user"]


@pytest.mark.parametrize(
    ("policy", "auto_remove", "words"),
    [
        (RestartPolicy("sometimes"), False, "unknown policy 'sometimes'"),
        (RestartPolicy("always", 3), False, "only be used with 'on-failure'"),
        (RestartPolicy("on-failure", -1), False, "cannot be negative"),
        (RestartPolicy("always"), True, "can't create 'AutoRemove' container with restart policy"),
    ],
)
def test_what_is_refused(policy: RestartPolicy, auto_remove: bool, words: str) -> None:
    """Seen to fail without the check for AutoRemove."""
    with pytest.raises(InvalidArgument, match=words):
        restarts.check(policy, auto_remove)


def test_no_policy_goes_with_auto_remove() -> None:
    restarts.check(RestartPolicy("no"), True)
    restarts.check(RestartPolicy(), True)


def test_the_flag() -> None:
    assert restart_policy("on-failure:3") == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert restart_policy("always") == {"Name": "always", "MaximumRetryCount": 0}
    for text in ("on-failure:x", ":3", "on-failure:-1"):
        with pytest.raises(InvalidArgument, match="invalid restart policy format"):
            restart_policy(text)
