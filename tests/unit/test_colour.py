"""Colours: on a terminal, where they help; nowhere else, and not for those who asked for none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.cli import colour
from tests.support.fake_daemon import FakeDaemon
from tests.support.terminal import Terminal

MINIDOCK = str(Path(sys.executable).parent / "minidock")
ROW = {"Id": "a" * 64, "Image": "alpine", "Command": "sh", "Created": 1, "Ports": []}
STEPS = [{"Kind": "overlay", "Text": "root", "Errno": 0, "Usec": 5}, {"Kind": "mount", "Text": "proc", "Errno": 1}]
COMMANDS = {
    ("ps", "-a"): [r"\x1b\[32mUp 3 seconds\x1b\[0m", r"\x1b\[31mExited \(3\) 1 hour ago\x1b\[0m"],
    ("doctor",): [r"\x1b\[32mok\x1b\[0m", r"\x1b\[31mFAIL\x1b\[0m"],
    ("plan", "alpine"): [r"\x1b\[36moverlay\x1b\[0m +\x1b\[32mok\x1b\[0m", r"\x1b\[31mEPERM"],
    ("rm", "nosuch"): [r"\x1b\[31mminidock:\x1b\[0m No such container: nosuch"],
    ("run", "--help"): [r"\x1b\[1mUsage:\x1b\[0m  minidock run", r"\x1b\[36m-d, --detach\x1b\[0m  "],
    ("--help",): [r"\x1b\[1mImages:\x1b\[0m", r"\x1b\[36mps\x1b\[0m +List containers"],
    ("volume", "--help"): [r"\x1b\[36mprune\x1b\[0m"],
}  # fmt: skip


@pytest.fixture
def daemon(fake: FakeDaemon) -> FakeDaemon:
    rows = [("up", "Up 3 seconds"), ("failed", "Exited (3) 1 hour ago")]
    fake.on("GET", "/containers/json", [{**ROW, "Names": [f"/{name}"], "Status": text} for name, text in rows])
    fake.on("GET", "/minidock/doctor", {"Checks": [{"Name": "a", "Status": "ok"}, {"Name": "b", "Status": "fail"}]})
    fake.on("POST", "/minidock/plan", {"Steps": STEPS})
    return fake


def on_a_terminal(args: tuple[str, ...], env: dict[str, str]) -> str:
    terminal = Terminal([MINIDOCK, *args], env, 200, 80)
    try:
        terminal.wait(60)
        return terminal.seen.replace("\r\n", "\n")
    finally:
        terminal.close()


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_on_a_terminal_and_off(daemon: FakeDaemon, environment: dict[str, str], args: tuple[str, ...]) -> None:
    done = subprocess.run([MINIDOCK, *args], env=environment, capture_output=True, text=True, check=False)
    plain = done.stdout + done.stderr
    assert plain and "\x1b" not in plain

    coloured = on_a_terminal(args, environment)
    for pattern in COMMANDS[args]:
        assert re.search(pattern, coloured), coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain, "colours change no width"
    for no in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert on_a_terminal(args, environment | no) == plain


def test_a_format_has_no_colours(daemon: FakeDaemon, environment: dict[str, str]) -> None:
    for layout in ("{{.Status}}", "json", "table {{.Status}}"):
        assert "\x1b" not in on_a_terminal(("ps", "--format", layout), environment)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Up 3 seconds", "green"),
        ("Up 3 seconds (healthy)", "green"),
        ("Up 3 seconds (unhealthy)", "red"),
        ("Up 3 seconds (Paused)", "yellow"),
        ("Restarting (1) 2 seconds ago", "yellow"),
        ("Exited (0) 2 hours ago", "dim"),
        ("Exited (137) 2 hours ago", "red"),
        ("Created", "dim"),
    ],
)
def test_of_a_status(status: str, expected: str) -> None:
    assert colour.of_status(status) == expected


def test_a_hint_stands_out() -> None:
    assert colour.error("minidock: no; hint: do") == "\x1b[31mminidock:\x1b[0m no; \x1b[1mhint:\x1b[0m do"
