"""Sealed memfds: files without a name that nobody can change any more, the monitor's program and its plans.

The program that enters a container must not be a file that the container could write to through /proc/self/exe
(CVE-2019-5736): it is executed from a sealed copy in memory. One copy serves all monitors, so its pages exist once
however many containers run. See: memfd_create(2), fcntl(2) "File seals".

Serves monitor.py and the daemon's start.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from minidock.linux import shim

# From <linux/memfd.h> and <linux/fcntl.h> of Linux 6.3; older kernels answer EINVAL.
_MFD_NOEXEC_SEAL = 0x8
_MFD_EXEC = 0x10
_F_SEAL_EXEC = 0x20

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def load_binary(path: Path | None = None) -> int:
    """A sealed memfd of the monitor's program (the installed one); made once per daemon. Raises OSError."""
    with (path or shim.monitor_path()).open("rb") as program:
        return sealed("minidock-monitor", program.read(), executable=True)


def sealed(name: str, content: bytes, *, executable: bool = False) -> int:
    """A memfd (close-on-exec) with this content, sealed against any change."""
    fd = _create(name, _MFD_EXEC if executable else _MFD_NOEXEC_SEAL)
    try:
        with open(fd, "wb", buffering=0, closefd=False) as file:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
        _seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _create(name: str, newer: int) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | newer)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)


def _seal(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS | _F_SEAL_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
