"""What is measured: a row a command and engine, and the ways to take a figure of it.

`timed` gives the milliseconds of a command from spawn to exit, `reading` what a command prints of itself. What must be
undone before the next time (an image that was pulled) goes into `before`, which no clock sees. Read next: peers.py.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

LONGEST = 180  # seconds, for one command
Sample = Callable[[], float]


class FailedError(Exception):
    """A command that did not do what was to be measured."""


def nothing() -> None:
    """No need to tidy up."""


@dataclass(frozen=True)
class Measured:
    """A command of an engine; `what` is the group that it is compared within."""

    what: str
    engine: str
    sample: Sample
    before: Callable[[], Any] = nothing
    unit: str = "ms"


@dataclass
class Row:
    """What is measured, and the figures so far."""

    measured: Measured
    figures: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.figures)


def timed(command: Sequence[str]) -> Sample:
    """Milliseconds of wall clock from spawn to exit."""

    def sample() -> float:
        began = time.perf_counter()
        _ran(command)
        return (time.perf_counter() - began) * 1000

    return sample


def reading(command: Sequence[str], parse: Callable[[str], float]) -> Sample:
    """The figure that `parse` finds in what the command prints."""

    def sample() -> float:
        try:
            return parse(_ran(command))
        except (ValueError, KeyError) as error:
            raise FailedError(f"{command[0]}: no figure in its output: {error}") from error

    return sample


def quietly(*commands: Sequence[str]) -> Callable[[], None]:
    """Runs them one after another, whatever comes of it."""

    def run() -> None:
        for command in commands:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    return run


def _ran(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise FailedError(f"not done after {LONGEST} seconds") from None
    if done.returncode != 0:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["no word about it"])[-1]
        raise FailedError(f"exit code {done.returncode}: {last}")
    return done.stdout
