"""Shared work: done once for all who want it at the same time, seen by all, and forgotten afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from minidock.image.flights import Flights
from minidock.image.progress import Abandoned, Progress, ProgressLine
from tests.support.wait import eventually


def test_fifty_callers_are_one_piece_of_work() -> None:
    """Seen to fail where each does its own, and where who comes late is not told what was said."""
    flights, go, done = Flights(), threading.Event(), []
    heard: list[list[str]] = [[] for _ in range(50)]

    def work(say: Progress) -> str:
        say(ProgressLine("begun"))
        assert go.wait(10)
        say(ProgressLine("half", current=1, total=2))
        say(ProgressLine("ended"))
        done.append(1)
        return "result"

    with ThreadPoolExecutor(50) as pool:
        futures = [
            pool.submit(flights.share, "key", (lambda line, n=n: heard[n].append(line.status)), work) for n in range(50)
        ]
        eventually(lambda: all(heard), "all to have joined; the late ones are told what was said before")
        go.set()
        assert {future.result(10) for future in futures} == {"result"}
    assert done == [1]
    assert all(lines == ["begun", "half", "ended"] for lines in heard)


def test_an_error_is_everybodys_and_the_next_try_is_a_new_one() -> None:
    """Seen to fail where work that failed is kept, and where the others get no error."""
    flights, go, tries = Flights(), threading.Event(), []

    def fail(_: Progress) -> None:
        tries.append(1)
        assert go.wait(10)
        raise KeyError("no")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(flights.share, "key", lambda line: None, fail) for _ in range(3)]
        eventually(lambda: tries, "the work to begin")
        threading.Timer(0.05, go.set).start()
        for future in futures:
            with pytest.raises(KeyError):
                future.result(10)
    assert flights.share("key", lambda line: None, lambda say: "fine") == "fine"


def test_different_keys_do_not_wait_for_each_other() -> None:
    """Seen to fail where all keys are one."""
    flights = Flights()
    inner = flights.share("outer", lambda line: None, lambda say: flights.share("inner", say, lambda _: "both"))
    assert inner == "both"


class Watcher:
    """Hears what is said until it leaves."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.left = False

    def __call__(self, line: ProgressLine) -> None:
        if self.left:
            raise Abandoned
        self.heard.append(line.status)


def until(ended: threading.Event) -> Callable[[Progress], str]:
    """Work that talks all the time, until it may end."""

    def work(say: Progress) -> str:
        while not ended.wait(0.001):
            say(ProgressLine("on", current=1))
        return "result"

    return work


def test_work_goes_on_while_one_of_those_who_wanted_it_is_there() -> None:
    """Whoever that is; and it ends when nobody is. Seen to fail with nobody asked whether he is still there."""
    flights, ended = Flights(), threading.Event()
    watchers = [Watcher() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool, ExitStack() as end:
        end.callback(ended.set)
        futures = []
        for watcher in watchers:
            futures.append(pool.submit(flights.share, "key", watcher, until(ended)))
            eventually(lambda: watcher.heard, "it to be heard")  # noqa: B023 - at once
        for watcher in watchers[:2]:
            watcher.left = True
        before = len(watchers[2].heard)
        eventually(lambda: len(watchers[2].heard) > before + 5, "it to go on")
        watchers[2].left = True
        for future in futures:
            with pytest.raises(Abandoned):
                future.result(10)
    assert flights.share("key", Watcher(), until(ended)) == "result", "nothing is left of it"


def test_who_comes_while_it_ends_has_it_begun_anew() -> None:
    """Seen to fail with him joined to what is ending."""
    flights, ending, go, gone = Flights(), threading.Event(), threading.Event(), Watcher()

    def work(say: Progress) -> None:
        try:
            gone.left = True
            say(ProgressLine("anybody there?"))
        finally:
            ending.set()
            assert go.wait(10)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.share, "key", gone, work)
        assert ending.wait(10)
        second = pool.submit(flights.share, "key", Watcher(), lambda say: "new")
        threading.Timer(0.05, go.set).start()
        assert second.result(10) == "new"
        with pytest.raises(Abandoned):
            first.result(10)


def test_inner_work_is_for_all_the_outer_works_that_want_it() -> None:
    """A layer of two images: one pull is given up, the other gets it. Seen to fail with it ended by the first."""
    flights, ended, one, other = Flights(), threading.Event(), Watcher(), Watcher()

    def pull(name: str, watcher: Watcher) -> str:
        return flights.share(name, watcher, lambda say: flights.share("layer", say, until(ended)))

    with ThreadPoolExecutor(2) as pool, ExitStack() as end:
        end.callback(ended.set)
        first = pool.submit(pull, "one", one)
        eventually(lambda: one.heard, "the layer to be on its way")
        second = pool.submit(pull, "other", other)
        eventually(lambda: other.heard, "the second to have joined")
        one.left = True
        before = len(other.heard)
        eventually(lambda: len(other.heard) > before + 5, "it to go on")
        ended.set()
        assert second.result(10) == "result"
        first.exception(10)  # the layer was in its thread; what comes of it is of no interest to anybody
