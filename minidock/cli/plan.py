"""`minidock plan`: what a start would do, as the list of kernel steps that the daemon would hand to the monitor.

Nothing is made. `run --trace` and `inspect --plan` print the same steps with their results and times, by print_trace
and show_plan. Read next: ../runtime/plan.py, where the daemon makes the list.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from minidock.cli import options
from minidock.cli.colour import painted
from minidock.cli.making import container_body
from minidock.cli.output import table
from minidock.cli.verb import argument, client, flag, verb
from minidock.client.client import Json

_GAP_LEAST = 4  # the first column is a number
_LONG_ID = re.compile(r"\b[0-9a-f]{64}\b")


@verb("plan", options_first=True)
@argument("image", "IMAGE")
@argument("command", "[COMMAND] [ARG...]", nargs=-1)
@flag("--json", "as_json", help="Print the plan as JSON")
@flag("-d", "--detach", help="As with run; makes no difference to the plan")
@flag("--rm", help="As with run: the overlay of such a container is volatile")
@options.container_options
def plan_command(image: str, command: Sequence[str], as_json: bool, **given: Any) -> None:
    """Show the kernel steps that a start would take"""
    show_plan(client().plan(container_body(image, command, given)), as_json)


def show_plan(plan: Json, as_json: bool) -> None:
    """Prints a plan, with results and times where it was carried out."""
    if as_json:
        import json

        print(json.dumps(plan, indent=4, ensure_ascii=False))
        return
    sys.stdout.write(plan_table(plan["Steps"], sys.stdout))
    for warning in plan.get("Warnings") or ():
        print(f"WARNING: {warning}", file=sys.stderr)


def print_trace(plan: Json) -> None:
    """The steps of a start on stderr, while the container's output goes to stdout."""
    sys.stderr.write(plan_table(plan["Steps"], sys.stderr))
    sys.stderr.flush()


def plan_table(steps: Sequence[Json], out: TextIO) -> str:
    """For ``out``: a line a step, with number, kind, how it went if it was tried, and what it is about; ids are cut."""
    tried = any("Errno" in step for step in steps)
    heads = ["#", "STEP", *(["RESULT", "TIME"] if tried else []), "WHAT"]
    rows = [
        [
            str(number),
            painted(step["Kind"], "cyan", out),
            *([_result(step, out), _time(step)] if tried else []),
            step.get("Text") or "",
        ]
        for number, step in enumerate(steps, 1)
    ]
    lines = table([heads, *rows], _GAP_LEAST).splitlines()
    return "".join(f"{_LONG_ID.sub(lambda found: found[0][:12], line).rstrip()}\n" for line in lines)


def _result(step: Json, out: TextIO) -> str:
    code = step.get("Errno")
    if not code:
        return "-" if code is None else painted("ok", "green", out)
    return painted(f"{errno.errorcode.get(code, code)} ({os.strerror(code).lower()})", "red", out)


def _time(step: Json) -> str:
    return "" if step.get("Errno") is None or step.get("Usec") is None else f"{step['Usec']} µs"
