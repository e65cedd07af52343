"""What became of a plan: each step with its result and its time, kept beside the container.

``minidock inspect --plan`` and ``run --trace`` show it. It is a file, so that a daemon that finds the container running
can show it too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from minidock.engine.requests import StepReport
from minidock.runtime.monitor import StepResult
from minidock.runtime.plan import Plan, show
from minidock.wire.errors import Conflict, Error, ExecFailed, StepFailed

log = logging.getLogger(__name__)
_FILE = "plan.json"


def describe(plan: Plan, results: Sequence[StepResult] = ()) -> tuple[StepReport, ...]:
    """A plan for people, with results where there are any."""
    outcomes: list[StepResult | None] = [*results, *[None] * (len(plan) - len(results))]
    return tuple(
        StepReport(
            step.kind,
            tuple(show(field) for field in step.fields),
            step.text,
            outcome.errno if outcome else None,
            outcome.usec if outcome and outcome.errno is not None else None,
        )
        for step, outcome in zip(plan, outcomes, strict=True)
    )


def failure(error: StepFailed, command: str) -> Error:
    """For the client: a failed execve is about the command that the user gave, any other step about the machine."""
    return ExecFailed(error.path or command, error.errno) if error.step == "execve" else error


def write(directory: Path, plan: Plan, results: Sequence[StepResult]) -> tuple[StepReport, ...]:
    """Keeps the report of the latest start. One that can't be kept (the disk is full) is no reason not to start."""
    report = describe(plan, results)
    rows = [(r.kind, r.fields, r.text, r.errno, r.usec) for r in report]
    try:
        (directory / _FILE).write_text(json.dumps(rows))
    except OSError as error:
        log.warning("%s: the report of the start is not kept: %s", directory.name[:12], error)
    return report


def read(directory: Path, name: str) -> tuple[StepReport, ...]:
    """The report of the latest start. Raises Conflict if there was none, or none that can be read."""
    try:
        rows = json.loads((directory / _FILE).read_bytes())
        if not isinstance(rows, list):
            raise ValueError("no list of steps")
        return tuple(StepReport(kind, tuple(fields), text, errno, usec) for kind, fields, text, errno, usec in rows)
    except FileNotFoundError:
        raise Conflict(f"container {name} was never started", "minidock plan IMAGE shows what would be done") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise Conflict(f"read the report of container {name}: {error}", "its next start writes a new one") from None
