"""Waiting in tests: poll with a deadline, never sleep and hope.

For all tiers. The deadline is generous, since a test machine may be slow; a passing test never waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """The first true value of `look()`; fails with `what` and the last value seen when the time is over."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {seen!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
