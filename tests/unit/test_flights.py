"""Shared work: done once for all who want it at the same time, seen by all, and forgotten afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from minidock.image.flights import Flights
from minidock.image.progress import Progress, ProgressLine
from tests.support.wait import eventually


def test_fifty_callers_are_one_piece_of_work() -> None:
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
    flights = Flights()
    inner = flights.share("outer", lambda line: None, lambda say: flights.share("inner", say, lambda _: "both"))
    assert inner == "both"
