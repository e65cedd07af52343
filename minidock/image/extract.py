"""A tar → files in a container's tree: what ``cp`` brings. The archive is a stranger's, and so is the tree.

The unpacker of layers does the work; here the names of the archive lie below a directory of the tree, whiteouts mean
nothing, and what is in the way is removed, not moved aside, since the tree may consist of several mounts. Links within
the tree are resolved by the kernel with the container's root as "/", at every step, so that none leads out of it,
however often it is swapped. Read next: unpack.py, inroot.py.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat

from minidock.image.inroot import Directories, Parts, show, split
from minidock.image.tarstream import Entry, TarStream
from minidock.image.unpack import MAX_ID, XATTR, Unpacker
from minidock.linux.idmap import IdMap
from minidock.wire.errors import InvalidArgument


@dataclasses.dataclass(frozen=True)
class Rules:
    """``keep_kinds``: no directory takes a file's place, nor a file a directory's; ``owner`` and ``mode``: of all.

    ``ids``: the maps from those numbers, or the archive's, to what they are on the host.
    """

    keep_kinds: bool = False
    owner: tuple[int, int] | None = None
    mode: int | None = None
    ids: IdMap | None = None


class Extractor(Unpacker):
    """Unpacks into the directory ``at`` of the tree ``root`` (an fd)."""

    def __init__(self, root: int, at: str, rules: Rules) -> None:
        self._dirs = Directories(root, _refuse)
        self._at, self._rules = split(at), rules
        self._root = f"the container's {at}"
        self._times: dict[Parts, int] = {}
        self._size = self._unchecked = 0

    def close(self) -> None:
        self._dirs.close()

    def _place(self, name: str) -> Parts:
        return (*self._at, *split(name))

    def _entry(self, entry: Entry, stream: TarStream) -> None:
        parts = self._place(entry.name)
        if parts == self._at:
            if not entry.isdir():
                raise InvalidArgument(f"unpack {entry.name[:200]!r}: an entry without a name")
            return  # the directory that it all goes to stays as it is
        if self._rules.owner:
            entry.uid, entry.gid = self._rules.owner
        if self._rules.mode is not None:
            entry.mode = self._rules.mode
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise InvalidArgument(f"unpack {show(parts)}: owner {entry.uid}:{entry.gid} is out of range")
        if self._rules.ids:
            entry.uid, entry.gid = self._rules.ids.to_host(entry.uid, entry.gid)
            entry.pax_headers = {key: _shifted(self._rules.ids, key, text) for key, text in entry.pax_headers.items()}
        self._by_kind(parts, entry, stream)

    def _make_directory(self, parts: Parts) -> None:
        parent, name = self._dirs.get(parts[:-1]), parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            if self._rules.keep_kinds:
                raise InvalidArgument(f"cannot overwrite non-directory {show(parts)} with directory") from None
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)

    def _bury(self, parts: Parts) -> None:
        """Makes room. shutil's rmtree goes by fds and follows no link."""
        parent, name = self._dirs.get(parts[:-1]), parts[-1]
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        if self._rules.keep_kinds:
            raise InvalidArgument(f"cannot overwrite directory {show(parts)} with non-directory")
        shutil.rmtree(name, dir_fd=parent)
        self._dirs.forget()


def _shifted(ids: IdMap, key: str, text: str) -> str:
    """A pax record; if it is that of an attribute which names users, with the numbers that they have on the host."""
    if not key.startswith(XATTR):
        return text
    value = ids.attribute_to_host(key.removeprefix(XATTR), text.encode("utf-8", "surrogateescape"))
    return value.decode("utf-8", "surrogateescape")


def _refuse(parent: int, name: bytes) -> None:
    raise InvalidArgument(f"unpack below {show((name,))}: it is a device")
