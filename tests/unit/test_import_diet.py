"""The import diets: what `minidock` may not import on its way to the first request, and `minidockd` not at its start.

The client's imports are the largest single cost of `minidock run`, so what it pulls in is held to a list, measured by
the interpreter's own account (-X importtime, by its environment variable) of the installed command. Times are not
asserted: on a loaded machine they mean nothing. The daemon's are memory that it holds for ever. See:
https://docs.python.org/3/using/cmdline.html#cmdoption-X
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import TOP

MINIDOCK = Path(sys.executable).parent / "minidock"

# The engine and what only it needs; then what is dear and has a cheaper way.
ENGINE = (
    "minidock.api",
    "minidock.engine",
    "minidock.image",
    "minidock.network",
    "minidock.cgroup",
    "minidock.runtime",
)
NEVER = (
    *ENGINE,
    *("minidock.linux", "minidock.db", "minidock.daemon", "minidock._shim"),
    *("asyncio", "pyroute2", "prctl", "cffi", "_cffi_backend", "sqlite3", "h11", "urllib3", "requests", "docker"),
    *(
        "http.client",
        "urllib.request",
        "ssl",
        "email",
        "multiprocessing",
        "concurrent.futures",
        "tarfile",
        "subprocess",
    ),
    *("site", "rich", "pkg_resources", "importlib.metadata", "unittest", "logging"),
    # what click imports, or would for a flag that it takes for misspelt, and cli/__init__.py keeps away
    *("inspect", "uuid", "platform", "datetime", "threading", "gettext", "locale", "difflib"),
    *("dataclasses", "tty", "termios", "socket", "urllib.parse", "pathlib", "random"),
)
# Of the daemon: what pulls, fetches and unpacks zstd, what few attach by, and the face of pyroute2 with all it has.
DAEMON_NEVER = ("urllib3", "http.client", "email", "wsproto", "zstandard", "minidock.image.pull", "pyroute2.iproute")
COMMANDS = (["--help"], ["--version"], ["ps"], ["run", "--rm", "alpine", "true"], ["exec", "c", "true"], ["images"])


def imported(*arguments: str) -> set[str]:
    """Modules imported by one run of the client, against a socket on which nobody answers."""
    return _imported([str(MINIDOCK), "-H", "unix:///nowhere.sock", *arguments])


def _imported(command: list[str]) -> set[str]:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def on_the_list(modules: set[str], never: tuple[str, ...] = NEVER) -> list[str]:
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{banned}.") for banned in never))


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_the_client_keeps_its_diet(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert "minidock.cli" in modules, "the client did not start"
    assert not on_the_list(modules)


def test_a_command_does_not_load_the_others() -> None:
    there = {f"minidock.cli.{path.stem}" for path in (TOP / "minidock/cli").glob("*.py")}
    loaded = imported("ps") & there
    assert loaded, "the client did not start"
    assert len(loaded) <= len(there) / 2, f"minidock ps loads {sorted(loaded)}"


def test_the_daemon_keeps_its_diet() -> None:
    modules = _imported([f"{MINIDOCK}d", "--version"])
    assert "minidock.engine.engine" in modules, "the daemon did not start"
    assert not on_the_list(modules, DAEMON_NEVER)


def test_the_diet_can_fail() -> None:
    assert on_the_list({"asyncio.events", "click", "minidock.engine.model"}) == [
        "asyncio.events",
        "minidock.engine.model",
    ]
