"""Local files ↔ a tar stream, for `minidock cp`.

What comes from a container is a stranger's: its names are followed from the destination's fd one by one with
O_NOFOLLOW, so that a link that came with it leads nowhere. Owners are those of who copies, as with docker, and so is
what is kept beside the mode: capabilities of programs (capabilities(7)), and no other attribute. Nothing is collected:
files go by in pieces. Read next: cp.py.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from minidock.cli.verb import Failed

PIECE = 1 << 17
_CAPABILITY, _RECORD = "security.capability", "SCHILY.xattr.security.capability"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Links = dict[tuple[int, int], str]
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def pack(path: str, name: str, follow: bool) -> Iterator[bytes]:
    """A tar of ``path`` as ``name``; with ``follow`` a link at ``path`` itself is followed, none below it ever is."""
    status = os.stat(path) if follow or path.endswith("/") else os.lstat(path)
    yield from _pack(path, name, status, {})
    yield bytes(2 * tarfile.BLOCKSIZE)


def _pack(path: str, name: str, status: os.stat_result, links: Links) -> Iterator[bytes]:
    entry = info(path, name, status, links)
    if entry is None:
        return
    yield from packed(path, entry)
    if entry.isdir():
        for one in sorted(os.listdir(path)):
            below = os.path.join(path, one)
            yield from _pack(below, f"{name.rstrip('/')}/{one}", os.lstat(below), links)


def info(path: str, name: str, status: os.stat_result, links: Links) -> tarfile.TarInfo | None:
    """What a tar says of a file; None of a socket, which no tar can hold. ``links`` remembers those with two names."""
    if stat.S_ISSOCK(status.st_mode):
        return None
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    entry.mtime = int(status.st_mtime)
    key = (status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISFIFO(status.st_mode):
        entry.type = tarfile.FIFOTYPE
    elif not stat.S_ISREG(status.st_mode):
        entry.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif status.st_nlink > 1 and key in links:
        entry.type, entry.linkname = tarfile.LNKTYPE, links[key]
    else:
        links[key] = name
        entry.size = status.st_size
        with suppress(OSError):
            capability = os.getxattr(path, _CAPABILITY)
            entry.pax_headers = {_RECORD: capability.decode("utf-8", "surrogateescape")}
    return entry


def packed(path: str, entry: tarfile.TarInfo) -> Iterator[bytes]:
    """An entry's header, and a file's content."""
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if entry.size:
        yield from _content(path, entry.size)


def _content(path: str, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes and the padding, even if the file shrinks or grows meanwhile."""
    left = size
    with open(path, "rb") as file:
        while left and (piece := file.read(min(left, PIECE))):
            left -= len(piece)
            yield piece
    while left:
        yield bytes(min(left, PIECE))
        left -= min(left, PIECE)
    yield bytes(-size % tarfile.BLOCKSIZE)


class _Pieces:
    """A file of the pieces of an answer, as far as tarfile needs one."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self.count = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
            self.count += len(piece)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def drain(self) -> None:
        while self.read(PIECE):
            pass


def unpack(pieces: Iterable[bytes], directory: str, rename: Callable[[str], str]) -> int:
    """Unpacks into a local directory; ``rename`` gives each entry its name there. The bytes of the archive."""
    source = _Pieces(pieces)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    later: list[tuple[list[str], tarfile.TarInfo]] = []
    file: Any = source
    try:
        with tarfile.open(fileobj=file, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would remember them all
                parts = _parts(rename(entry.name))
                if entry.islnk():
                    entry.linkname = rename(entry.linkname)
                if parts:
                    _place(root, parts, entry, tar)
                    if entry.isdir():
                        later.append((parts, entry))
        source.drain()
        for parts, entry in reversed(later):
            _finish(root, parts, entry)
    except tarfile.TarError as error:
        raise Failed(f"copy: the daemon's archive is broken: {error}", 1) from None
    finally:
        os.close(root)
    return source.count


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failed(f"copy: refusing {name!r}: it leads out of the destination", 1)
    return parts


def _parent(root: int, parts: list[str]) -> int:
    """An fd of the directory that an entry is to be in. Never through a link."""
    fd = os.dup(root)
    for part in parts[:-1]:
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=fd)
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _place(root: int, parts: list[str], entry: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    parent, name = _parent(root, parts), parts[-1]
    try:
        if not _make_way(parent, name, entry):
            return
        if entry.isdir():
            os.mkdir(name, 0o700, dir_fd=parent)
        elif entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.islnk():
            target = _parts(entry.linkname)
            source = _parent(root, target)
            try:
                os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        elif entry.isreg():
            _file(parent, name, entry, tar)
        elif entry.isfifo() or entry.ischr() or entry.isblk():
            kind = stat.S_IFIFO if entry.isfifo() else stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
            os.mknod(name, kind | entry.mode, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent)
    finally:
        os.close(parent)


def _make_way(parent: int, name: str, entry: tarfile.TarInfo) -> bool:
    """Takes a file of that name away. False if there is a directory that the entry, one too, becomes part of."""
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(there.st_mode) != entry.isdir():
        kinds = ("directory", "non-directory") if stat.S_ISDIR(there.st_mode) else ("non-directory", "directory")
        raise Failed(f'cannot overwrite {kinds[0]} "{name}" with {kinds[1]}', 1)
    if entry.isdir():
        return False
    os.unlink(name, dir_fd=parent)
    return True


def _file(parent: int, name: str, entry: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    content = tar.extractfile(entry)
    fd = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        while content and (piece := content.read(PIECE)):
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        os.fchmod(fd, entry.mode & 0o7777)
        if _RECORD in entry.pax_headers:
            with suppress(PermissionError):  # who is not root can't give them; the file counts
                os.setxattr(fd, _CAPABILITY, entry.pax_headers[_RECORD].encode("utf-8", "surrogateescape"))
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)


def _finish(root: int, parts: list[str], entry: tarfile.TarInfo) -> None:
    """A directory's mode and time, when all is in it."""
    fd = _parent(root, [*parts, ""])
    try:
        os.fchmod(fd, entry.mode & 0o7777)
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)
