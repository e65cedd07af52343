"""The json-file log (csrc/log.c, csrc/json.c): Docker's format byte for byte, pieces, rotation, a disk that is full."""

from __future__ import annotations

import datetime
import json
import random
import re
import resource
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.csrc import compile_driver

STAMP = re.compile(rb'"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)"\}$')
OUT, ERR = 1, 2
Read = tuple[int, bytes]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver("log_driver.c", ["log.c", "json.c", "text.c", "util.c"], tmp_path_factory.mktemp("log"))


def write(
    driver: Path, path: Path, reads: Sequence[Read], size: int = 0, files: int = 1, file_limit: int = 0, **env: str
) -> list[bytes]:
    """Feeds the reads (empty: end of that stream); gives the log's lines, the time of each checked and taken out."""

    def limit() -> None:
        if file_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    script = b"".join(struct.pack("=BI", stream, len(data)) + data for stream, data in reads)
    command = [str(driver), str(path), str(size), str(files)]
    done = subprocess.run(
        command, input=script, capture_output=True, timeout=60, check=False, preexec_fn=limit, env=env
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return lines(path)


def lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n"), f"the log ends in a torn line: {data[-80:]!r}"
    found = data.split(b"\n")[:-1]
    for line in found:
        assert STAMP.search(line), line
        json.loads(line.decode("utf-8", "strict"))
    return [STAMP.sub(b"}", line).replace(b",}", b"}") for line in found]


def entry(log: bytes, stream: bytes = b"stdout") -> bytes:
    return b'{"log":"' + log + b'","stream":"' + stream + b'"}'


def text(found: Sequence[bytes]) -> str:
    return "".join(json.loads(line)["log"] for line in found)


def test_a_line_is_an_entry(driver: Path, tmp_path: Path) -> None:
    """Seen to fail where the stream is always stdout."""
    assert write(driver, tmp_path / "log", [(OUT, b"one\ntwo\n"), (ERR, b"oops\n"), (OUT, b"\n")]) == [
        entry(rb"one\n"),
        entry(rb"two\n"),
        entry(rb"oops\n", b"stderr"),
        entry(rb"\n"),
    ]


@pytest.mark.parametrize(
    ("output", "escaped"),
    [
        (b'say "hi" \\ back', rb"say \"hi\" \\ back"),
        (b"a\tb\rc", rb"a\tb\rc"),
        (b"\x00\x07\x08\x0b\x0c\x1b[0m\x1f", rb"\u0000\u0007\u0008\u000b\u000c\u001b[0m\u001f"),
        (b"\x7f", b"\x7f"),
        (b"<a href='x'>&amp;", rb"\u003ca href='x'\u003e\u0026amp;"),
        ("grüße, 世界 🐳".encode(), "grüße, 世界 🐳".encode()),
        ("\u2027\u2028\u2029\u202a".encode(), "\u2027".encode() + rb"\u2028\u2029" + "\u202a".encode()),
        (b"\xff\xfe", rb"\ufffd\ufffd"),
        (b"\xc3", rb"\ufffd"),  # cut short
        (b"\xe4\xb8x", rb"\ufffd\ufffdx"),  # one for each byte, as Go does
        (b"\xc0\xaf", rb"\ufffd\ufffd"),  # overlong
        (b"\xe0\x9f\xbf", rb"\ufffd\ufffd\ufffd"),
        (b"\xf0\x8f\xbf\xbf", rb"\ufffd\ufffd\ufffd\ufffd"),
        (b"\xed\xa0\x80", rb"\ufffd\ufffd\ufffd"),  # a surrogate
        (b"\xf4\x90\x80\x80", rb"\ufffd\ufffd\ufffd\ufffd"),  # past U+10FFFF
        ("\ud7ff\ue000\U0010ffff\ufffd".encode(), "\ud7ff\ue000\U0010ffff\ufffd".encode()),
    ],
)
def test_escapes_are_those_of_go(driver: Path, tmp_path: Path, output: bytes, escaped: bytes) -> None:
    """Seen to fail where < > & are kept as they are, and U+2028 is."""
    assert write(driver, tmp_path / "log", [(OUT, output + b"\n")]) == [entry(escaped + rb"\n")]


def test_a_line_may_come_in_pieces_and_streams_may_interleave(driver: Path, tmp_path: Path) -> None:
    """Seen to fail where each read ends a line."""
    reads = [(OUT, b"out"), (ERR, b"e\xe4"), (OUT, b"put\nnext"), (ERR, b"\xb8\x96\n"), (OUT, b" line\n")]
    assert write(driver, tmp_path / "log", reads) == [
        entry(rb"output\n"),
        entry("e世".encode() + rb"\n", b"stderr"),
        entry(rb"next line\n"),
    ]


def test_what_has_no_newline_is_written_at_the_end(driver: Path, tmp_path: Path) -> None:
    """Seen to fail where the end of a stream forgets it."""
    reads = [(OUT, b"prompt$ "), (ERR, b"x\ny"), (OUT, b""), (ERR, b""), (OUT, b"")]
    assert write(driver, tmp_path / "log", reads) == [
        entry(rb"x\n", b"stderr"),
        entry(b"prompt$ "),
        entry(b"y", b"stderr"),
    ]


@pytest.mark.parametrize("cut", [1000, 16383, 16384, 65536])
def test_a_long_line_is_cut_at_16_kib(driver: Path, tmp_path: Path, cut: int) -> None:
    """Seen to fail where each read ends a line."""
    data = b"a" * 40000 + b"\nshort\n" + b"b" * 16384 + b"\n" + b"c" * 16383 + b"\n"
    reads = [(OUT, data[at : at + cut]) for at in range(0, len(data), cut)]
    assert write(driver, tmp_path / "log", reads) == [
        entry(b"a" * 16384),
        entry(b"a" * 16384),
        entry(b"a" * 7232 + rb"\n"),
        entry(rb"short\n"),
        entry(b"b" * 16384),
        entry(rb"\n"),
        entry(b"c" * 16383 + rb"\n"),
    ]


def test_a_cut_spares_characters(driver: Path, tmp_path: Path) -> None:
    """Seen to fail where lines are cut at 16 KiB whatever is there."""
    for lead in range(5):
        data = "x" * lead + "🐳世é" * 9000 + "\n"
        path = tmp_path / f"log{lead}"
        raw = data.encode()
        found = write(driver, path, [(OUT, raw[at : at + 65536]) for at in range(0, len(raw), 65536)])
        assert text(found) == data
        assert len(found) == len(raw) // 16384 + 1


def test_all_bytes_in_any_cut_give_what_one_read_gives(driver: Path, tmp_path: Path) -> None:
    """Seen to fail where each read ends a line."""
    chance = random.Random(20261122)
    data = bytes(chance.choices([*range(256), 10, 10], k=300_000)) + b"\n"
    whole = write(driver, tmp_path / "whole", [(OUT, data[at : at + 65536]) for at in range(0, len(data), 65536)])
    reads, left = [], data
    while left:
        n = chance.choice([1, 2, 3, 100, 5000, 65536])
        reads.append((OUT, left[:n]))
        left = left[n:]
    assert write(driver, tmp_path / "cut", reads) == whole


def test_worst_case_of_escapes_fits(driver: Path, tmp_path: Path) -> None:
    found = write(driver, tmp_path / "log", [(OUT, b"\x01" * 65536), (OUT, b"\xff" * 65536), (OUT, b"")])
    assert text(found) == "\x01" * 65536 + "\ufffd" * 65536


def test_rotation_keeps_the_newest_files(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    count = 200
    write(driver, path, [(OUT, b"line %d\n" % i) for i in range(count)], size=1000, files=3)
    kept = [path.with_name("log.2"), path.with_name("log.1"), path]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(1000 <= old.stat().st_size < 1100 for old in kept[:2])
    seen = [text([line]) for file in kept for line in lines(file)]
    assert seen == [f"line {i}\n" for i in range(count)][-len(seen) :]


def test_rotation_within_one_read(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(driver, path, [(OUT, b"".join(b"line %d\n" % i for i in range(200)))], size=1000, files=100)
    seen = [text([line]) for n in range(99, 0, -1) if (f := path.with_name(f"log.{n}")).exists() for line in lines(f)]
    assert seen + [text([line]) for line in lines(path)] == [f"line {i}\n" for i in range(200)]


def test_one_file_starts_over(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    found = write(driver, path, [(OUT, b"line %d\n" % i) for i in range(200)], size=1000, files=1)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 1100
    assert text(found[-1:]) == "line 199\n"


def test_the_log_of_an_earlier_run_is_continued_and_counted(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(driver, path, [(OUT, b"first\n")])
    assert write(driver, path, [(OUT, b"second\n")]) == [entry(rb"first\n"), entry(rb"second\n")]
    size = path.stat().st_size
    write(driver, path, [(OUT, b"third\n")], size=size, files=2)
    assert text(lines(path.with_name("log.1"))) == "first\nsecond\n"
    assert text(lines(path)) == "third\n"


def test_a_full_disk_loses_lines_but_tears_none(driver: Path, tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk: the kernel writes a part and then refuses, in both."""
    reads = [(OUT, b"".join(b"line %d\n" % i for i in range(k * 50, k * 50 + 50))) for k in range(4)]
    found = write(driver, tmp_path / "log", reads, file_limit=5000)
    assert 0 < len(found) < 200
    assert text(found) == "".join(f"line {i}\n" for i in range(len(found)))


def test_no_room_at_all_for_rotation_goes_on_in_the_old_file(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.with_name("log.1").mkdir()  # rename of a file onto a folder fails, for root too
    found = write(driver, path, [(OUT, b"line %d\n" % i) for i in range(100)], size=1000, files=2)
    assert text(found) == "".join(f"line {i}\n" for i in range(100))


def test_a_rotation_that_fails_at_its_last_rename_is_undone(driver: Path, tmp_path: Path) -> None:
    """What goes on being written has its own name, or no reader would find it, and the next rotation none of its lines.

    Seen to fail where the old file stayed log.1: there was no log.
    """
    path = tmp_path / "log"
    reads = [(OUT, b"line %d\n" % i) for i in range(20)]
    found = write(driver, path, reads, size=1000, files=3, FAILING_RENAME="3")  # log.1 to .2, log to .1, the new one
    assert list(tmp_path.iterdir()) == [path]
    assert text(found) == "".join(f"line {i}\n" for i in range(20))
    found = write(driver, path, [(OUT, b"line 20\n")], size=1000, files=3)
    assert text(found) == "line 20\n" and len(lines(path.with_name("log.1"))) == 20


def test_the_time_is_now_in_utc(driver: Path, tmp_path: Path) -> None:
    before = datetime.datetime.now(datetime.UTC)
    write(driver, tmp_path / "log", [(OUT, b"x\n")])
    after = datetime.datetime.now(datetime.UTC)
    stamp = json.loads((tmp_path / "log").read_bytes())["time"]
    assert before <= datetime.datetime.fromisoformat(stamp[:26] + "+00:00") <= after


def test_the_calendar(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    day = 86400
    leap = [datetime.datetime(year, 2, 28, tzinfo=datetime.UTC) for year in (1972, 2000, 2026, 2028, 2100)]
    times = [0, day - 1, day, *(int(at.timestamp()) + n * day for at in leap for n in range(3))]
    times += [chance.randrange(253402300800) for _ in range(2000)]
    program = compile_driver("text_driver.c", ["text.c"], tmp_path)
    printed = subprocess.run([program, *map(str, times)], capture_output=True, text=True, timeout=60, check=True).stdout
    for second, stamp in zip(times, printed.splitlines(), strict=True):
        date = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=second)
        assert stamp == f"{date:%Y-%m-%dT%H:%M:%S}.{second % 10**9:09d}Z"
