"""The exit record as the daemon reads it: what a monitor wrote counts, anything else is no record at all, never a 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.runtime.exit_record import Exit, lost, read_exit_record

WHEN = "2026-11-22T00:00:00.123456789Z"
GOOD = f'{{"code":137,"signal":9,"finished":"{WHEN}"}}\n'


def test_what_a_monitor_wrote(tmp_path: Path) -> None:
    """Seen to fail where the signal is not read."""
    (tmp_path / "exit").write_text(GOOD)
    assert read_exit_record(tmp_path) == Exit(137, 9, WHEN)


def test_no_record(tmp_path: Path) -> None:
    """Seen to fail where a missing record is 0."""
    assert read_exit_record(tmp_path) is None
    assert read_exit_record(tmp_path / "nowhere") is None
    assert lost().code == 255 and lost().error


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\0" * len(GOOD),
        GOOD[:20],
        GOOD[:-2],
        GOOD.replace("137", "256"),
        GOOD.replace("137", "-1"),
        GOOD.replace("137", "true"),
        GOOD.replace("137", '"0"'),
        GOOD.replace("137", "1.5"),
        GOOD.replace("137", "9" * 5000),
        GOOD.replace("9,", "65,"),
        GOOD.replace(WHEN, "yesterday"),
        GOOD.replace(f'"{WHEN}"', "null"),
        GOOD.replace("signal", "sign"),
        GOOD.replace("137", "١٣٧"),
        "[137,9]",
        "[" * 4000,
        "137",
    ],
)
def test_anything_else_is_no_record(tmp_path: Path, content: str) -> None:
    """Seen to fail where the code may be of any type."""
    (tmp_path / "exit").write_text(content)
    assert read_exit_record(tmp_path) is None


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Seen to fail where json's own errors are caught and no others."""
    (tmp_path / "exit").write_bytes(GOOD.encode().replace(b"1", b"\xff"))
    assert read_exit_record(tmp_path) is None
