"""Shell completion: what could come next, and real shells that put it on the line.

The fake daemon answers for live names. Each shell reads the script that `minidock completion SHELL` prints and gets a
half-typed line with a tab; fish can be asked outright, bash and zsh are asked on a terminal, as a person would.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fake_daemon import FakeDaemon
from tests.support.terminal import Terminal
from tests.unit.conftest import Minidock

SCRIPTS = Path(sys.executable).parent
ROWS = [
    {"Names": ["/web"], "State": "running", "Image": "alpine", "Status": "Up 3 seconds"},
    {"Names": ["/web-old"], "State": "exited", "Image": "alpine", "Status": "Exited (0) 1 hour ago"},
    {"Names": ["/frozen"], "State": "paused", "Image": "alpine", "Status": "Up 1 hour (Paused)"},
]
Asked = Callable[..., list[str]]


@pytest.fixture
def live(fake: FakeDaemon) -> FakeDaemon:
    fake.on("GET", "/containers/json", ROWS)
    fake.on("GET", "/images/json", [{"RepoTags": ["alpine:3.23", "alpine:latest"]}, {"RepoTags": None}])
    fake.on("GET", "/networks", [{"Name": "bridge", "Driver": "bridge"}, {"Name": "back", "Driver": "bridge"}])
    fake.on("GET", "/volumes", {"Volumes": [{"Name": "data"}]})
    return fake


@pytest.fixture
def shell(environment: dict[str, str], live: FakeDaemon, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds `minidock`, and nothing of the user's settings."""
    path = f"{SCRIPTS}:{environment['PATH']}"
    return {**environment, "PATH": path, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "PS1": "$ "}


@pytest.fixture
def asked(shell: dict[str, str]) -> Asked:
    """`asked("minidock rm ")`: the completions of a line with the cursor at its end, as bash's script gets them."""

    def ask(line: str, **more: str) -> list[str]:
        asking = {"_MINIDOCK_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_POINT": str(len(line))}
        done = subprocess.run(["minidock"], env=shell | asking | more, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return [text.removeprefix("plain,") for text in done.stdout.splitlines() if text]

    return ask


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("minidock vol", ["volume"]),
        ("minidock network cr", ["create"]),
        ("minidock container st", ["start", "stats", "stop"]),
        ("minidock rm ", ["web-old"]),
        ("minidock exec w", ["web"]),
        ("minidock unpause ", ["frozen"]),
        ("minidock inspect web ", "web-old frozen alpine:3.23 alpine alpine:latest bridge back data".split()),
        ("minidock --host unix:///nowhere rm ", []),
        ("minidock run alpine:3", ["3.23"]),
        ("minidock run --rm -it al", ["alpine:3.23", "alpine", "alpine:latest"]),
        ("minidock run --network ba", ["back"]),
        ("minidock run --network=ba", ["back"]),
        ("minidock run --restart un", ["unless-stopped"]),
        ("minidock run -v ", ["data", "file,"]),
        ("minidock run --cidf", ["--cidfile"]),
        ("minidock run --no-", ["--no-healthcheck"]),
        ("minidock run alpine ", []),
        ("minidock network rm b", ["bridge", "back"]),
        ("minidock network create b", []),
        ("minidock cp web", ["web:", "web-old:", "file,web"]),
        ("minidock run --rm=what ", []),
        ("minidock run 'unfinished ", []),
    ],
)  # fmt: skip
def test_what_could_come_next(asked: Asked, line: str, completions: list[str]) -> None:
    assert asked(line) == completions


def test_a_daemon_that_is_dead_or_slow_completes_to_nothing(asked: Asked, live: FakeDaemon, tmp_path: Path) -> None:
    live.on("GET", "/containers/json", lambda exchange: exchange.handler.rfile.read(1))  # says nothing for ever
    assert asked("minidock rm ") == []
    assert asked("minidock rm ", MINIDOCK_HOST=f"unix://{tmp_path}/nowhere") == []
    assert asked("minidock rm ", MINIDOCK_HOST="nonsense") == []


def test_tls_flags_are_kept_to(asked: Asked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        asked(f"minidock -H tcp://127.0.0.1:{daemon.getsockname()[1]} --tls rm ")
        connection, _ = daemon.accept()
        with connection:
            assert connection.recv(1) == b"\x16", "no TLS handshake (RFC 8446, section 5.1)"


def test_only_known_shells(minidock: Minidock) -> None:
    assert minidock("completion", "tcsh").exit_code == 125
    for name in ("bash", "zsh", "fish"):
        assert f"_MINIDOCK_COMPLETE={name}_complete" in minidock("completion", name).output


@contextmanager
def terminal_of(argv: list[str], env: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(argv, env, 24, 200)
    try:
        yield terminal
    finally:
        terminal.close()


def tab(terminal: Terminal, line: str, shows: str) -> None:
    """Types the line and a tab; the shell must write ``shows`` behind it. Then takes the line back (Ctrl-U)."""
    terminal.type(line)
    terminal.expect(line[-8:])
    terminal.type("\t")
    terminal.expect(shows, timeout=60)
    terminal.type("\x15\r")


def test_bash(shell: dict[str, str]) -> None:
    with terminal_of(["bash", "--norc", "--noprofile", "-i"], shell) as bash:
        bash.type("source <(minidock completion bash); echo read''y\r")
        bash.expect("ready", timeout=60)
        tab(bash, "minidock unpa", "use ")
        tab(bash, "minidock rm we", "b-old ")
        tab(bash, "minidock run alpine:3", r"\.23 ")
        tab(bash, "minidock run --network=bac", "k ")
        Path(shell["HOME"], "archive.tar").touch()
        bash.type("cd\r")
        tab(bash, "minidock load -i arch", r"ive\.tar ")


@pytest.mark.zsh
def test_zsh(shell: dict[str, str]) -> None:
    with terminal_of(["zsh", "-f", "-i"], shell) as zsh:
        zsh.type("autoload -U compinit; compinit -u -D; source <(minidock completion zsh); echo read''y\r")
        zsh.expect("ready", timeout=60)
        tab(zsh, "minidock unpa", "use")
        tab(zsh, "minidock rm we", "b-old")
        tab(zsh, "minidock run --network=bac", "k")


@pytest.mark.fish
def test_fish(shell: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "archive.tar").touch()

    def ask(line: str) -> list[str]:
        script = f"minidock completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script], env=shell, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    assert ask("minidock unpa") == ["unpause\tLet paused containers run again"]
    assert ask("minidock rm we") == ["web-old\tExited (0) 1 hour ago (alpine)"]
    assert ask("minidock run alpine:3") == ["alpine:3.23"]
    assert ask("minidock load -i arch") == ["archive.tar"]
