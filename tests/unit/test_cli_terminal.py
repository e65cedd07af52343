"""The client on a terminal: raw mode and its end, the size, detach keys, progress bars.

The terminal is a real pseudo-terminal; the daemon is a fake one whose stream behaves as a shell's would.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from minidock.cli.progress import show_progress
from minidock.cli.terminal import DETACH_KEYS, detach_sequence
from tests.support.fake_daemon import Exchange, FakeDaemon
from tests.support.terminal import Terminal
from tests.support.wait import eventually
from tests.unit.conftest import ID

C = f"/containers/{ID}"
Open = Callable[..., Any]
Draw = Callable[[list[dict[str, Any]], int], list[str]]


class Shell:
    """The other end of the stream: shows a prompt, gives back what is typed, ends at `q` or at ctrl-p ctrl-q."""

    def __init__(self, fake: FakeDaemon) -> None:
        self.running = True
        self.ended = threading.Event()
        fake.on("POST", "/containers/create", {"Id": ID, "Warnings": []}, 201)
        fake.on("POST", f"{C}/start", None, 204)
        fake.on("POST", f"{C}/resize", "")
        fake.on("POST", f"{C}/attach", self.talk)
        fake.on("POST", f"{C}/wait", self.wait)
        fake.on("GET", f"{C}/json", lambda exchange: exchange.reply(self.described()))
        fake.on("GET", "/containers/c/json", lambda exchange: exchange.reply(self.described()))
        fake.on("POST", "/containers/c/exec", {"Id": "e"}, 201)
        fake.on("POST", "/exec/e/start", self.talk)
        fake.on("POST", "/exec/e/resize", "")
        fake.on("GET", "/exec/e/json", {"ID": "e", "Running": False, "ExitCode": 4})

    def described(self) -> dict[str, Any]:
        return {"Id": ID, "State": {"Running": self.running}, "Config": {"Tty": True, "OpenStdin": True}}

    def talk(self, exchange: Exchange) -> None:
        connection = exchange.hijack(framed=False)
        connection.wfile.write(b"$ ")
        typed = b""
        while data := connection.rfile.read1(4096):
            typed += data
            if b"\x10\x11" in typed:
                return
            if data == b"q":
                break
            connection.wfile.write(data.upper())
        self.running = False
        self.ended.set()

    def wait(self, exchange: Exchange) -> None:
        exchange.head(200, Content_Type="application/json", Transfer_Encoding="chunked")
        if self.ended.wait(30):
            exchange.handler.wfile.write(b'11\r\n{"StatusCode":5}\n\r\n0\r\n\r\n')


@pytest.fixture
def shell(fake: FakeDaemon) -> Shell:
    return Shell(fake)


@pytest.fixture
def on_terminal(environment: dict[str, str]) -> Open:
    @contextmanager
    def run(*args: str, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
        terminal = Terminal([sys.executable, "-m", "minidock.cli.main", *args], environment, rows, columns)
        try:
            yield terminal
        finally:
            terminal.close()

    return run


def is_raw(terminal: Terminal) -> bool:
    return not terminal.modes()[3] & (termios.ECHO | termios.ICANON | termios.ISIG)


def restored(terminal: Terminal) -> bool:
    return bool(terminal.modes() == terminal.modes_before)


COMMANDS = {
    "run": (["run", "-it", "alpine"], 5),
    "attach": (["attach", "c"], 5),
    "exec": (["exec", "-it", "c", "sh"], 4),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_session_is_raw_and_given_back(shell: Shell, on_terminal: Open, name: str) -> None:
    command, code = COMMANDS[name]
    with on_terminal(*command) as terminal:
        terminal.expect(r"\$ ")
        assert is_raw(terminal)
        terminal.type("a\x03\x1a\x04\r")  # Ctrl-C, Ctrl-Z and Ctrl-D are bytes for the container
        terminal.expect("A\x03\x1a\x04\r")
        terminal.type("q")
        assert terminal.wait() == code
        assert restored(terminal)


@pytest.mark.parametrize("name", ["run", "attach"])
def test_detach_keys_end_the_client_with_0(shell: Shell, on_terminal: Open, name: str) -> None:
    with on_terminal(*COMMANDS[name][0]) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("\x10")
        terminal.type("\x11")
        assert terminal.wait() == 0
        assert restored(terminal)
        assert "minidock:" not in terminal.seen
    assert shell.running


def test_the_keys_alone_do_not_make_a_detached_container_of_an_ended_one(
    fake: FakeDaemon, shell: Shell, on_terminal: Open
) -> None:
    with on_terminal("run", "-it", "alpine") as terminal:
        terminal.expect(r"\$ ")
        shell.running = False
        shell.ended.set()
        terminal.type("\x10\x11")
        assert terminal.wait() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("name", ["run", "attach", "exec"])
def test_a_signal_leaves_no_raw_terminal(shell: Shell, on_terminal: Open, name: str, number: signal.Signals) -> None:
    command, _ = COMMANDS[name]
    flags = ["--sig-proxy=false"] if name == "run" else []
    with on_terminal(command[0], *flags, *command[1:]) as terminal:
        terminal.expect(r"\$ ")
        assert is_raw(terminal)
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert restored(terminal)


def test_a_stream_that_breaks_leaves_no_raw_terminal(fake: FakeDaemon, shell: Shell, on_terminal: Open) -> None:
    def breaks(exchange: Exchange) -> None:
        exchange.hijack(framed=True).wfile.write(b"\xff\0\0\0\0\0\0\1x")  # no such stream: the client can't go on

    fake.on("POST", f"{C}/attach", breaks)
    with on_terminal("run", "-it", "alpine") as terminal:
        assert terminal.wait() not in (0, None)
        assert restored(terminal)
        assert "Traceback" not in terminal.seen


def test_the_size_goes_along_and_follows(fake: FakeDaemon, shell: Shell, on_terminal: Open) -> None:
    with on_terminal("run", "-it", "alpine", rows=30, columns=100) as terminal:
        terminal.expect(r"\$ ")
        eventually(lambda: f"POST {C}/resize?h=30&w=100" in fake.seen(), "the first size")
        terminal.resize(40, 120)
        terminal.process.send_signal(signal.SIGWINCH)
        eventually(lambda: f"POST {C}/resize?h=40&w=120" in fake.seen(), "the new size")
        terminal.type("q")
        assert terminal.wait() == 5
    assert fake.requests[0].json["HostConfig"]["ConsoleSize"] == [30, 100]


def test_attach_makes_the_program_draw_anew(fake: FakeDaemon, shell: Shell, on_terminal: Open) -> None:
    with on_terminal("attach", "c", rows=30, columns=100) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("q")
        terminal.wait()
    assert [line for line in fake.seen() if "resize" in line] == [
        f"POST {C}/resize?h=31&w=101",
        f"POST {C}/resize?h=30&w=100",
    ]


def test_the_size_of_an_exec(fake: FakeDaemon, shell: Shell, on_terminal: Open) -> None:
    with on_terminal("exec", "-it", "c", "sh", rows=30, columns=100) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("q")
        terminal.wait()
    assert fake.requests[0].json["ConsoleSize"] == fake.requests[1].json["ConsoleSize"] == [30, 100]
    assert "POST /exec/e/resize?h=30&w=100" in fake.seen()


@pytest.mark.parametrize(
    ("text", "keys"),
    [(DETACH_KEYS, b"\x10\x11"), ("a", b"a"), ("ctrl-a,b,ctrl-@", b"\x01b\x00"), ("ctrl-[,ctrl-_", b"\x1b\x1f")],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert detach_sequence(text) == keys


# -- progress ----------------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal's screen, as far as progress needs one: lines, a cursor, up, down and erase."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.at = 0

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, text: str) -> int:
        size = len(text)
        while text:
            if text.startswith("\033["):
                digits, letter = "", text[2]
                text = text[2:]
                while text[0].isdigit():
                    digits, text = digits + text[0], text[1:]
                letter, text = text[0], text[1:]
                if letter == "K":
                    self.lines[self.at] = ""
                else:
                    self.at += int(digits) * (1 if letter == "B" else -1)
            else:
                letter, text = text[0], text[1:]
                if letter == "\n":
                    self.at += 1
                    self.lines += [""] * (self.at + 1 - len(self.lines))
                elif letter != "\r":
                    self.lines[self.at] += letter
        return size


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    """What progress leaves on a screen so many columns wide."""

    def drawn(progress: list[dict[str, Any]], columns: int) -> list[str]:
        monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
        screen = Screen()
        show_progress(progress, screen)
        return screen.lines

    return drawn


def line(ident: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": ident, "status": status, "progressDetail": {"current": current, "total": total} if current else {}}


def test_each_layer_keeps_its_line(draw: Draw) -> None:
    progress = [
        {"id": "3.23", "status": "Pulling from library/alpine"},
        line("aaa", "Pulling fs layer"),
        line("bbb", "Pulling fs layer"),
        line("aaa", "Downloading", 1_000_000, 4_000_000),
        line("bbb", "Download complete"),
        line("aaa", "Downloading", 4_000_000, 4_000_000),
        line("bbb", "Extracting", 5),
        {"status": "Digest: sha256:12"},
    ]
    assert draw(progress, 200) == [
        "3.23: Pulling from library/alpine",
        f"aaa: Downloading [{'=' * 50}]  4MB/4MB",
        "bbb: Extracting  5B",
        "Digest: sha256:12",
        "",
    ]


@pytest.mark.parametrize(
    ("width", "shown"), [(200, f"a: x [{'=' * 12}>{' ' * 37}]  1MB/4MB"), (80, "a: x  1MB/4MB"), (10, "a: x  1MB")]
)
def test_a_line_fits_the_terminal(draw: Draw, width: int, shown: str) -> None:
    assert draw([line("a", "x", 1_000_000, 4_000_000)], width)[0] == shown


def test_pull_draws_on_a_terminal(fake: FakeDaemon, on_terminal: Open) -> None:
    lines = [line("aaa", "Downloading", 1, 4), line("aaa", "Pull complete"), {"status": "Digest: sha256:12"}]
    fake.on("POST", "/images/create", lambda e: e.chunks(json.dumps(entry).encode() + b"\r\n" for entry in lines))
    with on_terminal("pull", "alpine:1", columns=200) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[1A\r\x1b[2Kaaa: Pull complete\x1b[1B\r" in terminal.seen
    assert terminal.seen.endswith("Digest: sha256:12\r\ndocker.io/library/alpine:1\r\n")
