"""Images on their way out: save.

Each verb finds the images at once, so that a wrong name is an error before anything is sent, and works in threads.
Read next: image/save.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence

from minidock.engine.events import Events
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


async def _read(pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    finally:
        await asyncio.to_thread(pieces.close)
