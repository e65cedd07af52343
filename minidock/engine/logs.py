"""Reading a container's log: the json-file that its monitor writes, whole, from the end, or as it grows.

One JSON object a line, {"log", "stream", "time"}; a line of output that is longer than 16 KiB comes in several objects.
The file is the only truth: it is complete before the container's end is told, so who follows it until then and reads
once more has everything. Rotated files are <path>.1 (the youngest) and up; where there is to be one file only, a
new one takes its place, and who has the old one open reads that to its end.

A follower holds the file that it reads, knows it by its inode whatever name it has by now, and when another has its
name, opens all that are younger. What is on disk at that look it delivers, whole and in order, though it be deleted
meanwhile. What max-file had deleted before is gone, for a follower as for anyone: a container that fills all its files
between two looks outruns its log. Looks come every millisecond while lines come, and seldom when they don't.
See: Docker's json-file logging driver.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path

from minidock.engine.requests import LogEntry, LogRequest
from minidock.wire import frames, times

_SOON, _SELDOM = 0.001, 0.05  # seconds between two looks: at first, and when there was nothing for a while
_TRIES = 20  # looks at a folder until it stands still for two of them
_CHUNK = 1 << 17
_STREAMS = {"stdout": frames.STDOUT, "stderr": frames.STDERR}


async def read(path: Path, request: LogRequest, alive: Callable[[], bool]) -> AsyncIterator[LogEntry]:
    """The entries that ``request`` asks for. ``alive`` tells whether more may come, for ``follow``."""
    with _Files(path) as files:
        while not files.begin():
            await asyncio.sleep(_SOON)
        skip = await asyncio.to_thread(_start_of_tail, files.all, request.tail)  # it may have to read gigabytes
        for file, offset in zip(files.all, skip, strict=True):
            file.seek(offset)
        async for line in _lines(files, request.follow, alive):
            entry = _parse(line)
            if entry is None or entry.time < request.since or not _wanted(entry, request):
                continue
            if request.until and entry.time > request.until:
                return
            yield entry


def _wanted(entry: LogEntry, request: LogRequest) -> bool:
    return request.stdout if entry.stream == frames.STDOUT else request.stderr


def _parse(line: bytes) -> LogEntry | None:
    """One line of the file; None for one that is torn or not ours."""
    try:
        row = json.loads(line)
        return LogEntry(_STREAMS[row["stream"]], times.parse_rfc3339(row["time"]), row["log"].encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class _Files:
    """The log's files that are not read to their end yet, oldest first; the last one may still be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[FileIO] = []

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.all:
            file.close()

    def begin(self) -> bool:
        """Takes all that there are; False if they changed too fast for a look."""
        found = self._younger_than(None)
        self.all = found or []
        return found is not None

    def read(self) -> bytes:
        return self.all[0].read(_CHUNK) if self.all else b""

    def next(self) -> bool:
        """Lets the oldest file go if there is a younger one: then no one writes it any more."""
        if len(self.all) < 2:
            return False
        self.all.pop(0).close()
        return True

    def shortened(self, held: int) -> bool:
        """Whether the file ends before where we are; goes on at its start, or where the ``held`` torn line began.

        On a full disk the monitor takes a torn line out again; and an administrator may have emptied the file.
        """
        if not self.all:
            return False
        file = self.all[0]
        size, position = os.fstat(file.fileno()).st_size, file.tell()
        if size >= position:
            return False
        whole = position - held
        file.seek(whole if size >= whole else 0)
        return True

    def rotated(self) -> bool:
        """Whether there are files younger than the last we have; takes them all. That last one is complete then."""
        ours = os.fstat(self.all[-1].fileno()) if self.all else None
        with suppress(FileNotFoundError):
            if ours and os.path.samestat(os.stat(self.path), ours):
                return False
        younger = self._younger_than(ours) or []
        self.all += younger
        return bool(younger)

    def _younger_than(self, ours: os.stat_result | None) -> list[FileIO] | None:
        """Opened, oldest first; None if they changed too fast to tell which is older.

        A rotation renames one file after the other, and many may come while we look: one walk through the names can
        meet a file twice, and an old one before a young one. But a file that had one name before and after it was
        opened had it all the while (names only count up, and no other has its inode while we hold it): where that
        goes for each, no rotation came between.
        """
        for _ in range(_TRIES):
            before = self._inodes(ours)
            with ExitStack() as opened, suppress(FileNotFoundError):
                files = [opened.enter_context(open(self._name(number), "rb", buffering=0)) for number in before]
                held = [os.fstat(file.fileno()).st_ino for file in files]
                if dict(zip(before, held, strict=True)) == self._inodes(ours):
                    opened.pop_all()
                    return files[::-1]
        return None

    def _inodes(self, ours: os.stat_result | None) -> dict[int, int]:
        """Of each file that is younger than ours, or of all if that one has no name any more: number and inode."""
        suffixes = (name.suffix[1:] for name in self.path.parent.glob(f"{self.path.name}.*"))
        found = {}
        for number in (0, *sorted(int(suffix) for suffix in suffixes if suffix.isdigit())):
            with suppress(FileNotFoundError):
                status = os.stat(self._name(number))
                if ours and os.path.samestat(status, ours):
                    break
                found[number] = status.st_ino
        return found

    def _name(self, number: int) -> str:
        return f"{self.path}.{number}" if number else str(self.path)


async def _lines(files: _Files, follow: bool, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Whole lines, file after file; with ``follow`` until the container has ended and its last line is read."""
    rest, pause = b"", _SOON
    while True:
        # Asked before the read: what is written before the end is then certainly read.
        ending = not follow or not alive()
        if data := files.read():
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line
            pause = _SOON
            await asyncio.sleep(0)
        elif files.shortened(len(rest)) or files.next():
            rest = b""
        elif files.rotated():
            pass  # what we have is read to its end once more: it grew up to the rename
        elif ending:
            return
        else:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _SELDOM)


def _start_of_tail(files: list[FileIO], tail: int | None) -> list[int]:
    """For each file the offset at which to begin, so that ``tail`` lines remain in all."""
    offsets = [0] * len(files)
    if tail is None:
        return offsets
    left = tail
    for index in range(len(files) - 1, -1, -1):
        offsets[index], found = _nth_line_from_end(files[index], left)
        left -= found
    return offsets


def _nth_line_from_end(file: FileIO, count: int) -> tuple[int, int]:
    """(offset of the count-th last line, how many lines lie behind it). Reads backwards in blocks."""
    end = position = file.seek(0, os.SEEK_END)
    if count <= 0:
        return end, 0
    found = 0
    for start, block in _blocks_backwards(file, position):
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if start + index + 1 == end:
                continue  # the newline of the last line ends it, and begins none
            found += 1
            if found == count:
                return start + index + 1, found
    return 0, found + (1 if end else 0)


def _blocks_backwards(file: FileIO, position: int) -> Iterator[tuple[int, bytes]]:
    while position > 0:
        size = min(_CHUNK, position)
        position -= size
        file.seek(position)
        yield position, file.read(size)
