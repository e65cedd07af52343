"""What `minidock build` sends: a directory as a tar, without what .dockerignore excludes.

The tar is made as it is sent. As with docker's client all of it belongs to root, links are sent as links, and the
Dockerfile and .dockerignore go along even if they are excluded, because the daemon needs them (it removes them then).
A Dockerfile from elsewhere (`-f -`, or a path outside of the context) gets a name that no other file has.
Read next: build.py; ../wire/ignore.py; tree.py.
"""

from __future__ import annotations

import os
import stat
import tarfile
import time
from collections.abc import Iterator

from minidock.cli import tree
from minidock.cli.verb import Failed
from minidock.wire import ignore
from minidock.wire.errors import InvalidArgument

_IGNORE = ".dockerignore"


class Context:
    """A directory as a context. ``dockerfile``: the file's name in it; ``text``: its content, if it is from outside."""

    def __init__(self, directory: str, dockerfile: str, text: bytes | None = None) -> None:
        self._top, self._text = directory, text
        self.dockerfile = dockerfile if text is None else f".dockerfile.{os.urandom(10).hex()}"
        lines = ignore.parse(self._lines())
        rules = ignore.Ignore(lines)
        kept = [one for one in (_IGNORE, self.dockerfile) if rules.excludes(one)]
        self._rules = ignore.Ignore([*lines, *(f"!{one}" for one in kept)])
        self.size = 0

    def _lines(self) -> str:
        try:
            with open(os.path.join(self._top, _IGNORE), encoding="utf-8", errors="replace") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def tar(self) -> Iterator[bytes]:
        """The tar, in pieces. Raises Failed for a file that can't be read."""
        try:
            for piece in self._pieces():
                self.size += len(piece)
                yield piece
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Failed(f"error checking context: {error.filename}: {reason}", 1) from None

    def _pieces(self) -> Iterator[bytes]:
        yield from self._folder("", {})
        if self._text is not None:
            yield from _made(self.dockerfile, self._text)
            yield from _made(_IGNORE, f"{self._lines()}\n{_IGNORE}\n{self.dockerfile}\n".encode())
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _folder(self, folder: str, links: tree.Links) -> Iterator[bytes]:
        for name in sorted(os.listdir(os.path.join(self._top, folder))):
            shown = f"{folder}/{name}" if folder else name
            path = os.path.join(self._top, shown)
            status = os.lstat(path)
            directory, out = stat.S_ISDIR(status.st_mode), self._rules.excludes(shown)
            if not out and (self._text is None or shown != _IGNORE):
                yield from self._entry(path, shown, status, links)
            if directory and (not out or self._rules.may_take_back(shown)):
                yield from self._folder(shown, links)

    @staticmethod
    def _entry(path: str, shown: str, status: os.stat_result, links: tree.Links) -> Iterator[bytes]:
        entry = tree.info(path, shown, status, links)
        if entry is not None:
            entry.uid = entry.gid = 0
            yield from tree.packed(path, entry)


def _made(name: str, data: bytes) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    yield data + bytes(-len(data) % tarfile.BLOCKSIZE)


def single(text: bytes) -> Iterator[bytes]:
    """A context with nothing but a Dockerfile."""
    yield from _made("Dockerfile", text)
    yield bytes(2 * tarfile.BLOCKSIZE)


def opened(directory: str, dockerfile: str, text: bytes | None) -> Context:
    """The context in a directory. ``dockerfile`` as given by -f; ``text``: what came by `-f -`. Raises Failed."""
    if not os.path.isdir(directory):
        missing = not os.path.lexists(directory)
        why = "not found" if missing else "it is no directory"
        raise Failed(f'unable to prepare context: path "{directory}": {why}', 1)
    if text is None:
        dockerfile, text = _placed(directory, dockerfile)
    try:
        return Context(directory, dockerfile, text)
    except InvalidArgument as error:
        raise Failed(f"error checking context: {_IGNORE}: {error}", 1) from None


def _placed(directory: str, dockerfile: str) -> tuple[str, bytes | None]:
    """The Dockerfile's name in the context; for one outside of it, its content."""
    path = dockerfile or os.path.join(directory, "Dockerfile")
    if not dockerfile and not os.path.lexists(path) and os.path.lexists(os.path.join(directory, "dockerfile")):
        path = os.path.join(directory, "dockerfile")
    if dockerfile and not os.path.lexists(path) and os.path.lexists(os.path.join(directory, dockerfile)):
        path = os.path.join(directory, dockerfile)
    inside = os.path.relpath(os.path.realpath(os.path.dirname(path) or "."), os.path.realpath(directory))
    try:
        with open(path, "rb") as file:
            if inside == ".." or inside.startswith("../"):
                return "", file.read()
    except OSError as error:
        raise Failed(
            f"unable to prepare context: unable to read the Dockerfile {path}: {(error.strerror or '').lower()}", 1
        ) from None
    return os.path.normpath(os.path.join(inside, os.path.basename(path))), None
