"""A tree of files → a tar stream, while somebody may be changing the tree to fool us.

For export and `cp`, where the tree is a container's. Every step down is one name, opened below its directory's fd with
O_NOFOLLOW: a link is written as a link and never followed, whatever its place held a moment ago (CVE-2018-15664). What
a name stands for is asked of its O_PATH fd, so that no device and no pipe is ever opened. Memory is bounded by the
longest directory and the number of hard links; file contents go by in pieces.

Headers are tarfile's (pax where ustar is too narrow), with security.capability as its only attribute, as docker has it.
Read next: tarstream.py, the other direction.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Callable

from minidock.image.inroot import MAX_DEPTH
from minidock.linux import shim
from minidock.linux.idmap import IdMap
from minidock.wire.errors import InvalidArgument

PIECE = 1 << 18
_BLOCK = 512
_CAPABILITY = "security.capability"
_NAMED = os.O_PATH | os.O_NOFOLLOW
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class TarWriter:
    """Writes entries to ``put``, which is given pieces of about PIECE bytes and may block.

    ``ids``: the maps by which owners are shown as the container sees them.
    """

    def __init__(self, put: Callable[[bytes], None], one_mount: bool = False, ids: IdMap | None = None) -> None:
        self._put = put
        self._ids = ids
        self._resolve = shim.RESOLVE_BENEATH | (shim.RESOLVE_NO_XDEV if one_mount else 0)
        self._buffer = bytearray()
        self._links: dict[tuple[int, int], str] = {}

    def add(self, parent: int, name: str, shown: str) -> None:
        """The entry ``name`` of a directory, and all below it. What is gone by now is left out."""
        try:
            fd = shim.openat2(parent, name, _NAMED, resolve=self._resolve)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._mount_point(parent, name, shown)
        try:
            self.entry(fd, shown)
        finally:
            os.close(fd)

    def tree(self, directory: int, shown: str, depth: int = 0) -> None:
        """What is in a directory; its entries are named ``shown/…``, or plainly for an empty ``shown``."""
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"archive {shown[:200]!r}: more than {MAX_DEPTH} directories deep")
        self._depth = depth
        listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            for name in sorted(os.listdir(listed)):
                self._depth = depth
                self.add(listed, name, f"{shown.rstrip('/')}/{name}" if shown else name)
        finally:
            os.close(listed)

    def finish(self) -> None:
        """The end mark."""
        self._write(bytes(2 * _BLOCK))
        self._flush()

    _depth = 0

    def entry(self, fd: int, shown: str) -> None:
        """What an O_PATH fd stands for, and all below it."""
        status = os.fstat(fd)
        if stat.S_IFMT(status.st_mode) not in _KINDS:
            return  # a socket, which no tar can hold
        info = self._info(status, shown)
        if stat.S_ISDIR(status.st_mode):
            self._header(info)
            self.tree(fd, shown, self._depth + 1)
        elif stat.S_ISLNK(status.st_mode):
            info.linkname = os.readlink("", dir_fd=fd)
            self._header(info)
        elif stat.S_ISREG(status.st_mode):
            self._file(fd, status, info)
        else:
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
            self._header(info)

    def _info(self, status: os.stat_result, shown: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(shown)
        info.type = _KINDS[stat.S_IFMT(status.st_mode)]
        owner = (status.st_uid, status.st_gid)
        info.uid, info.gid = self._ids.to_container(*owner) if self._ids else owner
        info.mode = status.st_mode & 0o7777
        info.mtime = int(status.st_mtime)
        return info

    def _file(self, fd: int, status: os.stat_result, info: tarfile.TarInfo) -> None:
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in self._links:
            info.type, info.linkname = tarfile.LNKTYPE, self._links[key]
            return self._header(info)
        if status.st_nlink > 1:
            self._links[key] = info.name
        info.size = status.st_size
        # The fd already stands for this one regular file; /proc only opens it once more, to be read.
        content = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                value = os.getxattr(content, _CAPABILITY)
                value = self._ids.capability_to_container(value) if self._ids else value
                info.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": value.decode("utf-8", "surrogateescape")}
            self._header(info)
            self._content(content, info.size)
        finally:
            os.close(content)

    def _content(self, fd: int, size: int) -> None:
        """Exactly ``size`` bytes, whatever the file has become: its end is filled up with zeros."""
        left = size
        while left and (piece := os.read(fd, min(left, PIECE))):
            self._write(piece)
            left -= len(piece)
        while left:
            piece = bytes(min(left, PIECE))
            self._write(piece)
            left -= len(piece)
        self._write(bytes(-size % _BLOCK))

    def _mount_point(self, parent: int, name: str, shown: str) -> None:
        """Something is mounted there that isn't part of the tree: the empty place where it is."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        info = self._info(status, shown)
        if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            info.type = tarfile.REGTYPE
        self._header(info)

    def _header(self, info: tarfile.TarInfo) -> None:
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= PIECE:
            self._flush()

    def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if data:
            self._put(data)
