"""A layer's tar → a directory that overlayfs can use as a lower one. The archive is a stranger's, and we are root.

What keeps it inside: every path goes through inroot.py; a file is made with O_EXCL and O_NOFOLLOW, and owner, mode,
times and attributes are set through its descriptor (CVE-2021-32760); a hard link is made between two places resolved in
the root. What is already in a path's place is moved aside, never followed and never written into. tarfile's own
extraction is not used: its filters were passed more than once (CVE-2025-4517).

Deletions come as whiteouts, files named ".wh.<name>", and as ".wh..wh..opq" for "nothing from below shows through".
Overlayfs has the same two ideas in its own form: a character device 0:0, and the attribute trusted.overlay.opaque. No
archive may set trusted.overlay.* itself. See: OCI image-spec, layer.md; the kernel's filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from minidock.image.inroot import Directories, Parts, show, split
from minidock.image.tarstream import Entry, TarStream, sparse_map
from minidock.wire.errors import Error, InvalidArgument, ServerError

Made = TypeVar("Made")

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS_OWN = b".wh..wh."  # bookkeeping of aufs in old layers: left out
OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"

MAX_ID = (1 << 32) - 2
SPACE_STEP = 64 << 20  # bytes written between two looks at the free space
SPACE_KEPT = 64 << 20  # bytes that an unpack leaves free on the disk

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
XATTR = "SCHILY.xattr."  # of a pax record, in front of the attribute's name
_XATTRS_TAKEN = ("user.", "security.capability", "system.posix_acl_")
_XATTRS_NEVER = ("user.overlay.",)


class Unpacker:
    """Unpacks one layer into ``root``, an empty directory; what gets replaced goes to ``aside``, another one."""

    def __init__(self, root: Path, aside: Path) -> None:
        self._dirs = Directories(root, self._replace_whiteout)
        self._root, self._aside, self._buried = str(root), os.open(aside, os.O_PATH | os.O_CLOEXEC), 0
        self._times: dict[Parts, int] = {}
        self._size = self._unchecked = 0

    def close(self) -> None:
        self._dirs.close()
        os.close(self._aside)

    def unpack(self, stream: TarStream) -> int:
        """Unpacks all entries; returns the bytes of their files. Raises InvalidArgument, or ServerError (disk full)."""
        for entry in stream:
            try:
                self._entry(entry, stream)
            except Error:
                raise
            except (OSError, OverflowError, ValueError) as error:
                raise _explained(error, entry.name) from error
        self._set_directory_times()
        return self._size

    def _entry(self, entry: Entry, stream: TarStream) -> None:
        parts = split(entry.name)
        if any(part.startswith(WHITEOUT) for part in parts) and self._whiteout(parts):
            return
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise InvalidArgument(f"unpack {show(parts)}: owner {entry.uid}:{entry.gid} is out of range")
        self._by_kind(parts, entry, stream)

    # What an entry becomes

    def _by_kind(self, parts: Parts, entry: Entry, stream: TarStream) -> None:
        if entry.isdir():
            self._directory(parts, entry)
        elif not parts:
            raise InvalidArgument("unpack '/': the root of a layer must be a directory")
        elif entry.isreg():
            self._file(parts, entry, stream)
        elif entry.issym():
            self._symlink(parts, entry)
        elif entry.islnk():
            self._hard_link(parts, entry)
        elif entry.ischr() or entry.isblk() or entry.isfifo():
            self._node(parts, entry)
        else:
            raise InvalidArgument(f"unpack {show(parts)}: unknown kind of tar entry {entry.type!r}")

    def _directory(self, parts: Parts, entry: Entry) -> None:
        if parts:
            self._make_directory(parts)
        fd = self._dirs.get(parts)
        self._dress(fd, entry)
        self._times[parts] = _time(entry)

    def _make_directory(self, parts: Parts) -> None:
        parent, name = self._dirs.get(parts[:-1]), parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISCHR(mode):
                self._replace_whiteout(parent, name)
            elif not stat.S_ISDIR(mode):
                self._bury(parts)
                os.mkdir(name, 0o700, dir_fd=self._dirs.get(parts[:-1]))

    def _file(self, parts: Parts, entry: Entry, stream: TarStream) -> None:
        fd = self._make(parts, lambda parent, name: os.open(name, _NEW_FILE, 0o600, dir_fd=parent))
        try:
            self._size += entry.size
            self._reserve(entry.size if entry.sparse is None else sum(size for _, size in sparse_map(entry)))
            if entry.sparse is not None:
                for offset, piece in stream.sparse_content(entry):
                    _write_at(fd, piece, offset)
                os.ftruncate(fd, entry.size)
            else:
                for piece in stream.content():
                    _write(fd, piece)
            self._dress(fd, entry)
            os.utime(fd, ns=(_time(entry),) * 2)
        finally:
            os.close(fd)

    def _symlink(self, parts: Parts, entry: Entry) -> None:
        target = entry.linkname.encode("utf-8", "surrogateescape")

        def create(parent: int, name: bytes) -> tuple[int, bytes]:
            os.symlink(target, name, dir_fd=parent)
            return parent, name

        parent, name = self._make(parts, create)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(_time(entry),) * 2, dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, parts: Parts, entry: Entry) -> None:
        target = self._place(entry.linkname)
        if not target or target == parts:
            raise InvalidArgument(f"unpack {show(parts)}: hard link to {show(target)}")

        def link(parent: int, name: bytes) -> None:
            source = self._dirs.get(target[:-1])
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

        self._make(parts, link)

    def _node(self, parts: Parts, entry: Entry) -> None:
        kind = stat.S_IFIFO if entry.isfifo() else stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        device = 0 if entry.isfifo() else os.makedev(entry.devmajor, entry.devminor)
        mode = entry.mode & 0o7777

        def create(parent: int, name: bytes) -> tuple[int, bytes]:
            os.mknod(name, kind | mode, device, dir_fd=parent)
            return parent, name

        parent, name = self._make(parts, create)
        # Not by name: who shares a volume with this tree may have put a link to a file of the host there by now.
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
                raise InvalidArgument(f"unpack {show(parts)}: somebody else has put something there")
            node = f"/proc/self/fd/{fd}"
            os.chown(node, entry.uid, entry.gid)
            os.chmod(node, mode)  # past the umask
            os.utime(node, ns=(_time(entry),) * 2)
        finally:
            os.close(fd)

    def _whiteout(self, parts: Parts) -> bool:
        """Handles what is named like a whiteout; False if only a directory above it is, which no layer may have."""
        if any(part.startswith(AUFS_OWN) and part != OPAQUE for part in parts):
            return True
        name = parts[-1]
        if not name.startswith(WHITEOUT) or any(part.startswith(WHITEOUT) for part in parts[:-1]):
            raise InvalidArgument(f"unpack {show(parts)}: below a whiteout")
        parent = self._dirs.get(parts[:-1])
        if name == OPAQUE:
            os.setxattr(parent, OPAQUE_ATTRIBUTE, b"y")
            return True
        hidden = name.removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise InvalidArgument(f"unpack {show(parts)}: a whiteout of nothing")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:  # the layer brings its own: it stays, but nothing shows through from below
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent, follow_symlinks=False).st_mode):
                os.setxattr(self._dirs.get((*parts[:-1], hidden)), OPAQUE_ATTRIBUTE, b"y")
        return True

    # The common parts

    def _place(self, name: str) -> Parts:
        """Where a name of the archive lies in the root."""
        return split(name)

    def _make(self, parts: Parts, create: Callable[[int, bytes], Made]) -> Made:
        """Creates an entry by name in its directory; what is in its place is moved aside first."""
        try:
            return create(self._dirs.get(parts[:-1]), parts[-1])
        except FileExistsError:
            self._bury(parts)
            return create(self._dirs.get(parts[:-1]), parts[-1])

    def _bury(self, parts: Parts) -> None:
        """Moves a file or a whole directory out of the layer: one rename, whatever is in it."""
        self._buried += 1
        source = self._dirs.get(parts[:-1])
        os.rename(parts[-1], str(self._buried).encode(), src_dir_fd=source, dst_dir_fd=self._aside)
        self._dirs.forget()

    def _replace_whiteout(self, parent: int, name: bytes) -> None:
        """A directory where the layer had deleted one: what is below it stays hidden."""
        os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(fd, 0o755)
            os.setxattr(fd, OPAQUE_ATTRIBUTE, b"y")
        finally:
            os.close(fd)

    def _dress(self, fd: int, entry: Entry) -> None:
        """Owner, then mode (chown clears setuid), then attributes (chown clears security.capability)."""
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode & 0o7777)
        for key, value in entry.pax_headers.items():
            name = key.removeprefix(XATTR)
            if name != key and name.startswith(_XATTRS_TAKEN) and not name.startswith(_XATTRS_NEVER):
                _set_attribute(fd, name, value.encode("utf-8", "surrogateescape"))

    def _reserve(self, size: int) -> None:
        """Stops before the disk is full."""
        self._unchecked += size
        if self._unchecked >= SPACE_STEP:
            self._unchecked = 0
            disk = os.fstatvfs(self._dirs.root)
            if disk.f_bavail * disk.f_frsize < size + SPACE_KEPT:
                raise ServerError(
                    f"unpack layer: no space left on the disk of {self._root}", "free some, then try again"
                )

    def _set_directory_times(self) -> None:
        """Last, because each file made in a directory changes its time; deepest first, for the same reason."""
        self._dirs.creating = False
        for parts, when in reversed(self._times.items()):
            with contextlib.suppress(FileNotFoundError, InvalidArgument):  # a later entry took its place
                os.utime(self._dirs.get(parts), ns=(when, when))


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _write_at(fd: int, piece: memoryview, offset: int) -> None:
    while piece:
        done = os.pwrite(fd, piece, offset)
        piece, offset = piece[done:], offset + done


def _set_attribute(fd: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        # Some file systems have none of users and no access control lists; Docker shrugs, too.
        if error.errno != errno.ENOTSUP or name.startswith("security."):
            raise


def _time(entry: Entry) -> int:
    """The modification time in nanoseconds; a pax record has it exactly, held to what file systems can store."""
    text = entry.pax_headers.get("mtime", "")
    whole, _, fraction = text.partition(".")
    if whole.isdigit() and len(whole) < 12 and (fraction.isdigit() or not fraction):
        ns = int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    else:
        ns = int(min(max(entry.mtime, -(2.0**31)), 2.0**34)) * 10**9
    return min(ns, (1 << 34) * 10**9 - 1)


def _explained(error: Exception, name: str) -> Error:
    """A failed system call as an error: the archive's fault, unless it is the disk's."""
    if isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno).lower()
        if isinstance(
            error, (PermissionError, FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
        ) or error.errno in (errno.EROFS, errno.EBUSY, errno.EINVAL):
            return InvalidArgument(f"unpack {name[:200]!r}: {reason}")
        return ServerError(f"unpack {name[:200]!r}: {reason}")
    return InvalidArgument(f"unpack {name[:200]!r}: a number out of range")
