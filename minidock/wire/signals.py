"""Signal names and numbers, as users write them and as exit codes show them.

See: signal(7); POSIX "Shell Command Language", exit status for commands ended by a signal.
"""

from __future__ import annotations

import signal

from minidock.wire.errors import InvalidArgument

_NUMBERS = {s.name[3:]: int(s) for s in signal.Signals}
_NUMBERS |= {f"RTMIN+{n}": signal.SIGRTMIN + n for n in range(1, 16)}
_NUMBERS |= {f"RTMAX-{n}": signal.SIGRTMAX - n for n in range(1, 15)}


def number(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL`` or ``sigkill`` → 9. Raises InvalidArgument for anything else."""
    if text.isascii() and text.isdigit():
        value = int(text) if len(text) < 4 else 0
        if 1 <= value <= int(signal.SIGRTMAX):
            return value
    name = text.upper().removeprefix("SIG")
    if name not in _NUMBERS:
        raise InvalidArgument(f"invalid signal: {text}", "give a name such as TERM or a number from 1 to 64")
    return _NUMBERS[name]


def exit_code(wait_status_code: int, wait_status_signal: int) -> int:
    """The exit code of a process: its own, or 128 + n where signal n ended it."""
    return 128 + wait_status_signal if wait_status_signal else wait_status_code
