"""A command that is attached to a container or an exec: from the hijacked stream to the exit code.

For run.py, attach.py and exec.py. `converse` gives the stream this process's standard streams, terminal and signals.
`exit_code_of` finds out afterwards whether the container ended, and how, or whether the user detached; it gets over a
daemon that died meanwhile, since the container and its stream live on without it (docs/architecture.md).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from select import select
from typing import NamedTuple

from minidock.cli import terminal
from minidock.cli.stream import Pump
from minidock.cli.verb import Failed, tell
from minidock.client.client import Client, Stream, Waiting
from minidock.wire.errors import DaemonUnreachable, Error, NotFound

_GRACE = 0.05  # seconds in which the news of an exit follows the end of its stream
_COMEBACK = 10.0  # seconds that a daemon gets to come back
_SHORT = 5.0  # seconds for a request that must not hold the stream up


class Ends(NamedTuple):
    """What a stream is joined to: stdin or not, a terminal or not, and what resizes and signals are to do."""

    stdin: bool
    tty: bool
    detach_keys: bytes
    resize: Callable[[Client, int, int], None]
    kill: Callable[[Client, str], None] | None = None


def container_ends(container: str, stdin: bool, tty: bool, detach_keys: bytes, proxied: bool) -> Ends:
    """The ends for a container's own process."""

    def resize(client: Client, rows: int, columns: int) -> None:
        client.resize(container, rows, columns)

    def kill(client: Client, name: str) -> None:
        client.kill(container, name)

    return Ends(stdin, tty, detach_keys, resize, kill if proxied else None)


def leave(stream: Stream, waiting: Waiting, removed: bool) -> None:
    """After a start that failed: gives the stream up, and lets the daemon finish its --rm, so that nothing is left."""
    stream.socket.close()
    if removed and select([waiting], [], [], _SHORT)[0]:
        with suppress(Error):
            waiting.result()


def converse(client: Client, stream: Stream, ends: Ends, signals: terminal.Signals) -> bool:
    """Pumps until the stream ends; True if the detach keys were typed, which may be why.

    Raises Failed if standard output takes no more before that.
    """
    aside = Client(client.endpoint, timeout=_SHORT)

    def on_signal(number: int) -> None:
        if number == signal.SIGWINCH:
            if ends.tty:
                fit(aside, ends)
        elif ends.kill:
            _forward(aside, ends.kill, number)

    pump = Pump(stream, ends.stdin, signals, on_signal, ends.detach_keys)
    with terminal.raw() if ends.tty and ends.stdin else nullcontext():
        pump.run()
    if isinstance(pump.broken, BrokenPipeError):
        raise Failed("standard output is closed; the container goes on", 141)
    if pump.broken:
        raise Failed(f"standard output: {(pump.broken.strerror or '').lower()}; the container goes on", 1)
    return pump.detaching


def fit(client: Client, ends: Ends, redraw: bool = False) -> None:
    """Gives the container's terminal the size of ours. Not worth a word if it fails: the program may have ended.

    With ``redraw`` the size changes twice, so that a program that runs already draws its screen anew.
    """
    size = terminal.size()
    with suppress(Error):
        if size and redraw:
            ends.resize(client, size[0] + 1, size[1] + 1)
        if size:
            ends.resize(client, *size)


def _forward(client: Client, kill: Callable[[Client, str], None], number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    try:
        kill(client, name)
    except DaemonUnreachable:
        tell(f"the daemon does not answer, so SIG{name} did not reach the container, which goes on\r")
    except Error:
        pass  # it has just ended


def exit_code_of(client: Client, container: str, waiting: Waiting, detaching: bool) -> int:
    """The exit code once the stream has ended; 0 if that was because the user detached."""
    try:
        if detaching and _still_runs(client, container, waiting):
            if terminal.is_terminal(2):
                sys.stderr.write("\n")  # the shell's prompt gets a line of its own
            return 0
        ended = waiting.result()
    except DaemonUnreachable:
        return _exit_code_later(client, container)
    if ended.error:
        raise Failed(ended.error, 125)
    return ended.code


def _still_runs(client: Client, container: str, waiting: Waiting) -> bool:
    ready, _, _ = select([waiting], [], [], _GRACE)
    try:
        return not ready and bool(client.inspect(container)["State"]["Running"])
    except NotFound:
        return False


def exec_exit_code(client: Client, session: str) -> int:
    """The exit code of an exec whose stream has ended; 0 if it still runs, because the user detached."""
    return _from_daemon(lambda: int(client.exec_inspect(session)["ExitCode"] or 0))


def _exit_code_later(client: Client, container: str) -> int:
    def ask() -> int:
        try:
            return client.wait(container, "not-running").result().code
        except NotFound:  # removed meanwhile; the daemon remembers how it ended
            return client.wait(container, "removed").result().code

    return _from_daemon(ask)


def _from_daemon(ask: Callable[[], int]) -> int:
    """What ``ask`` finds, once a daemon that is being started again can answer it."""
    deadline = time.monotonic() + _COMEBACK
    while True:
        try:
            return ask()
        except NotFound:
            raise Failed("it was removed while the daemon was away; the exit code is unknown", 125) from None
        except DaemonUnreachable as error:
            if time.monotonic() > deadline:
                raise Failed(f"the daemon has gone, and the exit code with it: {error}", 125) from None
            time.sleep(0.1)
