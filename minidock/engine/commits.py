"""`commit`: a container's changes as a new image.

A running container stands still while its files are read, unless the client asks otherwise. What the image will run is
what the container ran, with the changes on top. Read next: image/commit.py.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from minidock.engine.config import Config
from minidock.engine.model import Container, Status
from minidock.engine.parts import Parts
from minidock.engine.roots import Roots
from minidock.image.commit import CommitRequest
from minidock.image.model import Image


class Commits:
    """The verb."""

    def __init__(self, parts: Parts, roots: Roots) -> None:
        self._parts, self._roots = parts, roots

    async def commit(
        self,
        reference: str,
        name: str | None,
        author: str,
        comment: str,
        changes: Sequence[str],
        pause: bool,
        settings: dict[str, Any],
    ) -> Image:
        """The new image, called ``name``; ``settings`` go before the container's. Raises NotFound, InvalidArgument."""
        container = self._parts.containers.resolve(reference)
        config = container.config
        command = shlex.join([*(config.entrypoint or ()), *(config.cmd or ())])
        wish = CommitRequest(_settings(config) | settings, changes, author, comment, command, container.id)
        upper = self._parts.settings.container_directory(container.id) / "upper"
        base = self._parts.images.of_container(container.definition.image_id)
        async with self._standing(container, pause):
            image = await asyncio.to_thread(self._parts.images.commit, base, upper, name, wish)
            if name:
                self._parts.events.publish("image", "tag", image.id, {"name": image.tags[-1] if image.tags else name})
            attributes = {"comment": comment, "imageID": image.id, "imageRef": name or ""}
            attributes |= {"name": container.name, "image": config.image}
            self._parts.events.publish("container", "commit", container.id, attributes)
        return image

    @asynccontextmanager
    async def _standing(self, container: Container, pause: bool) -> AsyncIterator[None]:
        """A stopped container is kept from being started or removed meanwhile in any case."""
        if container.state.alive and not pause:
            yield
            return
        paused = container.state.status is Status.RUNNING
        try:
            async with self._roots.still(container):
                if paused:
                    self._parts.events.container(container, "pause")
                yield
        finally:
            if paused:
                self._parts.events.container(container, "unpause")


def _settings(config: Config) -> dict[str, Any]:
    """A container's Config as the ``config`` of an image: what is portable of it."""
    found: dict[str, Any] = {
        "Env": list(config.env),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "User": config.user,
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "ExposedPorts": config.exposed_ports,
        "Volumes": config.volumes,
        "StopSignal": config.stop_signal,
    }
    return {key: value for key, value in found.items() if value or key in ("Cmd", "Entrypoint")}
