"""Waiting for a container: to stop running, to end next time, to be removed.

A wait is a future that exists from the moment of the request on, so nothing that happens afterwards is missed; "look,
then subscribe" is the race that other engines had.
"""

from __future__ import annotations

import asyncio

from minidock.engine.requests import WaitResult
from minidock.wire.errors import InvalidArgument

CONDITIONS = ("not-running", "next-exit", "removed")


class Waits:
    """The waits for one container, by condition."""

    def __init__(self) -> None:
        self._pending: dict[str, set[asyncio.Future[WaitResult]]] = {condition: set() for condition in CONDITIONS}

    def add(self, condition: str) -> asyncio.Future[WaitResult]:
        """A future for the next time that ``condition`` comes true. Cancelling it gives up."""
        check(condition)
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        self._pending[condition].add(future)
        future.add_done_callback(self._pending[condition].discard)
        return future

    def fire(self, condition: str, result: WaitResult) -> None:
        """It came true: everyone who waits for it gets the result."""
        for future in list(self._pending[condition]):
            if not future.done():
                future.set_result(result)


def check(condition: str) -> None:
    """Raises InvalidArgument for a condition that does not exist."""
    if condition not in CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"', f"one of {', '.join(CONDITIONS)}")


def done(result: WaitResult) -> asyncio.Future[WaitResult]:
    """A wait that is over already."""
    future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future
