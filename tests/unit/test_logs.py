"""Reading the json-file log: all of it, the tail, across rotated files, and as it grows."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine import logs
from minidock.engine.requests import LogEntry, LogRequest
from minidock.wire import times

START = 1_700_000_000 * times.SECOND


def line(text: str, second: int = 0, stream: str = "stdout") -> str:
    return json.dumps({"log": text, "stream": stream, "time": times.rfc3339(START + second * times.SECOND)}) + "\n"


def read(path: Path, **wanted: object) -> list[LogEntry]:
    request = LogRequest(**{"stdout": True, "stderr": True, **wanted})  # type: ignore[arg-type]

    async def collect() -> list[LogEntry]:
        return [entry async for entry in logs.read(path, request, lambda: False)]

    return asyncio.run(collect())


def texts(path: Path, **wanted: object) -> list[str]:
    return [entry.data.decode() for entry in read(path, **wanted)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "x-json.log"
    path.write_text("".join(line(f"{n}\n", n, "stderr" if n % 2 else "stdout") for n in range(10)))
    return path


def test_all_of_it_in_order(log: Path) -> None:
    entries = read(log)
    assert [e.data for e in entries] == [f"{n}\n".encode() for n in range(10)]
    assert [e.stream for e in entries] == [1, 2] * 5
    assert entries[3].time == START + 3 * times.SECOND


def test_one_stream(log: Path) -> None:
    """Seen to fail where the streams are not told apart."""
    assert texts(log, stderr=False) == ["0\n", "2\n", "4\n", "6\n", "8\n"]


@pytest.mark.parametrize(("tail", "first"), [(0, 10), (1, 9), (3, 7), (10, 0), (99, 0)])
def test_tail(log: Path, tail: int, first: int) -> None:
    """Seen to fail where the tail is a line too long."""
    assert texts(log, tail=tail) == [f"{n}\n" for n in range(first, 10)]


def test_tail_of_a_log_longer_than_a_block(tmp_path: Path) -> None:
    """Seen to fail where the last block alone is searched."""
    path = tmp_path / "x-json.log"
    path.write_text("".join(line("x" * 1000 + f"{n}\n", n) for n in range(1000)))
    assert [text[1000:] for text in texts(path, tail=700)] == [f"{n}\n" for n in range(300, 1000)]


def test_since_and_until(log: Path) -> None:
    """Seen to fail where either is passed over."""
    assert texts(log, since=START + 3 * times.SECOND, until=START + 5 * times.SECOND) == ["3\n", "4\n", "5\n"]


def test_rotated_files_are_part_of_it(log: Path) -> None:
    """Seen to fail where they are not looked for, and where the youngest comes first."""
    log.rename(log.with_name(log.name + ".1"))
    log.write_text(line("new\n", 11))
    log.with_name(log.name + ".2").write_text(line("oldest\n"))
    assert texts(log) == ["oldest\n", *(f"{n}\n" for n in range(10)), "new\n"]
    assert texts(log, tail=3) == ["8\n", "9\n", "new\n"]


def test_a_torn_or_foreign_line_is_passed_over(log: Path) -> None:
    """Seen to fail where JSON's errors, or those of another shape, are let through."""
    with log.open("a") as file:
        file.write('{"log": "to\n[]\n{"log":1,"stream":"stdout","time":""}\n' + line("after\n", 20))
    assert texts(log)[-2:] == ["9\n", "after\n"]


def test_no_log_at_all(tmp_path: Path) -> None:
    """Seen to fail where a missing file is an error."""
    assert texts(tmp_path / "none") == []


def test_follow_sees_what_comes_later_a_rotation_and_the_last_line_before_the_end(log: Path) -> None:
    """Seen to fail where nobody looks for a rotation."""
    alive = True

    async def scenario() -> list[bytes]:
        nonlocal alive
        request = LogRequest(stdout=True, stderr=True, follow=True, tail=1)
        entries = logs.read(log, request, lambda: alive)
        seen = [(await anext(entries)).data]
        with log.open("a") as file:
            file.write(line("more\n", 11))
        seen.append((await anext(entries)).data)
        log.rename(log.with_name(log.name + ".1"))
        log.write_text(line("rotated\n", 12))
        seen.append((await anext(entries)).data)
        with log.open("a") as file:
            file.write(line("last\n", 13))
        alive = False
        return seen + [entry.data async for entry in entries]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == [b"9\n", b"more\n", b"rotated\n", b"last\n"]


