"""What a container has changed in its image's files: docker's ``diff``.

The upper directory of the overlay holds nothing but changes: new files and copies of changed ones, whiteouts (a
character device 0:0) where something was deleted, and directories marked opaque, through which nothing below is seen.
Each is compared with the image's layers, seen as one tree. Both are walked name by name below fds, no link is followed.

Left out are the empty places that a start makes for its own mounts, such as /etc/hosts; with Docker these are part of
a layer of their own. See: the kernel's filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from minidock.image.inroot import MAX_DEPTH
from minidock.image.unpack import OPAQUE_ATTRIBUTE
from minidock.wire.errors import InvalidArgument

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACES = frozenset(
    f"/{name}" for name in ("dev", "etc", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv")
)


class Kind(IntEnum):
    """Docker's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True)
class Change:
    """One path, absolute in the container."""

    path: str
    kind: Kind


def compare(upper: str, view: int) -> list[Change]:
    """All changes of an upper directory; ``view`` is an O_PATH fd of what lies below, and is closed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        lower = os.open(".", flags, dir_fd=view)
    finally:
        os.close(view)
    try:
        above = os.open(upper, flags)
        try:
            return changes(above, lower)
        finally:
            os.close(above)
    finally:
        os.close(lower)


def changes(upper: int, lower: int) -> list[Change]:
    """All changes, parents first. ``upper`` and ``lower`` are fds of directories."""
    return list(_directory(upper, lower, "", False))


def _directory(upper: int, lower: int | None, path: str, opaque: bool) -> Iterator[Change]:
    if path.count("/") > MAX_DEPTH:
        raise InvalidArgument(f"changes of {path[:200]!r}: more than {MAX_DEPTH} directories deep")
    names = set(os.listdir(upper))
    hidden = set(os.listdir(lower)) - names if opaque and lower is not None else set()
    for name in sorted(names | hidden):
        if name in hidden:
            yield Change(f"{path}/{name}", Kind.DELETED)
        else:
            yield from _entry(upper, lower, name, f"{path}/{name}")


def _entry(upper: int, lower: int | None, name: str, path: str) -> Iterator[Change]:
    new = os.stat(name, dir_fd=upper, follow_symlinks=False)
    old = _status(lower, name)
    if stat.S_ISCHR(new.st_mode) and new.st_rdev == 0:
        if old:
            yield Change(path, Kind.DELETED)
    elif stat.S_ISDIR(new.st_mode):
        yield from _changed_directory(upper, lower, name, path, (new, old))
    elif old or path not in _PLACES or new.st_size:
        yield Change(path, Kind.MODIFIED if old else Kind.ADDED)


def _changed_directory(
    upper: int, lower: int | None, name: str, path: str, status: tuple[os.stat_result, os.stat_result | None]
) -> Iterator[Change]:
    new, old = status
    with contextlib.ExitStack() as fds:
        here = os.open(name, _DIRECTORY, dir_fd=upper)
        fds.callback(os.close, here)
        below = None
        if lower is not None and old and stat.S_ISDIR(old.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=lower)
            fds.callback(os.close, below)
        opaque = _is_opaque(here)
        inside = _directory(here, below, path, opaque)
        first = next(inside, None)
        if old is None:
            if first or path not in _PLACES:
                yield Change(path, Kind.ADDED)
        elif first or opaque or _differs(new, old, path):
            yield Change(path, Kind.MODIFIED)
        if first:
            yield first
            yield from inside


def _differs(new: os.stat_result, old: os.stat_result, path: str) -> bool:
    """A directory's time counts, too, but for those in which a start makes places to mount on."""
    same = (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
    return not same or (path not in _PLACES and new.st_mtime_ns != old.st_mtime_ns)


def _status(directory: int | None, name: str) -> os.stat_result | None:
    if directory is None:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, OPAQUE_ATTRIBUTE) == b"y"
    except OSError:
        return False
