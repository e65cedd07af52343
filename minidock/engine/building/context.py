"""The context of a build: what the client sends, unpacked below tmp/, and the Dockerfile in it.

It is a stranger's tar and goes through the extractor like any other; so does one that is fetched from a URL. A URL may
also be of a Dockerfile alone, which then has an empty context. As with docker the client applies .dockerignore; the
daemon only takes the Dockerfile and .dockerignore itself out of the context where the patterns say so.

``Workplace`` is the directory of one build: gone at its end, and after a crash with the rest of tmp/.
Read next: sources.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from minidock.engine.building.copy import is_archive
from minidock.image import decompress
from minidock.image.extract import Extractor, Rules
from minidock.image.fetch import fetch, is_url
from minidock.image.tarstream import TarStream
from minidock.linux import shim
from minidock.wire import ignore
from minidock.wire.errors import InvalidArgument, NotImplemented

MAX_DOCKERFILE = 4 << 20
_GIT = ("git://", "git@", "ssh://", "github.com/")


class Workplace:
    """``directory`` is the build's own, ``context`` an fd of what COPY may take."""

    def __init__(self, directory: Path, discard: Callable[[Path], None]) -> None:
        self.directory, self._discard = directory, discard
        self._count = 0
        directory.mkdir(mode=0o700)
        place = directory / "context"
        place.mkdir(mode=0o755)
        self.context = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Takes it all away."""
        os.close(self.context)
        self._discard(self.directory)

    def new(self, what: str) -> Path:
        """A path of its own for a step."""
        self._count += 1
        return self.directory / f"{what}-{self._count}"

    # The context comes

    def receive(self, remote: str, body: BinaryIO, dockerfile: str) -> bytes:
        """Unpacks the context, from ``body`` or from a URL; returns the Dockerfile. Blocks. Raises InvalidArgument."""
        if not remote:
            self._unpack(body)
            return self._dockerfile(dockerfile)
        if remote.startswith(_GIT) or remote.partition("#")[0].endswith(".git"):
            raise NotImplemented(f"build from {remote[:200]}: git contexts are not there in minidock", "clone it first")
        if not is_url(remote):
            raise InvalidArgument(f"remote context {remote[:200]!r}: want http://… or https://…")
        path = self.new("remote")
        fetch(remote, path)
        with path.open("rb", buffering=0) as file:
            if is_archive(file.fileno()):
                self._unpack(file)
                return self._dockerfile(dockerfile)
            return file.read(MAX_DOCKERFILE + 1)

    def _unpack(self, file: BinaryIO) -> None:
        extractor = Extractor(self.context, "/", Rules())
        try:
            with decompress.Pump(decompress.plain(file)) as pump:
                stream = TarStream(iter(pump))
                extractor.unpack(stream)
                stream.drain()
        finally:
            extractor.close()

    def _dockerfile(self, name: str) -> bytes:
        path = posixpath.normpath((name or "Dockerfile").lstrip("/"))
        if path == ".." or path.startswith("../"):
            raise InvalidArgument(f"forbidden path outside the build context: {name} ()")
        data = self._read(path)
        if data is None and not name:
            path = "dockerfile"
            data = self._read(path)
        if data is None:
            raise InvalidArgument(f"Cannot locate specified Dockerfile: {name or 'Dockerfile'}", "give -f PATH")
        patterns = ignore.Ignore(ignore.parse((self._read(".dockerignore") or b"").decode("utf-8", "replace")))
        for one in (".dockerignore", path):
            if patterns.excludes(one):
                self._remove(one)
        return data

    def _read(self, path: str) -> bytes | None:
        """A file of the context; None if there is none."""
        try:
            fd = shim.open_regular(self.context, path)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise InvalidArgument(f"the context's {path} is not a regular file") from None
            return None
        with open(fd, "rb") as file:
            return file.read(MAX_DOCKERFILE + 1)

    def _remove(self, path: str) -> None:
        folder, name = posixpath.split(path)
        with contextlib.suppress(OSError):
            parent = shim.openat2(self.context, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.unlink(name, dir_fd=parent)
            finally:
                os.close(parent)
