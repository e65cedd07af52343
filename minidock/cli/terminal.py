"""The terminal and the signals of a command that is attached to a container.

For attached.py. `raw` lends the terminal to the container's program: no echo, no line editing, Ctrl-C a byte like any
other; whatever ends the command, the terminal is given back as it was. `Signals` turns signals into numbers on a pipe
that stream.py waits on, so that everything is done in one loop. See: termios(3), signal(7), docker's --sig-proxy.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from minidock.cli.verb import BadFlag, Failed

# Passed on to the container. Not: faults of the client's own, job control, CHLD, PIPE, and WINCH, which is a resize.
PROXIED = tuple(getattr(signal, f"SIG{name}") for name in "HUP INT QUIT USR1 USR2 ALRM TERM CONT".split())
ENDING = tuple(getattr(signal, f"SIG{name}") for name in "HUP INT QUIT TERM".split())
DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = frozenset("abcdefghijklmnopqrstuvwxyz@[\\]^_")
_PATIENCE = 3


def is_terminal(fd: int) -> bool:
    """Whether the descriptor is open on a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size() -> tuple[int, int] | None:
    """Rows and columns of the terminal on standard output, or input; None without one."""
    for fd in (1, 0):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return None


def need_terminal(stdin: bool, with_tty: bool) -> None:
    """Docker's check: a tty in the container that reads from something else makes no sense."""
    if stdin and with_tty and not is_terminal(0):
        raise Failed("the input device is not a TTY; hint: leave out -t, or run this in a terminal", 1)


def detach_sequence(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` → the bytes that the keys send. Raises BadFlag."""
    found = b""
    for key in text.split(","):
        letter = key.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii() or (key != letter and letter not in _CONTROL):
            raise BadFlag(
                f'invalid argument "{text}" for "--detach-keys" flag: no key: {key!r}', "such as ctrl-p,ctrl-q"
            )
        found += bytes([ord(letter.upper()) & 0x1F]) if key != letter else letter.encode()
    return found


@contextmanager
def raw(fd: int = 0) -> Iterator[None]:
    """The terminal in raw mode for the time of the block."""
    import termios  # needed by few
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        # from the background the call would stop the process (SIGTTOU) and leave the terminal raw
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class Stopped(Failed):
    """A signal ends the command itself; raised in the main thread, so that every block is left in order."""

    def __init__(self, number: int) -> None:
        super().__init__("", 128 + number)


class Signals:
    """For the time of the block signals are numbers to be read from ``fileno()``.

    With ``proxied`` that holds for all of PROXIED; without, those that end a program raise Stopped. SIGWINCH always
    goes to the pipe. The third SIGINT or SIGTERM ends the command, as docker's does: the container may be deaf.
    """

    def __init__(self, proxied: bool) -> None:
        self._proxied = proxied
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, signal._HANDLER] = {}
        self._ends = 0

    def fileno(self) -> int:
        return self._read

    def pending(self) -> list[int]:
        """The signals that have come, in order."""
        try:
            return list(os.read(self._read, 1024))
        except BlockingIOError:
            return []

    def __enter__(self) -> Signals:
        self._handle(signal.SIGWINCH, self._note)
        for number in PROXIED if self._proxied else ENDING:
            # what the parent wants ignored stays so, as with nohup
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handle(number, self._note if self._proxied else self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _handle(self, number: int, handler: signal._HANDLER) -> None:
        self._before[number] = signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        with suppress(BlockingIOError):  # when 64 Ki signals wait already
            os.write(self._write, bytes([number]))
        self._ends += number in (signal.SIGINT, signal.SIGTERM)
        if self._ends >= _PATIENCE and number in (signal.SIGINT, signal.SIGTERM):
            sys.stderr.write("\r\nminidock: got 3 SIGTERM/SIGINTs, leaving; the container goes on\r\n")
            raise Stopped(number)

    def _stop(self, number: int, _: FrameType | None) -> None:
        raise Stopped(number)
