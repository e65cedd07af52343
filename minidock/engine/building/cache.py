"""The build cache: an image that the same step made of the same image before.

The key is what docker compares: the image below, the step's own words (for RUN the shell, the command and the arguments
in use, for COPY and ADD the fingerprint of the files and the target), and the config that comes of it. It lies in the
database beside the image (table parents), so it outlives the daemon; it ends when the image is removed. The first step
of a stage that is not found ends the search in that stage.

``cache_from`` names images instead, pulled ones for instance, that tell only their history: a step is theirs if all
entries before it and the layers agree. See: moby image/cache/cache.go. Read next: builds.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from minidock.image import digest
from minidock.image.commit import StepRequest
from minidock.image.model import History, Image
from minidock.image.store import ImageStore
from minidock.wire.errors import Error

log = logging.getLogger(__name__)


def key(words: Sequence[str], settings: dict[str, object], author: str = "") -> str:
    """The digest of a step."""
    text = json.dumps([list(words), settings, author], sort_keys=True, separators=(",", ":"))
    return digest.of(text.encode("utf-8", "surrogatepass"))


class Cache:
    """The cache as one build may use it. Blocks."""

    def __init__(self, images: ImageStore, off: bool, sources: Sequence[str]) -> None:
        self._images, self._off = images, off
        self._sources = [] if off else [image for name in sources if (image := self._source(name))]
        self._only_sources = bool(sources)
        self._missed = False

    def _source(self, name: str) -> Image | None:
        try:
            return self._images.resolve(name)
        except Error as error:
            log.info("cache from %s: %s", name, error)
            return None

    def begin_stage(self) -> None:
        """A FROM: what was missed in the stage before does not count here."""
        self._missed = False

    def find(self, base: Image | None, wish: StepRequest) -> Image | None:
        """What the step made of ``base`` before."""
        if self._off or self._missed:
            return None
        found = self._images.find_step(base, wish.key)
        if self._only_sources and found and not any(found.id in self._images.line(one) for one in self._sources):
            found = None
        if found is None and self._sources:
            found = self._from_sources(base, wish)
        self._missed = found is None
        return found

    def _from_sources(self, base: Image | None, wish: StepRequest) -> Image | None:
        before = base.history if base else ()
        for source in self._sources:
            step = self._next(source, base, before)
            if step is None or step.created_by != wish.created_by:
                continue
            self._sources = [source]  # what comes next is to be of the same one
            if len(source.history) == len(before) + 1:
                self._images.adopt(source.id, base, wish.key)
                return source
            layer = "" if step.empty_layer else source.diff_ids[len(base.diff_ids) if base else 0]
            return self._images.add_step(base, layer, wish)
        return None

    @staticmethod
    def _next(source: Image, base: Image | None, before: Sequence[History]) -> History | None:
        """The step of ``source`` that follows ``base``, if it goes on from there."""
        layers = base.diff_ids if base else ()
        same = [one.created_by for one in source.history[: len(before)]] == [one.created_by for one in before]
        if not same or source.diff_ids[: len(layers)] != layers or len(source.history) <= len(before):
            return None
        step = source.history[len(before)]
        return step if step.empty_layer or len(source.diff_ids) > len(layers) else None
