"""Health checks: a command that is run in the container now and then, and says by its exit code whether it is well.

    starting ──0──▶ healthy ──retries failures in a row──▶ unhealthy ──0──▶ healthy
        └── retries failures, those in the start period not counted ──────────▲

A probe is an exec like any other, with a time limit (then it is killed, and has failed) and with its output cut at 4096
bytes; the last five are kept. The state is in the database, so that the next daemon goes on where this one was. A
paused container is left alone. Defaults and texts are Docker's.
See: Dockerfile reference, HEALTHCHECK; moby daemon/health.go. Read next: probes.py, which runs them.
"""

from __future__ import annotations

import dataclasses

from minidock.engine.codec import decode
from minidock.engine.config import Config, Healthcheck
from minidock.engine.model import Health, ProbeResult, State
from minidock.image.model import ImageConfig
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT = 5
_SHORTEST = times.SECOND // 1000
_INTERVAL, _START_INTERVAL, _RETRIES = 30 * times.SECOND, 5 * times.SECOND, 3
_TIMES = ("interval", "timeout", "start_period", "start_interval")


def merge(own: Healthcheck | None, image: ImageConfig) -> Healthcheck | None:
    """The user's check, what it leaves open filled in from the image's. Raises InvalidArgument."""
    if not image.healthcheck:
        return own
    base = decode(Healthcheck, dict(image.healthcheck), "Healthcheck")
    if own is None:
        return base
    chosen = {f.name: getattr(own, f.name) or getattr(base, f.name) for f in dataclasses.fields(Healthcheck)}
    return Healthcheck(**chosen)


def check(wanted: Healthcheck | None) -> None:
    """Raises InvalidArgument, with Docker's words, for what can't be."""
    if wanted is None:
        return
    for name in _TIMES:
        if getattr(wanted, name) and getattr(wanted, name) < _SHORTEST:
            shown = name.title().replace("_", "")
            raise InvalidArgument(f"{shown} in Healthcheck cannot be less than 1ms")
    if wanted.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def command(config: Config) -> tuple[str, ...]:
    """What a probe runs; nothing where there is no check, or one of a kind that nobody knows."""
    kind, *words = config.healthcheck.test if config.healthcheck and config.healthcheck.test else ("",)
    if kind == "CMD-SHELL":
        return (*(config.shell or ("/bin/sh", "-c")), *words)
    return tuple(words) if kind == "CMD" else ()


def at_start(config: Config) -> Health | None:
    """The state of health of a container that has just been started."""
    return Health(STARTING) if command(config) else None


def at_end(state: State) -> Health | None:
    """What has ended is not well."""
    return dataclasses.replace(state.health, status=UNHEALTHY) if state.health else None


def after(state: State, wanted: Healthcheck, result: ProbeResult) -> Health:
    """The state of health after another probe."""
    before = state.health or Health(STARTING)
    kept = (*before.log, result)[-KEPT:]
    if result.exit_code == 0:
        return Health(HEALTHY, 0, kept)
    early = before.status == STARTING and result.start - state.started_at < wanted.start_period
    streak = before.failing_streak + (not early)
    failed = not early and streak >= (wanted.retries or _RETRIES)
    return Health(UNHEALTHY if failed else before.status, streak, kept)


def pause_before(state: State, wanted: Healthcheck, now: int) -> int:
    """Nanoseconds until the next probe: a shorter time while a container is starting."""
    starting = state.health is not None and state.health.status == STARTING
    if starting and now - state.started_at < wanted.start_period:
        return wanted.start_interval or _START_INTERVAL
    return wanted.interval or _INTERVAL
