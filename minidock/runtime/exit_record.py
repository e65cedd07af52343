"""The exit record: what a monitor leaves behind about the end of its container (csrc/exitrecord.h).

It may have been written while no daemon ran. A file that is not exactly what a monitor writes counts as missing: better
an error than an exit code that was never there.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

_MAX = 4096
_FINISHED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)


@dataclass(frozen=True)
class Exit:
    """How a container ended.

    ``code`` is what it passed to exit(2), or 128 + ``signal``; ``finished`` is RFC 3339, empty if nobody knows;
    ``error`` says what is wrong when the code is not the container's own (255 then).
    """

    code: int
    signal: int
    finished: str
    error: str = ""


def lost() -> Exit:
    """For a container whose monitor is gone without a record."""
    return Exit(255, 0, "", "the monitor of the container is gone and left no exit record")


def read_exit_record(directory: Path) -> Exit | None:
    """The record in a monitor's directory, or None where there is none that can be trusted."""
    try:
        with (directory / "exit").open("rb") as file:
            found = json.loads(file.read(_MAX).decode("ascii"))
        code, signal, finished = found["code"], found["signal"], found["finished"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(code) is not int or type(signal) is not int or not isinstance(finished, str):
        return None
    if not (0 <= code <= 255 and 0 <= signal <= 64 and _FINISHED.fullmatch(finished)):
        return None
    return Exit(code, signal, finished)


def remove_monitor_directory(directory: Path) -> None:
    """Takes away what a monitor leaves: its socket, its exit record, its directory."""
    try:
        for entry in os.scandir(directory):
            os.unlink(entry.path)
        directory.rmdir()
    except FileNotFoundError:
        pass
