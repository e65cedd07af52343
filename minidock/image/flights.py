"""One piece of work for all who want it at the same time: fifty pulls of one image are one download.

The first caller with a key does the work; the others wait for its result, or its error, and see its progress: the
lines that went out before they came, then the live ones. Nothing is kept when the work is done. It goes on as long as
one of them is there, the first or another; when the last has gone (his progress raises Abandoned), it ends with that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Any, TypeVar, cast

from minidock.image.progress import Abandoned, Progress, ProgressLine

Result = TypeVar("Result")


class _Flight:
    """Work under way: its future, who listens, and what they would have missed."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self._lock = threading.Lock()
        self._listeners: list[Progress] = []
        self._said: list[ProgressLine] = []
        self._abandoned = False

    def join(self, progress: Progress) -> bool:
        """Whether there was still time: nobody can join work that is ending because nobody waited for it."""
        with self._lock:
            if self._abandoned:
                return False
            for line in self._said:
                progress(line)
            self._listeners.append(progress)
            return True

    def say(self, line: ProgressLine) -> None:
        with self._lock:
            if line.current is None:
                self._said.append(line)
            self._listeners = [listener for listener in self._listeners if _hears(listener, line)]
            if not self._listeners:
                self._abandoned = True
                raise Abandoned


def _hears(listener: Progress, line: ProgressLine) -> bool:
    try:
        listener(line)
    except Abandoned:
        return False
    return True


class Flights:
    """The work under way, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}

    def share(self, key: Hashable, progress: Progress, work: Callable[[Progress], Result]) -> Result:
        """The result of ``work``, done by whoever came first. Raises what it raised."""
        while True:
            with self._lock:
                flight = self._flights.get(key)
                first = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if flight.join(progress):
                break
            wait([flight.future])
        if first:
            self._fly(key, flight, work)
        return cast(Result, flight.future.result())

    def _fly(self, key: Hashable, flight: _Flight, work: Callable[[Progress], Result]) -> None:
        try:
            result = work(flight.say)
        except BaseException as error:
            self._land(key)
            flight.future.set_exception(error)
        else:
            self._land(key)
            flight.future.set_result(result)

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]
