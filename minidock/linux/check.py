"""One line of ``minidock doctor``: what was looked at, how it stands, what to do about it.

    ok     there, and what it is
    warn   minidock runs, but something will not work; the hint says how to get it
    fail   no container can run, or none with the defaults, until this is mended

Serves doctor.py and its parts. Read next: doctor.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from minidock.linux.reason import reason
from minidock.wire.errors import Error

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """The answer to one question about this machine."""

    name: str
    status: Status
    detail: str
    hint: str = ""


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that itself fails is an answer too: the doctor never dies of what it finds."""
    try:
        return look()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Check(name, "fail", f"can't be looked at: {where}{reason(error)}", "run it as root")
    except Error as error:
        return Check(name, "fail", error.message, error.hint)
