"""COPY, ADD and WORKDIR write files: into a stage's root, mounted for the length of one step where nobody sees it.

The root is an overlay of the stage's layers with an upper directory of the step's own, which becomes the layer. Sources
go through a tar into the extractor that serves ``cp``: every path resolved in the root by the kernel, so that a link in
the image leads nowhere else, whoever made it. The rules for targets are docker's classic builder's: a slash at the end
means a directory, a directory's contents are merged into the target, missing parents are made.

Read next: sources.py; image/extract.py.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minidock.engine import archives, users
from minidock.engine.building.sources import Source
from minidock.image import decompress
from minidock.image.extract import Extractor, Rules
from minidock.image.model import Image
from minidock.image.store import ImageStore
from minidock.image.tarpipe import piped
from minidock.image.tarstream import BLOCK, TarStream
from minidock.linux import shim
from minidock.wire.errors import Error, InvalidArgument

Owner = tuple[int, int]


class Layer:
    """A step's own directory: ``upper`` becomes the layer. ``base`` is what lies below, nothing for FROM scratch."""

    def __init__(self, directory: Path, images: ImageStore, base: Image | None) -> None:
        self.upper, self._work, self._place = (directory / name for name in ("upper", "work", "place"))
        for path in (directory, self.upper, self._work, self._place):
            path.mkdir(mode=0o755 if path == self.upper else 0o700)
        self._images = images
        self._lowers = images.lowers(base) if base else []

    @contextmanager
    def root(self) -> Iterator[int]:
        """An fd of the root directory, to be written to. Blocks."""
        if self._lowers:
            layers = (str(self._images.layers_dir), ":".join(self._lowers))
            fd = shim.container_tree(layers, str(self._place), (str(self.upper), str(self._work)))
        else:
            fd = os.open(self.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True)
class Target:
    """Where it goes (absolute; a slash at the end insists on a directory), whose it is to be, and with which mode."""

    path: str
    owner: Owner | None = None
    mode: int | None = None
    unpack: bool = False  # archives of the context, as ADD does


def owner(root: int, text: str) -> Owner:
    """``--chown``, by the names of the root's own passwd and group; without a group it is the one of the same name."""
    user = users.resolve(root, text if ":" in text else f"{text}:{text}").user
    return user.uid, user.gid


def copy(root: int, sources: Sequence[Source], target: Target) -> None:
    """Copies all of them. Blocks."""
    for source in sources:
        if source.directory:
            _copy_directory(root, source, target)
        elif target.unpack and not source.remote and is_archive(source.fd):
            _unpack(root, source, target)
        else:
            _copy_file(root, source, target)


def _copy_directory(root: int, source: Source, target: Target) -> None:
    place = archives.follow(root, target.path)
    made = make_directories(root, place, None)
    if made and target.owner:
        _give(root, place, target.owner)
    with piped(lambda writer: writer.tree(source.fd, "")) as pieces:
        _extract(root, place, target, pieces)


def _copy_file(root: int, source: Source, target: Target) -> None:
    place = archives.follow(root, target.path)
    if target.path.endswith("/") or _is_directory(root, place):
        place = archives.follow(root, posixpath.join(place, source.name))
    folder, name = posixpath.split(place)
    make_directories(root, folder, target.owner)
    with piped(lambda writer: writer.entry(source.fd, name)) as pieces:
        _extract(root, folder, target, pieces)


def _unpack(root: int, source: Source, target: Target) -> None:
    """An archive keeps the owners that it says."""
    place = archives.follow(root, target.path)
    make_directories(root, place, None)
    with open(f"/proc/self/fd/{source.fd}", "rb", buffering=0) as file:
        _extract(root, place, Target(place), decompress.plain(file))


def _extract(root: int, place: str, target: Target, pieces: Iterator[bytes]) -> None:
    extractor = Extractor(root, place, Rules(owner=target.owner, mode=target.mode))
    try:
        extractor.unpack(TarStream(pieces))
    finally:
        extractor.close()


def is_archive(fd: int) -> bool:
    """Whether a file is a tar, plain or compressed; told by what it holds, not by its name.

    No other kind of file is opened: a FIFO of a stranger's context would be waited for, a device node be the host's.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    try:
        with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
            head = b""
            for piece in decompress.plain(file):
                head += piece
                if len(head) >= BLOCK:
                    break
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except (OSError, Error, tarfile.TarError, ValueError):
        return False
    return True


def make_directories(root: int, path: str, whose: Owner | None) -> bool:
    """Makes what is missing of a path (0755); whether its last part was. Raises InvalidArgument."""
    made, parts = False, [part for part in path.split("/") if part]
    for n in range(1, len(parts) + 1):
        here = "/".join(parts[:n])
        made = False
        try:
            os.close(shim.openat2(root, here, os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            _make(root, "/".join(parts[: n - 1]), parts[n - 1], whose)
            made = True
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise InvalidArgument(f"mkdir /{here}: not a directory") from None
    return made


def _make(root: int, folder: str, name: str, whose: Owner | None) -> None:
    parent = shim.openat2(root, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
        os.chmod(name, 0o755, dir_fd=parent)
        if whose:
            os.chown(name, *whose, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise InvalidArgument(f"mkdir /{folder}/{name}: it is a link that leads nowhere") from None
    finally:
        os.close(parent)


def _give(root: int, path: str, whose: Owner) -> None:
    fd = shim.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchown(fd, *whose)
    finally:
        os.close(fd)


def _is_directory(root: int, path: str) -> bool:
    try:
        os.close(shim.openat2(root, path, os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return False
    return True
