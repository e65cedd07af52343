"""Detach keys (csrc/detach.c): found wherever reads are cut, and everything that is not the keys arrives unchanged."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.csrc import compile_driver

CTRL_P_Q = b"\x10\x11"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver("detach_driver.c", ["detach.c"], tmp_path_factory.mktemp("detach"))


def record(data: bytes) -> bytes:
    return struct.pack("=I", len(data)) + data


def run(driver: Path, keys: bytes, reads: Sequence[bytes]) -> tuple[bool, bytes, bytes]:
    """Whether the keys were seen, what reached the container, and what was held back at the end."""
    done = subprocess.run(
        [driver], input=record(keys) + b"".join(map(record, reads)), capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 1) and not done.stderr, done.stderr.decode()
    pieces, rest = [], done.stdout
    while rest:
        (length,) = struct.unpack_from("=I", rest)
        pieces.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return done.returncode == 0, b"".join(pieces[:-1]), pieces[-1]


def expected(keys: bytes, data: bytes) -> tuple[bool, bytes, bytes]:
    """The same on the whole input at once, by the plainest means."""
    at = data.find(keys) if keys else -1
    if at >= 0:
        return True, data[:at], b""
    held = next((n for n in range(min(len(keys) - 1, len(data)), 0, -1) if data.endswith(keys[:n])), 0)
    return False, data[: len(data) - held], data[len(data) - held :]


@pytest.mark.parametrize(
    ("keys", "reads"),
    [
        (CTRL_P_Q, [b"ls\n\x10\x11exit\n"]),
        (CTRL_P_Q, [b"ls\n\x10", b"\x11"]),
        (CTRL_P_Q, [b"\x10", b"\x10", b"\x11"]),
        (CTRL_P_Q, [b"\x10", b"a\x10"]),
        (CTRL_P_Q, [b"\x10a\x10b\x10\x10c"]),
        (b"aab", [b"aa", b"ab"]),
        (b"aab", [b"aaa", b"ac", b"aa"]),
        (b"x", [b"abc", b"axb"]),
        (b"", [b"any\x10\x11thing"]),
        (b"k" * 64, [b"k" * 63, b"j", b"k" * 64]),
    ],
)
def test_keys_are_found_and_nothing_else_is_touched(driver: Path, keys: bytes, reads: list[bytes]) -> None:
    assert run(driver, keys, reads) == expected(keys, b"".join(reads))


def test_any_input_cut_anywhere(driver: Path) -> None:
    chance = random.Random(20261122)
    for _ in range(150):
        keys = bytes(chance.choices(b"ab", k=chance.randint(1, 5)))
        data = bytes(chance.choices(b"aabc", k=chance.randint(0, 60)))
        reads = []
        left = data
        while left:
            n = chance.randint(1, 7)
            reads.append(left[:n])
            left = left[n:]
        assert run(driver, keys, reads) == expected(keys, data), (keys, reads)
