"""`build`: a Dockerfile and its context → an image, step by step.

Every step makes an image on the one before, as docker's classic builder does: it has no name, and the next build finds
it by what it was made of. Images of a build that is under way are kept from prune and rmi by ``users_of``. What a step
needs while it runs is a container's (RUN) or below tmp/ (COPY and the context); both are gone at its end, however it
ends. Read next: stages.py, the steps; docs/build.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from minidock.build import stages
from minidock.build.stages import Dockerfile
from minidock.engine.building.context import Workplace
from minidock.engine.building.request import BuildRequest, Output
from minidock.engine.building.run import Create, Remove, Runner, Start
from minidock.engine.building.stages import Build
from minidock.engine.parts import Parts
from minidock.engine.roots import Roots
from minidock.image import reference
from minidock.image.removal import User
from minidock.wire import names
from minidock.wire.errors import InvalidArgument

Tag = Callable[[str, str], Awaitable[None]]


class Builds:
    """The verb, and the builds that are under way."""

    def __init__(self, parts: Parts, roots: Roots, verbs: tuple[Create, Start, Remove], tag: Tag) -> None:
        self._parts, self._roots, self._verbs, self._tag = parts, roots, verbs, tag
        self._running: dict[str, Build] = {}

    def users_of(self, image: str) -> list[User]:
        """Who has an image: containers, and builds that are under way, which count as running ones. From any thread."""
        building = [User(ident, True) for ident, build in list(self._running.items()) if build.needs(image)]
        return self._parts.containers.users_of(image) + building

    async def build(self, request: BuildRequest, body: BinaryIO, output: Output, received: Callable[[], None]) -> str:
        """The new image's id. ``received`` is called when all of the body has been read."""
        tags = [_checked(tag) for tag in request.tags]
        ident = names.new_id()
        directory = self._parts.settings.data_root / "tmp" / f"build-{names.short_id(ident)}"
        workplace = await asyncio.to_thread(Workplace, directory, self._parts.trash.take)
        try:
            dockerfile = await self._parts.wholly(lambda: self._read(request, workplace, body))
            received()
            runner = Runner(self._parts, self._verbs, ident, request, output)
            build = Build(self._parts, self._roots, request, workplace, runner, output)
            self._running[ident] = build
            image = await build.run(dockerfile)
            output.say(f"Successfully built {names.short_id(image)}\n")
            for tag in tags:
                await self._tag(image, tag)
                output.say(f"Successfully tagged {tag}\n")
            return image
        finally:
            self._running.pop(ident, None)
            await asyncio.shield(asyncio.to_thread(workplace.close))

    @staticmethod
    def _read(request: BuildRequest, workplace: Workplace, body: BinaryIO) -> Dockerfile:
        """The context, and the Dockerfile up to the stage that is wanted. Blocks."""
        found = stages.load(workplace.receive(request.remote, body, request.dockerfile))
        if request.target:
            found = found.up_to(request.target)
        return found.with_labels(dict(request.labels))


def _checked(tag: str) -> str:
    found = reference.parse(tag).with_default_tag()
    if found.digest:
        raise InvalidArgument("build tag cannot contain a digest")
    return found.familiar()
