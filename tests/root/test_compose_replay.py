"""Recorded sessions of docker-compose 1.29 and 2.26 with dockerd, typed again with our daemon in dockerd's place.

What it asks and does for each command, and what it is answered, must be as it was with dockerd 26.1; what may differ
stands in docs/docker-differences.md. See: tests/support/golden_compose.py; test_golden_replay.py does it with the CLI.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.root.test_golden_replay import GOLDEN, PAGE, admitted
from tests.support import golden
from tests.support.cli import Cli, base_env
from tests.support.daemon import Daemon
from tests.support.golden_compose import FILES, PROJECT, commands, differences, without_query
from tests.support.needs import program_of
from tests.support.recorder import Recorder
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.time_limit(400)]


def _typed(compose: Cli, recorder: Recorder) -> Iterator[tuple[str, golden.Facts]]:
    """Each command with what was asked and answered."""
    for command in commands():
        name = shlex.join(command)
        if name.startswith(("run", "up --abort")):  # as it was then: nothing is left running of the client
            eventually(lambda: not compose.ok("ps", "-q", "--status", "running", "client"), "the client to end")
        compose.ok(*command, timeout=120)
        yield name, golden.facts(recorder.take(), without_query)


@pytest.mark.parametrize(
    "version", [pytest.param("1", marks=pytest.mark.compose_1), pytest.param("2.26", marks=pytest.mark.compose_2)]
)
def test_a_recorded_session(fresh_daemon: Daemon, tmp_path: Path, version: str) -> None:
    """Seen to fail with a field less in a network's list, and with a create that answers 200."""
    folder = tmp_path / PROJECT
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    fresh_daemon.load("busybox")
    recorded = golden.parse((GOLDEN / f"compose{version[0]}.json").read_text())
    rows = admitted("28")
    with Recorder(fresh_daemon.base / "p.sock", fresh_daemon.socket) as recorder:
        environment = base_env(tmp_path) | {"DOCKER_HOST": f"unix://{recorder.path}", "DOCKER_BUILDKIT": "0"}
        program = program_of("docker-compose", version) or ""
        compose = Cli([program, "-f", str(folder / "docker-compose.yml")], environment)
        found = list(differences(recorded, dict(_typed(compose, recorder))))
    fresh_daemon.cli.ok("rmi", f"{PROJECT}{'_' if version == '1' else '-'}built")
    fresh_daemon.cli.ok("image", "prune", "-f")
    wrong = [": ".join(row) for row in sorted(found) if not any(known.covers(*row[1:]) for known in rows)]
    assert not wrong, f"not as with dockerd, and not in {PAGE.name}:\n" + "\n".join(wrong)
