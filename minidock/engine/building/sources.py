"""What COPY and ADD take: paths of the context, of another stage or of an image, found and fingerprinted.

Everything is looked up from the root's fd by the kernel, with that root as "/", so that no link in a context or an
image leads anywhere else; what comes out are fds. A fingerprint says of a file or tree what a copy of it would hold:
names, kinds, modes, owners, contents, and no times. It is a tar's digest, since a tar is how they are copied.

Read next: copy.py.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from minidock.image.tarwriter import TarWriter
from minidock.linux import shim
from minidock.wire import ignore
from minidock.wire.errors import InvalidArgument


@dataclass(frozen=True)
class Source:
    """A file or directory: an O_PATH fd, the name that it will have in a directory, and its fingerprint."""

    fd: int
    name: str
    directory: bool
    digest: str
    remote: bool = False  # it came from a URL: never unpacked


class _Fingerprint(TarWriter):
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        super().__init__(self._hash.update)

    def _header(self, info: tarfile.TarInfo) -> None:
        info.mtime = 0
        super()._header(info)

    def of(self, fd: int, name: str, directory: bool) -> str:
        if directory:
            self.tree(fd, "")
        else:
            self.entry(fd, name)
        self.finish()
        return f"{'dir' if directory else 'file'}:{self._hash.hexdigest()}"


class Sources:
    """Finds them below one root; closes their fds at the end. ``where`` names the root in errors."""

    def __init__(self, root: int, where: str) -> None:
        self._root, self._where = root, where
        self._fds = ExitStack()

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._fds.close()

    def find(self, patterns: Sequence[str]) -> list[Source]:
        """All that the patterns mean, in order. Blocks. Raises InvalidArgument for one that means nothing."""
        found = []
        for pattern in patterns:
            path = _relative(pattern)
            paths = list(self._globbed("", path.split("/"))) if ignore.has_wildcards(path) else [path]
            found += [self.one(path) for path in paths]
        if not found:
            raise InvalidArgument("no source files were specified", f"nothing in {self._where} fits")
        return found

    def one(self, path: str, name: str = "", remote: bool = False) -> Source:
        """A path as it stands; ``name`` is what it will be called, if not as it is."""
        try:
            fd = shim.openat2(self._root, path, os.O_PATH)
        except OSError as error:
            raise self._missing(path, error) from None
        self._fds.callback(os.close, fd)
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        name = name or posixpath.basename(path)
        return Source(fd, name, directory, _Fingerprint().of(fd, name, directory), remote)

    def _missing(self, path: str, error: OSError) -> InvalidArgument:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return InvalidArgument(f"file not found in {self._where}: stat {path}: file does not exist")
        return InvalidArgument(f"{self._where}: {path}: {os.strerror(error.errno or 0).lower()}")

    def _globbed(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Paths below ``folder`` that fit the components of a pattern, in order."""
        first, rest = parts[0], parts[1:]
        names = [first]
        if ignore.has_wildcards(first):
            expression = ignore.compiled(first, deep=False)
            names = [name for name in self._listed(folder) if expression.fullmatch(name)]
        for name in names:
            path = posixpath.join(folder, name)
            if rest:
                yield from self._globbed(path, rest)
            elif name != first or self._there(path):
                yield path

    def _listed(self, folder: str) -> list[str]:
        try:
            fd = shim.openat2(self._root, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def _there(self, path: str) -> bool:
        try:
            os.close(shim.openat2(self._root, path, os.O_PATH))
        except OSError:
            return False
        return True


def _relative(pattern: str) -> str:
    """Cleaned, from the root on. Raises InvalidArgument for one that climbs out."""
    if "\0" in pattern or not pattern:
        raise InvalidArgument("a source is empty, or holds a NUL")
    clean = posixpath.normpath(pattern.lstrip("/") or ".")
    if clean == ".." or clean.startswith("../"):
        raise InvalidArgument(f"forbidden path outside the build context: {pattern} ()")
    return clean


def combined(sources: Sequence[Source]) -> str:
    """The fingerprint of several."""
    if len(sources) == 1:
        return sources[0].digest
    return "multi:" + hashlib.sha256(",".join(source.digest for source in sources).encode()).hexdigest()
