"""Fixtures of the client's tests: a fake daemon on a real socket, and the client run against it.

`minidock(...)` runs a command inside this process by click's CliRunner; `program(...)` as a process of its own, for
everything that touches the real streams, signals or the exit of the interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minidock.cli.main import cli
from tests.support.fake_daemon import FakeDaemon

ID = "4af64a957267781b77cea18e76b21145489f76b0e68bd43a0ee0159ce224bb93"
Minidock = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "d.sock") as daemon:
        yield daemon


@pytest.fixture
def minidock(fake: FakeDaemon) -> Minidock:
    def run(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, ["-H", fake.host, *args], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def environment(fake: FakeDaemon) -> dict[str, str]:
    """For programs: the daemon's address, and nothing of the caller's settings."""
    return {"PATH": os.environ["PATH"], "MINIDOCK_HOST": fake.host, "LANG": "C.UTF-8", "TERM": "xterm"}


@pytest.fixture
def program(environment: dict[str, str]) -> Program:
    def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "minidock.cli.main", *args]
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, timeout=30, check=False)

    return run
