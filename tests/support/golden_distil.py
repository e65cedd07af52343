"""Distils a recording of a client's session with dockerd into facts: a file of ../root/golden.

    python -m tests.support.golden_distil RECORDING.jsonl.gz > tests/root/golden/cli28.json

A recording has one exchange a line: `marker` (the command that caused it), `method`, `target`, `status`,
`resp_headers`, `resp_body`, and a `note` where the client went before the end. The recordings are not kept here; what
the clients read of them is. Run it again when there are new ones, or when golden.py learns to see more.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.golden import Facts, dump, facts
from tests.support.golden_session import Step, steps
from tests.support.recorder import Exchange

BY_CHANCE = "/kill?signal=TERM"  # see golden_session.py


def distil(path: Path, session: list[Step]) -> dict[str, Facts]:
    heard = exchanges_by_command(path)
    return {step.name: facts(heard[step.name]) for step in session}


def exchanges_by_command(path: Path) -> dict[str, list[Exchange]]:
    """What a recording has of each command."""
    heard: dict[str, list[Exchange]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            marker = line["marker"].replace("/tmp/oracle/cliw", "{folder}")
            heard.setdefault(marker, []).append(_exchange(line))
    return heard


def _exchange(line: dict[str, Any]) -> Exchange:
    content_type = line["resp_headers"].get("content-type")
    body = line.get("resp_body", "").encode()
    waited_for = "note" not in line and not line["target"].endswith(BY_CHANCE)
    return Exchange(line["method"], line["target"], line["status"], content_type, body, waited_for)


if __name__ == "__main__":
    sys.stdout.write(dump(distil(Path(sys.argv[1]), steps(()))))
