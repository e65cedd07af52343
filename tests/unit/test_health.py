"""Health checks, decided: what a probe's result means, when the next one is due, what image and user say together."""

from __future__ import annotations

import pytest

from minidock.api.render.container import status_text
from minidock.engine import codec, health
from minidock.engine.config import Config, Healthcheck
from minidock.engine.model import Health, ProbeResult, State, Status
from minidock.image.model import ImageConfig
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

S = times.SECOND
BAD, GOOD = 1, 0


def run(wanted: Healthcheck, *codes: int, every: int = 10) -> list[tuple[str, int]]:
    """Status and streak after each probe of a container started at 1000 s."""
    state, seen = State(Status.RUNNING, started_at=1000 * S, health=Health()), []
    for n, code in enumerate(codes):
        now = health.after(state, wanted, ProbeResult((1000 + n * every) * S, (1001 + n * every) * S, code))
        state = State(Status.RUNNING, started_at=1000 * S, health=now)
        seen.append((now.status, now.failing_streak))
    return seen


def test_three_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() -> None:
    assert run(Healthcheck(), BAD, BAD, BAD, BAD, GOOD, BAD) == [
        ("starting", 1),
        ("starting", 2),
        ("unhealthy", 3),
        ("unhealthy", 4),
        ("healthy", 0),
        ("healthy", 1),
    ]


def test_failures_in_the_start_period_do_not_count() -> None:
    wanted = Healthcheck(start_period=15 * S, retries=1)
    assert run(wanted, BAD, BAD, BAD) == [("starting", 0), ("starting", 0), ("unhealthy", 1)]
    assert run(wanted, GOOD, BAD) == [("healthy", 0), ("unhealthy", 1)], "after a success the period is over"


def test_the_last_five_results_are_kept_and_outlive_the_daemon() -> None:
    state = State(health=Health())
    for code in range(7):
        state = State(health=health.after(state, Healthcheck(), ProbeResult(exit_code=code)))
    again = codec.decode(State, codec.encode(state))
    assert again.health and [r.exit_code for r in again.health.log] == [2, 3, 4, 5, 6]


def test_probes_come_faster_while_a_container_starts() -> None:
    wanted = Healthcheck(interval=60 * S, start_period=20 * S, start_interval=2 * S)
    starting = State(started_at=1000 * S, health=Health())
    assert health.pause_before(starting, wanted, 1010 * S) == 2 * S
    assert health.pause_before(starting, wanted, 1020 * S) == 60 * S
    assert health.pause_before(State(started_at=1000 * S, health=Health("healthy")), wanted, 1010 * S) == 60 * S
    assert health.pause_before(starting, Healthcheck(), 1010 * S) == 30 * S


def test_the_user_overrides_the_image_field_by_field() -> None:
    image = ImageConfig(healthcheck={"Test": ["CMD", "check"], "Interval": 5 * S, "Retries": 9})
    assert health.merge(None, image) == Healthcheck(("CMD", "check"), interval=5 * S, retries=9)
    assert health.merge(Healthcheck(retries=1), image) == Healthcheck(("CMD", "check"), interval=5 * S, retries=1)
    own = health.merge(Healthcheck(("NONE",)), image)
    assert own and health.command(Config(healthcheck=own)) == ()


def test_what_is_run() -> None:
    shell = Config(healthcheck=Healthcheck(("CMD-SHELL", "a | b")))
    assert health.command(shell) == ("/bin/sh", "-c", "a | b")
    assert health.command(Config(healthcheck=Healthcheck(("CMD", "a", "b")))) == ("a", "b")
    assert health.command(Config()) == () == health.command(Config(healthcheck=Healthcheck(("WHAT", "a"))))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Healthcheck(interval=5), "Interval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(start_period=-1), "StartPeriod in Healthcheck cannot be less than 1ms"),
        (Healthcheck(retries=-1), "Retries in Healthcheck cannot be negative"),
    ],
)
def test_what_is_refused(wanted: Healthcheck, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        health.check(wanted)


def test_ps_shows_it_while_the_container_runs() -> None:
    def shown(status: Status, word: str) -> str:
        return status_text(State(status, started_at=times.now() - 3 * S, health=Health(word)))

    assert shown(Status.RUNNING, "healthy") == "Up 3 seconds (healthy)"
    assert shown(Status.RUNNING, "starting") == "Up 3 seconds (health: starting)"
    assert shown(Status.PAUSED, "healthy") == "Up 3 seconds (Paused)"
    assert "health" not in shown(Status.EXITED, "unhealthy")
