"""A program on a terminal, driven as a person would: read until something shows, type, resize, look at the modes.

For tests of `run -it`, `exec -it`, `attach` and of raw mode being undone. The pseudo-terminal is the program's
controlling one, so Ctrl-C typed here is a signal there. See: pty(7), termios(3).
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Any


class Terminal:
    """A program on a pseudo-terminal. `seen` is all that it has shown so far; expect() looks only at what is new."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], rows: int, columns: int) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self._slave_path = os.ttyname(slave)
        self.modes_before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            # setsid's --ctty makes the terminal the controlling one; --wait is not needed, as setsid only execs
            ["setsid", "--ctty", *argv],
            env=dict(env),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        self._slave = slave  # kept open: the modes can be read after the program has ended
        self.seen = ""
        self._looked = 0

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, timeout: float = 15.0) -> re.Match[str]:
        """Reads until the pattern shows in what is new since the last match; fails with what was seen instead."""
        deadline = time.monotonic() + timeout
        while True:
            if found := re.search(pattern, self.seen[self._looked :]):
                self._looked += found.end()
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"the terminal never showed {pattern!r}; it showed: {self.seen[self._looked :]!r}")

    def wait(self, timeout: float = 15.0) -> int:
        """The exit status, with everything that the program showed read into `seen`."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self._read(0.05)
            assert time.monotonic() < deadline, f"the program did not end; it showed: {self.seen!r}"
        while self._read(0.05):
            pass
        return self.process.returncode

    def modes(self) -> list[Any]:
        """The terminal's modes now (tcgetattr); compare with `modes_before`."""
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(timeout, 0))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last holder of the other end is gone
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)
