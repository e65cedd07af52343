"""`minidock doctor`: what this machine offers to containers, check by check, with what to do about what is missing.

The daemon knows best, since it is the one that needs it; where none answers, `minidockd --doctor` looks for itself.
Exit code 1 if a check fails. `--leaks` asks instead for what belongs to nobody any more. Read next: ../linux/doctor.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from minidock.cli.colour import painted
from minidock.cli.output import table
from minidock.cli.verb import Failed, client, flag, tell, verb
from minidock.client.client import Json
from minidock.wire.errors import DaemonUnreachable

_MARKS = {"ok": ("ok", "green"), "warn": ("warning", "yellow"), "fail": ("FAIL", "red")}


@verb("doctor")
@flag("--json", "as_json", help="Print the checks as JSON")
@flag("--leaks", "leaks", help="Name what is on the machine in the daemon's name and belongs to nobody instead")
def doctor_command(as_json: bool, leaks: bool) -> int:
    """Check what this machine offers to containers"""
    if leaks:
        return _leaks(as_json)
    try:
        checks = client().doctor()
    except DaemonUnreachable as error:
        tell(f"{error.message}; asking `minidockd --doctor` instead")
        checks = _without_daemon(error)
    if as_json:
        print(json.dumps({"Checks": checks}, indent=4, ensure_ascii=False))
    else:
        sys.stdout.write(report(checks))
    return 1 if any(check["Status"] == "fail" for check in checks) else 0


def _leaks(as_json: bool) -> int:
    """What the daemon's next start would take away."""
    found = client().leaks()
    if as_json:
        print(json.dumps({"Leaks": found}, indent=4, ensure_ascii=False))
    elif found:
        sys.stdout.write(table([["KIND", "NAME", "WHY"], *([one["Kind"], one["Name"], one["Why"]] for one in found)]))
        tell("the next start of minidockd takes these away")
    else:
        print("nothing is left behind")
    return 1 if found else 0


def _without_daemon(trouble: DaemonUnreachable) -> list[Json]:
    beside = Path(sys.executable).parent / "minidockd"
    command = [str(beside)] if beside.exists() else [sys.executable, "-m", "minidock.daemon"]
    done = subprocess.run([*command, "--doctor"], capture_output=True, text=True, check=False)
    try:
        return list(json.loads(done.stdout)["Checks"])
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["it printed no checks"])[-1]
        raise Failed(f"no daemon answers, and minidockd --doctor failed: {reason}; hint: {trouble.hint}", 1) from None


def report(checks: Sequence[Json]) -> str:
    """A line a check, then what to do about those that are not ok."""
    lines: list[list[str]] = [["CHECK", "STATUS", "DETAIL"]]
    for check in checks:
        mark = painted(*_MARKS.get(check["Status"], (str(check["Status"]), "")), sys.stdout)
        lines.append([check["Name"], mark, check.get("Detail") or ""])
    text = table(lines)
    hints = [f"{check['Name']}: {check['Hint']}" for check in checks if check["Status"] != "ok" and check.get("Hint")]
    return text + "".join(f"\n{hint}" for hint in hints) + ("\n" if hints else "")
