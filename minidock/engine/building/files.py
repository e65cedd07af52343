"""COPY and ADD: their arguments understood, their sources opened (context, stage, URL, heredoc), the copy made.

Read next: sources.py, which finds and fingerprints; copy.py, which writes.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minidock.build import words
from minidock.build.instructions import Instruction
from minidock.build.settings import Metadata
from minidock.engine.building import copy as build_copy
from minidock.engine.building import sources as build_sources
from minidock.engine.building.context import Workplace
from minidock.engine.building.copy import Target
from minidock.engine.building.sources import Source, Sources
from minidock.engine.parts import Parts
from minidock.image.fetch import fetch, file_name, is_url
from minidock.image.model import Image
from minidock.linux import shim
from minidock.wire.errors import InvalidArgument

_MODES = frozenset("01234567")


@dataclass(frozen=True)
class Wanted:
    """A COPY or ADD with its variables put in. ``texts``: heredocs, by the word that stands for them."""

    name: str
    sources: tuple[str, ...]
    path: str
    said: str  # the path as it was given
    stage: str
    chown: str
    mode: int | None
    texts: Mapping[str, tuple[str, bytes]]

    @property
    def comment(self) -> str:
        """What of it counts beside the files."""
        chmod = f"--chmod={self.mode:o} " if self.mode is not None else ""
        return (f"--chown={self.chown} " if self.chown else "") + chmod


class Files:
    """COPY and ADD of one stage."""

    def __init__(self, parts: Parts, workplace: Workplace, metadata: Metadata, escape: str) -> None:
        self._parts, self._workplace, self._metadata, self._escape = parts, workplace, metadata, escape

    def wanted(self, one: Instruction, variables: Mapping[str, str]) -> Wanted:
        """The arguments. Raises InvalidArgument."""
        expand = partial(words.expand, variables=variables, escape=self._escape)
        texts = {}
        for doc in one.heredocs:
            content = words.expand_text(doc.content, variables, self._escape) if doc.expand else doc.content
            texts[doc.mark] = (doc.name, content.encode())
        marks = set(texts)
        sources = tuple(word if word in marks else expand(word) for word in one.words[:-1])
        path = expand(one.words[-1])
        if not path:
            raise InvalidArgument("the target is empty")
        if len(sources) > 1 and not path.endswith("/"):
            raise _several(one.name)
        flags = {name: expand(value) for name, value in one.flags.items()}
        return Wanted(
            one.name,
            sources,
            self._absolute(path),
            path,
            flags.get("from", ""),
            flags.get("chown", ""),
            _mode(flags.get("chmod", "")),
            texts,
        )

    def _absolute(self, path: str) -> str:
        slash = "/" if path.endswith("/") and path != "/" else ""
        absolute = path if path.startswith("/") else posixpath.join(self._metadata.directory("."), path)
        return posixpath.normpath("/" + absolute.lstrip("/")).rstrip("/") + slash or "/"

    def open(self, wanted: Wanted, stage: Image | None, fds: ExitStack) -> list[Source]:
        """Finds the sources, fetching what is a URL; ``fds`` closes them. Blocks. Raises InvalidArgument."""
        root, where = self._workplace.context, "build context or excluded by .dockerignore"
        if wanted.stage:
            root, where = self._view(wanted.stage, stage), wanted.stage
            fds.callback(os.close, root)
        local = fds.enter_context(Sources(root, where))
        found: list[Source] = []
        for text in wanted.sources:
            if text in wanted.texts:
                found.append(self._text(*wanted.texts[text], fds))
            elif wanted.name == "ADD" and is_url(text):
                found.append(self._fetched(text, wanted.path, fds))
            else:
                found += local.find([text])
        if len(found) > 1 and not wanted.path.endswith("/"):
            raise _several(wanted.name)
        return found

    def _view(self, name: str, stage: Image | None) -> int:
        if stage is None:
            raise InvalidArgument(f"there is nothing in the stage {name}")
        images = self._parts.images
        return shim.overlay_view(str(images.layers_dir), ":".join(images.lowers(stage)))

    def _text(self, name: str, content: bytes, fds: ExitStack) -> Source:
        folder = self._workplace.new("text")
        folder.mkdir()
        (folder / "text").write_bytes(content)
        (folder / "text").chmod(0o644)
        return self._single(folder, "text", posixpath.basename(name), False, fds)

    def _fetched(self, url: str, path: str, fds: ExitStack) -> Source:
        name = file_name(url)
        if not name and path.endswith("/"):
            raise InvalidArgument(f"cannot determine filename from url: {url}", "name the file in the target")
        folder = self._workplace.new("fetched")
        folder.mkdir()
        got = fetch(url, folder / "file")
        os.utime(folder / "file", (got.modified, got.modified))
        return self._single(folder, "file", name or "file", True, fds)

    @staticmethod
    def _single(folder: Path, file: str, name: str, remote: bool, fds: ExitStack) -> Source:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fds.callback(os.close, root)
        return fds.enter_context(Sources(root, str(name))).one(file, name, remote)

    @staticmethod
    def comment(wanted: Wanted, found: Sequence[Source]) -> str:
        """How the history tells it, and the cache finds it."""
        return f"{wanted.name} {wanted.comment}{build_sources.combined(found)} in {wanted.said} "

    @staticmethod
    def write(wanted: Wanted, found: Sequence[Source], root: int) -> None:
        """Copies it all into a stage's root. Files of another stage keep their owners, others become root's."""
        whose = build_copy.owner(root, wanted.chown) if wanted.chown else None if wanted.stage else (0, 0)
        build_copy.copy(root, found, Target(wanted.path, whose, wanted.mode, unpack=wanted.name == "ADD"))

    @staticmethod
    def make_directory(path: str, root: int) -> None:
        """WORKDIR's directory."""
        build_copy.make_directories(root, path, None)


def _several(name: str) -> InvalidArgument:
    what = f"When using {name} with more than one source file, the destination must be a directory and end with a /"
    return InvalidArgument(what)


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not set(text) <= _MODES or len(text) > 5 or int(text, 8) > 0o7777:
        raise InvalidArgument(f"invalid chmod parameter: '{text}', it should be octal string and between 0 and 07777")
    return int(text, 8)
