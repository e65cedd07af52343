"""Images on their way out: save.

Read next: images.py, for what comes in.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from minidock.api.request import Request

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

TAR = "application/x-tar"


async def save(engine: Engine, request: Request) -> None:
    """GET /images/get and /images/{image}/get"""
    names = [request.name] if request.name else request.query.get("names", [])
    pieces = await engine.distribution.save(names)
    stream = request.stream(TAR)
    stream.open()
    request.follow()
    async with aclosing(cast(Any, pieces)):
        async for piece in pieces:
            stream.put(piece)
            await stream.drain()
