"""docs/security.md: all 32 rows are there, and each file, function and test that it names exists."""

from __future__ import annotations

import re

from tests.support.sources import TOP

PAGE = (TOP / "docs" / "security.md").read_text()


def test_every_row_names_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 34))
    assert [number for number, held in rows if "test_" not in held and "boundary" not in held] == []


def test_what_is_named_exists() -> None:
    sources = "".join(path.read_text() for path in (TOP / "tests").rglob("*.py"))
    tests = set(re.findall(r"def (\w+)\(", sources))
    assert set(re.findall(r"`(?:[\w/]+\.py::)?((?:test|check)_\w+)`", PAGE)) - tests == set()
    files = re.findall(r"`((?:tests|csrc|minidock)/[\w/.-]+?)(?:::\w+)?`", PAGE)
    assert len(files) > 30
    assert [name for name in files if not (TOP / name).exists()] == []
