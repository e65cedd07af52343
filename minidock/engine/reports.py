"""What became of a plan: each step with its result and its time, kept beside the container.

``minidock inspect --plan`` and ``run --trace`` show it. It is a file, so that a daemon that finds the container running
can show it too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from minidock.engine.requests import StepReport
from minidock.runtime.monitor import StepResult
from minidock.runtime.plan import Plan, show
from minidock.wire.errors import Conflict

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


def write(directory: Path, plan: Plan, results: Sequence[StepResult]) -> None:
    """Keeps the report of the latest start."""
    rows = [(r.kind, r.fields, r.text, r.errno, r.usec) for r in describe(plan, results)]
    (directory / _FILE).write_text(json.dumps(rows))


def read(directory: Path, name: str) -> tuple[StepReport, ...]:
    """The report of the latest start. Raises Conflict if there was none."""
    try:
        rows = json.loads((directory / _FILE).read_text())
    except FileNotFoundError:
        raise Conflict(f"container {name} was never started", "minidock plan IMAGE shows what would be done") from None
    return tuple(StepReport(kind, tuple(fields), text, errno, usec) for kind, fields, text, errno, usec in rows)
