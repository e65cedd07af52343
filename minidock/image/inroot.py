"""Directories below one root, by path, as descriptors: the way in for everything that unpacking creates.

A path of an archive must never lead out of the directory that it is unpacked into: not by "..", not by an absolute
name, not through a symbolic link that the archive itself brought along (CVE-2014-9356 and its many successors). So a
path is walked one component at a time with O_NOFOLLOW from the root's descriptor, and where a component is a link, the
kernel resolves it with openat2(RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS), for which the root is "/".

Descriptors are kept, because archives list the files of a directory together: one openat(2) a directory instead of a
walk a file. That is sound because nobody else works in the tree, and because ``forget`` is called when something that
could be part of a kept path is moved away. See: openat2(2).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from minidock.linux import shim
from minidock.wire.errors import InvalidArgument

Parts = tuple[bytes, ...]

KEPT = 64  # descriptors
MAX_NAME = 4096  # bytes of a path
MAX_DEPTH = 512  # directories; what is deeper can neither be walked nor deleted in comfort
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split(name: str) -> Parts:
    """A path from an archive as components; leading slashes and "." mean nothing. Raises InvalidArgument."""
    raw = name.encode("utf-8", "surrogateescape")
    parts: list[bytes] = []
    for part in raw.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidArgument(f"unpack {name[:200]!r}: the path leads out of the root")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    if len(raw) > MAX_NAME or len(parts) > MAX_DEPTH or b"\0" in raw:
        raise InvalidArgument(f"unpack {name[:200]!r}: the path is too long, too deep, or holds a NUL")
    return tuple(parts)


def show(parts: Parts) -> str:
    """For messages."""
    return repr(b"/".join(parts).decode("utf-8", "replace")[:200])


class Directories:
    """The directories below ``root``, a path or an fd. ``replace_whiteout`` makes one where a whiteout is."""

    def __init__(self, root: Path | int, replace_whiteout: Callable[[int, bytes], None]) -> None:
        self.root = os.open(".", _DIRECTORY, dir_fd=root) if isinstance(root, int) else os.open(root, _DIRECTORY)
        self._replace_whiteout = replace_whiteout
        self._kept: dict[Parts, int] = {}
        self.creating = True
        self._base_depth = self._depth(self.root)

    def close(self) -> None:
        self.forget()
        os.close(self.root)

    def forget(self) -> None:
        """Drops all kept descriptors: something was moved that they may have been reached through."""
        for fd in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def get(self, parts: Parts) -> int:
        """The directory, made if missing (0755, root) if ``creating``. Valid while another one is asked for."""
        if not parts:
            return self.root
        fd = self._kept.pop(parts, -1)
        if fd < 0:
            fd = self._walk(parts)
            if len(self._kept) >= KEPT:
                os.close(self._kept.pop(next(iter(self._kept))))
        self._kept[parts] = fd
        return fd

    def _walk(self, parts: Parts) -> int:
        """Opens the directory, starting from the nearest one that is kept."""
        known = next((n for n in range(len(parts) - 1, 0, -1) if parts[:n] in self._kept), 0)
        fd = os.dup(self._kept[parts[:known]] if known else self.root)
        for n in range(known, len(parts)):
            try:
                below = self._step(fd, parts[: n + 1])
            finally:
                os.close(fd)
            fd = below
        return fd

    def _step(self, parent: int, parts: Parts) -> int:
        name = parts[-1]
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not self.creating:
                raise
        except NotADirectoryError:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return self._resolve(parts)
            if not stat.S_ISCHR(mode):
                raise InvalidArgument(f"unpack below {show(parts)}: it is not a directory") from None
            self._replace_whiteout(parent, name)
            return os.open(name, _DIRECTORY, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        os.fchmod(fd, 0o755)
        return fd

    def _resolve(self, parts: Parts) -> int:
        """A directory by way of links: the kernel resolves them as in a chroot, and follows none out."""
        try:
            fd = shim.openat2(self.root, os.fsdecode(b"/".join(parts)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise InvalidArgument(
                f"unpack below {show(parts)}: a link that leads to no directory of the layer"
            ) from None
        if self._depth(fd) - self._base_depth > MAX_DEPTH:
            os.close(fd)
            raise InvalidArgument(f"unpack below {show(parts)}: the path is too deep")
        return fd

    @staticmethod
    def _depth(fd: int) -> int:
        return os.readlink(f"/proc/self/fd/{fd}").count("/")
