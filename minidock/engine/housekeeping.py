"""Housekeeping: what takes up the disk, and taking away what nobody uses.

Layers are shared, so an image's size is not what its removal gives back: what a prune reclaims is told from the layers
that were there before and are not after. An image that a container uses, running or not, is never pruned.
See: Docker Engine API 1.45, SystemDataUsage, ContainerPrune, ImagePrune. Read next: api/upkeep.py.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.image.digest import chain_ids
from minidock.image.model import Image, Removed
from minidock.wire.errors import Conflict, NotFound

RemoveImage = Callable[[str, bool], Awaitable[list[Removed]]]
RemoveContainer = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class ImageUse:
    """An image, the bytes of those of its layers that another image has too, and how many containers use it."""

    image: Image
    shared: int
    containers: int


class Housekeeping:
    """Prune and df."""

    def __init__(self, parts: Parts, remove_container: RemoveContainer, remove_image: RemoveImage) -> None:
        self._parts = parts
        self._remove_container, self._remove_image = remove_container, remove_image

    async def prune_containers(self, fits: Callable[[Container], bool]) -> tuple[list[str], int]:
        """Removes all that do not run and fit; their ids, and the bytes that they had written."""
        removed, size = [], 0
        for container in self._parts.containers.all():
            if container.state.up or not fits(container):
                continue
            upper = self._parts.settings.container_directory(container.id) / "upper"
            written = await asyncio.to_thread(tree_size, upper)
            try:
                await self._remove_container(container.id)
            except (Conflict, NotFound):  # it was started meanwhile, or another took it away
                continue
            removed.append(container.id)
            size += written
        self._parts.events.publish("container", "prune", "", {"reclaimed": str(size)})
        return removed, size

    async def prune_images(self, fits: Callable[[Image], bool]) -> tuple[list[Removed], int]:
        """Removes all that no container uses and that fit; what was done, and the bytes that came free."""
        before, removed = await asyncio.to_thread(self._layers), []
        for image in await asyncio.to_thread(self._parts.images.list):
            if image.intermediate or self._parts.containers.using_image(image.id) or not fits(image):
                continue  # the first kind goes with the last that was built on it
            try:
                removed += await self._remove_image(image.id, True)
            except (Conflict, NotFound):
                continue
        after = await asyncio.to_thread(self._layers)
        size = sum(size for layer, size in before.items() if layer not in after)
        self._parts.events.publish("image", "prune", "", {"reclaimed": str(size)})
        return removed, size

    def _layers(self) -> dict[str, int]:
        """The bytes of each layer that an image has."""
        return {layer: size for image in self._parts.images.list() for layer, size in self._layers_of(image).items()}

    def _layers_of(self, image: Image) -> dict[str, int]:
        return dict(zip(chain_ids(image.diff_ids), self._parts.images.layer_sizes(image), strict=True))

    def images(self) -> tuple[int, list[ImageUse]]:
        """The bytes of all layers, and each image's share. Blocks."""
        images = self._parts.images.list()
        layers = [self._layers_of(image) for image in images]
        having = Counter(layer for one in layers for layer in one)
        found = []
        for image, own in zip(images, layers, strict=True):
            shared = sum(size for layer, size in own.items() if having[layer] > 1)
            found.append(ImageUse(image, shared, len(self._parts.containers.using_image(image.id))))
        return sum({layer: size for one in layers for layer, size in one.items()}.values()), found


def tree_size(path: Path) -> int:
    """Bytes of the regular files below a directory; hard links count once."""
    seen: set[int] = set()
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                status = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:  # somebody writes there
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_size
    return total
