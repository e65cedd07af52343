"""syncfs(2): waits until everything written to a file system is on the disk.

Why here: an image is written down with fsync (the database's), its thousands of files without. After a power cut a
layer with empty files would look complete for ever, because a layer that is there is not fetched again. One syncfs a
pull, before the row, costs less than an fsync for each file. Python has no syncfs, and os.sync would wait for every
file system of the machine, also for one that hangs. See: syncfs(2), which reports errors since Linux 5.8.
"""

from __future__ import annotations

import os
from pathlib import Path


def settle(directory: Path) -> None:
    """Returns when what was written to the file system of ``directory`` would survive a power cut. Raises OSError."""
    import ctypes  # 10 ms and 1 MB that a daemon which never pulls need not pay

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
    finally:
        os.close(fd)
