"""Blobs as they came, by digest: manifests, and layers compressed or not. content/sha256/<hex>.

A blob is written below tmp/, hashed as it is written, checked, and renamed into place; a file in content/ is therefore
what its name says. Why keep layers at all, once they are unpacked: a push must send the very bytes that were pulled,
and a tar made again from the files is hardly ever the same.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from minidock.image import digest as digests
from minidock.wire.errors import InvalidArgument, NotFound, ServerError

CHUNK = 256 << 10


class BlobWriter:
    """A blob on its way in: a file below tmp/ and the hash of what it holds so far."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file, self.path, self.size = file, path, 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        """Adds some bytes. Raises ServerError if the disk is full."""
        self._hash.update(data)
        self.size += len(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise ServerError(f"store blob: {os.strerror(error.errno or 0).lower()}") from error

    def restart(self) -> None:
        """Forgets what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size = hashlib.sha256(), 0

    def close(self) -> None:
        """Done writing; the file stays until the end of its block, or until it is kept."""
        self._file.close()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class Content:
    """The blob store below a data root."""

    def __init__(self, root: Path) -> None:
        self.directory, self._tmp = root / "content" / "sha256", root / "tmp"
        for path in (self.directory.parent, self.directory):
            path.mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self.directory / digests.hex_of(digest)

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def hexes(self) -> list[str]:
        """The names of all blobs that are there."""
        return os.listdir(self.directory)

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A new blob; gone at the end of the block unless ``keep`` took it."""
        fd, name = tempfile.mkstemp(prefix="blob-", dir=self._tmp)
        path = Path(name)
        try:
            with FileIO(fd, "wb") as file:
                yield BlobWriter(file, path)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, writer: BlobWriter, digest: str) -> None:
        """Moves a blob that has this digest to its place. Raises InvalidArgument if it has not."""
        writer.close()
        if writer.digest != digest:
            raise InvalidArgument(f"store blob: its digest is {writer.digest}, not {digest}")
        if not self.has(digest):
            writer.path.rename(self.path(digest))

    def put(self, data: bytes) -> str:
        """Stores some bytes; returns their digest."""
        digest = digests.of(data)
        if not self.has(digest):
            with self.writer() as writer:
                writer.write(data)
                self.keep(writer, digest)
        return digest

    def open(self, digest: str) -> BinaryIO:
        """For reading. Raises NotFound."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"read blob {digest}: not in the content store") from None