def rotate(path: Path, files: int) -> None:
    """As the monitor does: path.1 becomes path.2 and so on."""
    for number in range(files - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        younger = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if younger.exists():
            younger.rename(older)


def follow_from_the_last(log: Path, change: Callable[[], None], count: int) -> list[str]:
    """What a reader who has read everything sees after ``change``: ``count`` entries, while the container runs."""

    async def scenario() -> list[str]:
        request = LogRequest(stdout=True, stderr=True, follow=True, tail=1)
        entries = logs.read(log, request, lambda: True)
        await anext(entries)
        waiting = asyncio.ensure_future(anext(entries))
        await asyncio.sleep(0.01)  # it has found the end of the file
        change()
        seen = [await waiting]
        while len(seen) < count:
            seen.append(await anext(entries))
        await entries.aclose()  # type: ignore[attr-defined]
        return [entry.data.decode() for entry in seen]

    return asyncio.run(asyncio.wait_for(scenario(), 10))


def test_follow_goes_on_when_the_only_file_is_emptied(log: Path) -> None:
    """Seen to fail where nobody sees that a file has become shorter."""

    def change() -> None:
        with log.open("r+") as file:
            file.truncate(0)
            file.write(line("first\n", 11) + line("second\n", 12))

    assert follow_from_the_last(log, change, 2) == ["first\n", "second\n"]


def test_follow_reads_the_only_file_to_its_end_when_another_takes_its_place(log: Path) -> None:
    """As a monitor rotates with max-file=1. Seen to fail where the new file is read at once: a line was lost."""

    def change() -> None:
        with log.open("a") as file:
            file.write(line("before\n", 11))
        log.with_suffix(".next").write_text(line("after\n", 12))
        log.with_suffix(".next").rename(log)

    assert follow_from_the_last(log, change, 2) == ["before\n", "after\n"]


def test_follow_goes_on_when_a_torn_line_is_taken_back(log: Path) -> None:
    """The disk was full: the monitor takes the line's beginning out again. What was read before is not told twice.

    Seen to fail where nobody sees it, and where the file is read from its start then.
    """
    whole = log.stat().st_size

    async def scenario() -> list[str]:
        entries = logs.read(log, LogRequest(stdout=True, stderr=True, follow=True, tail=1), lambda: True)
        seen = [await anext(entries)]
        with log.open("a") as file:
            file.write(line("torn\n" * 9)[:60])
        waiting = asyncio.ensure_future(anext(entries))
        await asyncio.sleep(0.15)  # it holds the torn line
        os.truncate(log, whole)
        await asyncio.sleep(0.15)  # it has seen that
        with log.open("a") as file:
            file.write(line("more than the torn line held: " + "x" * 99 + "\n", 11))
        seen.append(await waiting)
        await entries.aclose()  # type: ignore[attr-defined]
        return [entry.data.decode()[:4] for entry in seen]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == ["9\n", "more"]


def test_follow_skips_no_file_when_several_rotations_come_at_once(log: Path) -> None:
    """Seen to fail where the youngest file alone is gone on with."""

    def change() -> None:
        with log.open("a") as file:
            file.write(line("before the rename\n", 10))
        for number in range(4):
            rotate(log, 50)
            log.write_text(line(f"rotated {number}\n", 11 + number))

    expected = ["before the rename\n", *(f"rotated {number}\n" for number in range(4))]
    assert follow_from_the_last(log, change, 5) == expected
    assert texts(log, tail=5) == expected


def test_follow_goes_on_with_what_is_left_when_its_file_is_gone(log: Path) -> None:
    """Seen to fail where the youngest file alone is gone on with."""

    def change() -> None:
        for number in range(4):
            rotate(log, 3)
            log.write_text(line(f"rotated {number}\n", 11 + number))

    assert follow_from_the_last(log, change, 3) == [f"rotated {number}\n" for number in (1, 2, 3)]


def test_follow_keeps_the_order_when_rotations_come_while_it_looks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotations after the first file is opened: no line twice, none before an older one, none left out.

    Seen to fail with one walk through the names.
    """
    pending, counter = iter([2, 1, 0, 3]), itertools.count()

    def open_and_rotate(path: str, mode: str, buffering: int) -> object:
        file = open(path, mode, buffering)  # noqa: SIM115 - it is the caller's
        for _ in range(next(pending, 0)):
            rotate(log, 50)
            log.write_text(line(f"while it looks, {next(counter)}\n", 20))
        return file

    def change() -> None:
        rotate(log, 50)
        log.write_text(line("rotated\n", 11))
        monkeypatch.setattr(logs, "open", open_and_rotate, raising=False)

    seen = follow_from_the_last(log, change, 7)
    assert list(pending) == []
    assert seen == texts(log, tail=7) and seen[0] == "rotated\n" and len(set(seen)) == 7


@pytest.mark.parametrize(("files", "count"), [(2, 1000), (5, 1000), (300, 200)])
def test_follow_a_writer_that_rotates_all_the_time(tmp_path: Path, files: int, count: int) -> None:
    """In order, no line twice, none torn; all of them where none was deleted, and what is on disk in the end always.

    Seen to fail with one walk through the names: lines came twice and out of order.
    """
    log, over = tmp_path / "x-json.log", threading.Event()

    def write() -> None:
        for number in range(count):
            log.with_suffix(".next").write_text(line(f"{number} begins\n") + line(f"{number} ends\n"))
            rotate(log, files)
            log.with_suffix(".next").rename(log)
        over.set()

    async def follow() -> list[str]:
        request = LogRequest(stdout=True, stderr=True, follow=True)
        return [entry.data.decode() async for entry in logs.read(log, request, lambda: not over.is_set())]

    log.write_text(line("first\n"))
    writer = threading.Thread(target=write)
    writer.start()
    seen = asyncio.run(asyncio.wait_for(follow(), 100))
    writer.join()
    if files > count:
        assert len(seen) == 2 * count + 1
    everything = ["first\n", *(f"{number} {what}\n" for number in range(count) for what in ("begins", "ends"))]
    places = {text: place for place, text in enumerate(everything)}
    order = [places[text] for text in seen]
    assert order == sorted(set(order))
    left = texts(log)
    assert seen[-len(left) :] == left and len(left) == min(2 * files, len(everything))
