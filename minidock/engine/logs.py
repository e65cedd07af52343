"""Reading a container's log: the json-file that its monitor writes, whole, from the end, or as it grows.

One JSON object a line, {"log", "stream", "time"}; a line of output that is longer than 16 KiB comes in several objects.
The file is the only truth: it is complete before the container's end is told, so who follows it until then and reads
once more has everything. Rotated files are <path>.1 (the youngest) and up.
See: Docker's json-file logging driver.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from minidock.engine.requests import LogEntry, LogRequest
from minidock.wire import frames, times

_POLL_SECONDS = 0.05
_CHUNK = 1 << 17
_STREAMS = {"stdout": frames.STDOUT, "stderr": frames.STDERR}


async def read(path: Path, request: LogRequest, alive: Callable[[], bool]) -> AsyncIterator[LogEntry]:
    """The entries that ``request`` asks for. ``alive`` tells whether more may come, for ``follow``."""
    with _Files(path) as files:
        skip = _start_of_tail(files.all, request.tail)
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
    """The log's files, oldest first; the last one is still being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[BinaryIO] = []

    def __enter__(self) -> _Files:
        rotated = [name for name in self.path.parent.glob(f"{self.path.name}.*") if name.suffix[1:].isdigit()]
        for name in (*sorted(rotated, key=lambda name: -int(name.suffix[1:])), self.path):
            self._open(name)
        return self

    def _open(self, name: Path) -> bool:
        try:
            self.all.append(name.open("rb"))
        except FileNotFoundError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        for file in self.all:
            file.close()

    def rotated(self) -> bool:
        """Whether the file we read last is no longer the one that is written; opens the new one."""
        try:
            now = os.stat(self.path).st_ino
        except FileNotFoundError:
            return False
        if self.all and os.fstat(self.all[-1].fileno()).st_ino == now:
            return False
        return self._open(self.path)


async def _lines(files: _Files, follow: bool, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Whole lines, file after file; with ``follow`` until the container has ended and its last line is read."""
    index, rest = 0, b""
    while True:
        # Asked before the read: what is written before the end is then certainly read.
        ending = not follow or not alive()
        data = files.all[index].read(_CHUNK) if index < len(files.all) else b""
        if data:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line
            await asyncio.sleep(0)
        elif index + 1 < len(files.all) or files.rotated():
            index = min(index + 1, len(files.all) - 1)
        elif ending:
            return
        else:
            await asyncio.sleep(_POLL_SECONDS)


def _start_of_tail(files: list[BinaryIO], tail: int | None) -> list[int]:
    """For each file the offset at which to begin, so that ``tail`` lines remain in all."""
    offsets = [0] * len(files)
    if tail is None:
        return offsets
    left = tail
    for index in range(len(files) - 1, -1, -1):
        offsets[index], found = _nth_line_from_end(files[index], left)
        left -= found
    return offsets


def _nth_line_from_end(file: BinaryIO, count: int) -> tuple[int, int]:
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


def _blocks_backwards(file: BinaryIO, position: int) -> Iterator[tuple[int, bytes]]:
    while position > 0:
        size = min(_CHUNK, position)
        position -= size
        file.seek(position)
        yield position, file.read(size)
