"""Sealed memfds: nobody, not even who holds them, can change the monitor's program or a plan any more."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from minidock.runtime.memfd import load_binary, sealed

CHANGES: dict[str, Callable[[int], object]] = {
    "write": lambda fd: os.pwrite(fd, b"x", 0),
    "shrink": lambda fd: os.ftruncate(fd, 1),
    "grow": lambda fd: os.ftruncate(fd, 100_000_000),
    "write through a new descriptor": lambda fd: os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_can_be_changed(change: str) -> None:
    """Row 1. Variant: no seals."""
    content = os.urandom(100_000)
    fd = sealed("test", content)
    try:
        with pytest.raises(PermissionError):
            CHANGES[change](fd)
        assert os.pread(fd, 200_000, 0) == content
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_the_monitors_program_is_executable() -> None:
    fd = load_binary()
    try:
        assert os.pread(fd, 4, 0) == b"\x7fELF"
        assert os.access(f"/proc/self/fd/{fd}", os.X_OK)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
