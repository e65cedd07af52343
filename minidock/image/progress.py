"""How work on images reports itself: one small record a line, in the words of `docker pull` and `docker load`.

Called from the threads that work; the API streams the lines, the client draws bars. What a callback does with a line
is its own business, and should be quick. It may raise Abandoned, and nothing else: that ends the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INTERVAL = 0.1  # seconds between two figures of one layer


@dataclass(frozen=True)
class ProgressLine:
    """``status`` about ``id`` (a layer's 12 digits, a tag), with ``current`` of ``total`` bytes; or ``stream`` text."""

    status: str = ""
    id: str = ""
    current: int | None = None
    total: int | None = None
    stream: str = ""
    aux: Any = None
    error: str = ""


Progress = Callable[[ProgressLine], None]


class Abandoned(Exception):
    """Whoever wanted the work to be done has gone."""


class Meter:
    """Counts the bytes of one phase of one layer, and reports at most ten times a second."""

    def __init__(self, progress: Progress, status: str, ident: str, total: int) -> None:
        self._progress, self._status, self._id, self._total = progress, status, ident, total
        self._current, self._next = 0, 0.0

    def restart(self) -> None:
        """From the beginning: the download broke off."""
        self._current = 0

    def add(self, count: int) -> None:
        """That many bytes more."""
        self._current += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._progress(ProgressLine(self._status, self._id, self._current, self._total))
