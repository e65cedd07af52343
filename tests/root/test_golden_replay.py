"""Recorded sessions of docker's own clients with dockerd, typed again with our daemon in dockerd's place.

Each command of tests/support/golden_session.py must bring the requests, statuses, content types, JSON fields and exit
code that it had with dockerd 26.1; what may differ stands in docs/docker-differences.md with its reason, and nothing
stands there that does not differ. See: tests/support/golden.py for what a fact is.
"""

from __future__ import annotations

import fnmatch
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support import golden
from tests.support.cli import Cli, base_env
from tests.support.daemon import TOP, Daemon
from tests.support.golden_session import Command, Step, steps
from tests.support.needs import program_of
from tests.support.recorder import Recorder
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]

GOLDEN = Path(__file__).parent / "golden"
PAGE = TOP / "docs/docker-differences.md"


class Replay:
    """One client, typing the session at our daemon through a recorder."""

    def __init__(self, program: str, daemon: Daemon, recorder: Recorder, folder: Path) -> None:
        self.daemon, self.recorder, self.folder = daemon, recorder, folder
        environment = {**base_env(folder), "DOCKER_BUILDKIT": "0"}
        self.docker = Cli([program, "-H", f"unix://{recorder.path}"], environment)
        (folder / "f").write_text("a file\n")
        (folder / "build").mkdir()
        (folder / "build/Dockerfile").write_text('FROM busybox\nRUN echo built > /x\nCMD ["cat", "/x"]\n')

    def differences(self, session: list[Step], recorded: dict[str, golden.Facts]) -> Iterator[tuple[str, str, str]]:
        """(command, request, what is not as recorded) of the whole session."""
        for step in session:
            for command in step.commands:
                code = self._type(command)
                if code != command.code:
                    yield step.name, "", f"exit code {code}, not {command.code}"
            said = golden.facts(self.recorder.take(), lambda target: target.replace(str(self.folder), "{folder}"))
            for request, text in golden.differences(recorded[step.name], said):
                yield step.name, request, text
            if step.gone:
                eventually(partial(self._ended, step.gone), f"{step.gone} to end")

    def _type(self, command: Command) -> int:
        args = [word.replace("{folder}", str(self.folder)) for word in command.args]
        if command.until:
            with self.docker.start(*args) as process:
                self._until(command.until)
                for number in command.signals:
                    self._pass_on(process, number)
            return 0
        if command.terminal:
            with self.docker.terminal(*args, rows=0, columns=0) as terminal:
                return terminal.wait(60)
        return self.docker(*args, stdin=command.stdin).code

    def _pass_on(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Sends a signal until the client has passed one on; it takes a moment before it does."""
        request = f"signal={signal.Signals(number).name.removeprefix('SIG')}"

        def passed_on() -> bool:
            process.send_signal(number)
            return self.recorder.seen(request)

        eventually(passed_on, f"an answer to {request}", timeout=60)

    def _until(self, what: str) -> None:
        eventually(lambda: self.recorder.seen(what), f"an answer to {what}", timeout=60)

    def _ended(self, name: str) -> bool:
        return self.daemon.cli.ok("inspect", "-f", "{{.State.Running}}", name) == "false"


@dataclass(frozen=True)
class Row:
    """A difference that the page admits."""

    request: str  # a pattern as of fnmatch, without the version
    text: str

    def covers(self, request: str, text: str) -> bool:
        return text == self.text and fnmatch.fnmatchcase(re.sub(r"/v1\.\d+/", "/", request), self.request)


def admitted(version: str) -> set[Row]:
    """The rows of the page's table that are about this CLI."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {Row(line[1].strip("`"), line[2]) for line in lines if len(line) == 4 and line[0] in ("both", version)}


@pytest.fixture
def replay(fresh_daemon: Daemon, tmp_path: Path) -> Iterator[Callable[[str], Replay]]:
    with Recorder(fresh_daemon.base / "p.sock", fresh_daemon.socket) as recorder:
        yield lambda program: Replay(program, fresh_daemon, recorder, tmp_path)
    fresh_daemon.cli.ok("rmi", "img1:v1", "imp:1", "b1")
    fresh_daemon.cli("volume", "rm", "vol1")  # gone already where the client's prune takes named ones, too


@pytest.mark.time_limit(400)
@pytest.mark.parametrize(
    ("version", "attach_signals"),
    [
        pytest.param("28", (signal.SIGCONT,), marks=pytest.mark.docker_cli_28),
        pytest.param("20.10", (), marks=pytest.mark.docker_cli_20),
    ],
)
def test_a_recorded_session(replay: Callable[[str], Replay], version: str, attach_signals: tuple[int, ...]) -> None:
    program = program_of("docker", version)
    assert program
    recorded = golden.parse((GOLDEN / f"cli{version}.json").read_text())
    found = set(replay(program).differences(steps(attach_signals), recorded))
    rows = admitted(version)
    wrong = [row for row in sorted(found) if not any(known.covers(*row[1:]) for known in rows)]
    stale = [known for known in rows if not any(known.covers(*row[1:]) for row in found)]
    assert not wrong, "not as with dockerd:\n" + "\n".join(": ".join(row) for row in wrong)
    assert not stale, f"{PAGE.name} admits what is no difference: {stale}"
