"""Images and their registries: push, all tags of a repository, inspect there, search, login; and save, an archive.

Each verb finds the images at once, so that a wrong name is an error before anything is sent, and works in threads.
Read next: image/save.py, image/push.py, image/search.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from minidock.engine.parts import Parts
from minidock.image.model import Auth, Found, Image
from minidock.image.progress import Progress

if TYPE_CHECKING:
    from minidock.image.inspection import AtRegistry


class Distribution:
    """The verbs."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._images, self._events = parts, parts.images, parts.events

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        """The pieces of an archive. Raises NotFound before the first."""
        pieces = await asyncio.to_thread(self._images.save, references)
        for reference in references:
            image = self._images.resolve(reference)
            self._events.publish("image", "save", image.id, {"name": reference})
        return self._read(pieces)

    async def _read(self, pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
        """Each piece is waited for, since a generator that is at work in a thread can't be closed."""
        try:
            while (piece := await self._parts.wholly(partial(next, pieces, None))) is not None:
                yield piece
        finally:
            await asyncio.to_thread(pieces.close)

    async def pull_all(self, reference: str, auth: Auth | None, progress: Progress) -> list[Image]:
        """All tags of a repository; ``progress`` is called from another thread."""
        images = await self._parts.slowly(lambda: self._images.pull_all(reference, auth, progress))
        self._events.publish("image", "pull", reference, {"name": reference})
        return images

    async def push(self, reference: str, auth: Auth | None, progress: Progress) -> None:
        """To its registry; ``progress`` is called from other threads."""
        await self._parts.slowly(lambda: self._images.push(reference, auth, progress))
        self._events.publish("image", "push", reference, {"name": reference})

    async def inspect(self, reference: str, auth: Auth | None) -> AtRegistry:
        """What a name stands for at its registry. Raises Unauthorized, Forbidden, NotFound, ServerError."""
        return await self._parts.slowly(lambda: self._images.inspect_at_registry(reference, auth))

    async def search(self, term: str, limit: int, auth: Auth | None, fits: Callable[[Found], bool]) -> list[Found]:
        """What a registry finds for a term, and of that what fits. Raises InvalidArgument, ServerError."""
        found = await self._parts.slowly(lambda: self._images.search(term, limit, auth))
        return [one for one in found if fits(one)]

    async def login(self, server: str, auth: Auth) -> str:
        """Whether a registry takes the credentials; the identity token that it gives for them. Raises Unauthorized."""
        return await self._parts.slowly(lambda: self._images.login(server, auth))
