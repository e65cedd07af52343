"""Deletion off the path: what is to go is renamed into trash/ at once and deleted in the background.

A rename is one system call; deleting a container's upper directory can be thousands. A name is gone the moment the
rename returns, and whatever a crash leaves in trash/ is deleted at the next start.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

from minidock.linux.pool import pool

log = logging.getLogger(__name__)
_PAUSES = (0.1, 1.0)
"""Seconds before another try: having too many open files, say, is over in a moment."""


class Trash:
    """``tmp`` and ``trash`` of a data root, and the one thread that empties them. May be called from any thread."""

    def __init__(self, data_root: Path) -> None:
        self._trash = data_root / "trash"
        self._tmp = data_root / "tmp"
        self._pending: list[Path] = []
        self._worker = pool(1, "trash")

    def take(self, path: Path) -> None:
        """Moves a file or directory of the data root to the trash and deletes it in the background."""
        target = self._trash / f"{path.name}.{os.urandom(4).hex()}"
        try:
            path.rename(target)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            target = path  # no room for its name in trash/: deleted where it is, and swept if that is cut short
        self._delete(target)

    def stuck(self) -> list[Path]:
        """What is still there although nobody is at it: its deletion failed."""
        return [] if self._pending else sorted(self._trash.iterdir())

    def wait(self) -> None:
        """Until all that was taken is deleted; blocking."""
        self._worker.submit(int).result()

    def empty(self) -> None:
        """At the start: what an earlier daemon did not get to, and what it left half-made."""
        for entry in (*self._trash.iterdir(), *self._tmp.iterdir()):
            self._delete(entry)

    def _delete(self, path: Path) -> None:
        """In the background; ``_pending`` has an entry for each that is not done."""
        self._pending.append(path)
        self._worker.submit(_delete_logged, path).add_done_callback(lambda _: self._pending.pop())

    def close(self) -> None:
        """Ends after what is being deleted; the rest is the next start's."""
        self._worker.shutdown(cancel_futures=True)


def _delete_logged(path: Path) -> None:
    for pause in (*_PAUSES, None):
        try:
            return delete_tree(path)
        except Exception as error:
            if pause is None:
                log.warning("delete %s: %s; it stays in the trash until the next start", path, error)
                return
            time.sleep(pause)


def delete_tree(path: Path) -> None:
    """Deletes a file or a directory tree, never following a link and never crossing into another file system.

    A mount point below it (an administrator's bind mount, say) makes it fail with EXDEV instead of deleting what is
    mounted there.
    """
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device = os.fstat(here).st_dev
        # The directories we are in, each with those of its children that are still to be deleted. A container decides
        # how deep a tree is, so neither the stack nor the descriptors may grow with it: one is open at a time.
        inside: list[tuple[str, list[str]]] = [("", _unlink_files(here, [path.name]))]
        while True:
            name, left = inside[-1]
            if left:
                here = _go(here, left[-1], device)
                inside.append((left.pop(), _unlink_files(here, os.listdir(here))))
            elif name:
                inside.pop()
                here = _go(here, "..", device)
                os.rmdir(name, dir_fd=here)
            else:
                return
    finally:
        os.close(here)


def _unlink_files(directory: int, names: list[str]) -> list[str]:
    """Deletes what is not a directory; returns the directories."""
    directories = []
    for name in names:
        try:
            os.unlink(name, dir_fd=directory)
        except (IsADirectoryError, PermissionError):
            directories.append(name)
        except FileNotFoundError:
            pass
    return directories


def _go(here: int, name: str, device: int) -> int:
    """Opens a neighbouring directory and closes this one."""
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    if os.fstat(there).st_dev != device:
        os.close(there)
        raise OSError(errno.EXDEV, "a mount point in a tree to be deleted", name)
    os.close(here)
    return there
