"""Images on their way out: save, push; and login, which checks credentials.

Each verb finds the images at once, so that a wrong name is an error before anything is sent, and works in threads.
Read next: image/save.py, image/push.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence

from minidock.engine.events import Events
from minidock.image.model import Auth
from minidock.image.progress import Progress
from minidock.image.store import ImageStore


class Distribution:
    """The verbs."""

    def __init__(self, images: ImageStore, events: Events) -> None:
        self._images, self._events = images, events

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        """The pieces of an archive. Raises NotFound before the first."""
        pieces = await asyncio.to_thread(self._images.save, references)
        for reference in references:
            image = self._images.resolve(reference)
            self._events.publish("image", "save", image.id, {"name": reference})
        return _read(pieces)

    async def push(self, reference: str, auth: Auth | None, progress: Progress) -> None:
        """To its registry; ``progress`` is called from other threads."""
        await asyncio.to_thread(self._images.push, reference, auth, progress)
        self._events.publish("image", "push", reference, {"name": reference})

    async def login(self, server: str, auth: Auth) -> None:
        """Whether a registry takes the credentials. Raises Unauthorized."""
        await asyncio.to_thread(self._images.login, server, auth)


async def _read(pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    finally:
        await asyncio.to_thread(pieces.close)
