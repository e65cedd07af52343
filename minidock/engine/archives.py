"""Files out of containers and into them: ``diff``, ``export``, and both ways of ``cp``.

Everything here works on a root that roots.py opened, in a thread, and resolves each path of the request in that root:
no link of the container's leads to the host's files. What is sent goes through ``give``, what comes in through
``take``; both return a future, so that nobody holds more in memory than a piece and the container can be let go while
a client is slow. The rules for paths are docker's: ``/dir/.`` means what is in it, a slash at the end follows a link.
"""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from minidock.engine import changes, users
from minidock.engine.changes import Change
from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.engine.roots import Root, Roots
from minidock.image.extract import Extractor, Rules
from minidock.image.tarstream import TarStream
from minidock.image.tarwriter import TarWriter
from minidock.linux import shim
from minidock.wire.errors import InvalidArgument, NotFound

Give = Callable[[bytes], "Future[None]"]
Take = Callable[[], "Future[bytes]"]
_MAX_LINKS = 40


@dataclass(frozen=True)
class PathStat:
    """What a path of a container is; ``mode`` is lstat's, ``mtime`` in nanoseconds, the target in the container."""

    name: str
    size: int
    mode: int
    mtime: int
    link_target: str


class Archives:
    """The verbs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.roots = Roots(parts)

    def _find(self, reference: str) -> Container:
        return self._parts.containers.resolve(reference)

    async def changes(self, reference: str) -> list[Change]:
        """What differs from the image."""
        container = self._find(reference)
        images = self._parts.images
        upper = self._parts.settings.container_directory(container.id) / "upper"
        lowers = ":".join(images.lowers(images.of_container(container.definition.image_id)))

        def compare() -> list[Change]:
            return changes.compare(str(upper), shim.overlay_view(str(images.layers_dir), lowers))

        async with self.roots.still(container):
            return await asyncio.to_thread(compare)

    async def export(self, reference: str, begin: Callable[[], Give]) -> None:
        """All files as a tar, without what is mounted in the container."""
        container = self._find(reference)
        async with self.roots.open(container, mounts=False) as root:
            give = begin()

            def write() -> None:
                writer = TarWriter(lambda data: root.wait(give(data)), one_mount=True, ids=root.ids)
                writer.tree(root.fd, "")
                writer.finish()

            await root.work(write)
        self._parts.events.container(container, "export")

    async def stat(self, reference: str, path: str) -> PathStat:
        """What a path is. Raises NotFound."""
        container, path = self._find(reference), absolute(path)
        async with self.roots.open(container) as root:
            return await root.work(lambda: _stat(root.fd, path, container))

    async def get(self, reference: str, path: str, begin: Callable[[PathStat], Give]) -> None:
        """A file or a directory as a tar, named by the path's last part. ``begin`` is called when it is found."""
        container, path = self._find(reference), absolute(path)
        async with self.roots.open(container) as root:
            give = begin(await root.work(lambda: _stat(root.fd, path, container)))

            def write() -> None:
                fd = _open(root.fd, path, container)
                try:
                    writer = TarWriter(lambda data: root.wait(give(data)), ids=root.ids)
                    writer.entry(fd, base(path))
                    writer.finish()
                finally:
                    os.close(fd)

            await root.work(write)
        self._parts.events.container(container, "archive-path")

    async def put(self, reference: str, path: str, take: Take, keep_kinds: bool, to_user: bool) -> None:
        """A tar into a directory. ``to_user``: everything becomes the container's user's."""
        container, path = self._find(reference), absolute(path)
        async with self.roots.open(container, writable=True) as root:
            await root.work(lambda: _extract(root, path, container, take, keep_kinds, to_user))
        self._parts.events.container(container, "extract-to-dir")


def absolute(path: str) -> str:
    """A path of a request, cleaned; "/" or "/." at its end is kept, since it has a meaning."""
    if not path or "\0" in path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty" if not path else "invalid path: a NUL in it")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path == "." or path.endswith("/."):
        return clean.rstrip("/") + "/."
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def base(path: str) -> str:
    """Its last part, as entries of an archive are called: "/" of "/", "." of "/dir/."."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _missing(path: str, container: Container) -> NotFound:
    return NotFound(f"Could not find the file {path} in container {container.name}")


def _open(root: int, path: str, container: Container) -> int:
    """An O_PATH fd; a link at the end is itself, unless a slash follows it."""
    try:
        return shim.openat2(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise _missing(path, container) from None
        raise InvalidArgument(f"{path[:500]} in container {container.name}: {os.strerror(error.errno or 0)}") from None


def _stat(root: int, path: str, container: Container) -> PathStat:
    fd = _open(root, path, container)
    try:
        status = os.fstat(fd)
        try:
            link = os.readlink("", dir_fd=fd)
        except OSError:
            link = ""
        target = follow(root, path) if link else ""
        return PathStat(base(path), status.st_size, status.st_mode, status.st_mtime_ns, target)
    finally:
        os.close(fd)


def follow(root: int, path: str) -> str:
    """Where a path leads when all links are followed, as the container's processes would call it: for showing only."""
    done: list[str] = []
    parts = [part for part in reversed(path.split("/")) if part]
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            del done[-1:]
        elif part != ".":
            target = _link(root, "/".join([*done, part])) if links < _MAX_LINKS else ""
            links += bool(target)
            if target.startswith("/"):
                done = []
            if target:
                parts += [one for one in reversed(target.split("/")) if one]
            else:
                done.append(part)
    return "/" + "/".join(done)


def _link(root: int, path: str) -> str:
    try:
        fd = shim.openat2(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.readlink("", dir_fd=fd)
    except OSError:
        return ""
    finally:
        os.close(fd)


def _extract(root: Root, path: str, container: Container, take: Take, keep_kinds: bool, to_user: bool) -> None:
    try:
        os.close(shim.openat2(root.fd, path, os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise _missing(path, container) from None
        raise InvalidArgument("extraction point is not a directory") from None
    owner = None
    if to_user:
        user = users.resolve(root.fd, container.config.user).user
        owner = (user.uid, user.gid)

    def pieces() -> Iterator[bytes]:
        while piece := root.wait(take()):
            yield piece

    extractor = Extractor(root.fd, path, Rules(keep_kinds, owner, ids=root.ids))
    stream = TarStream(pieces())
    try:
        extractor.unpack(stream)
        stream.drain()
    finally:
        extractor.close()
