"""`GET /containers/{c}/stats`: once, or once a second for as long as the container exists and the client listens.

Without ``one-shot`` a single answer takes two samples, a second apart, so that a client can reckon a rate from it.
Read next: render/stats.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from minidock.api.render.stats import stats as render
from minidock.api.request import Request
from minidock.api.response import Answer, dump, json_answer
from minidock.engine.statistics import Sample
from minidock.wire.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

SECONDS = 1.0


async def stats(engine: Engine, request: Request) -> Answer | None:
    """GET /containers/{c}/stats"""
    one_shot = request.flag("one-shot")
    if request.flag("stream", True):
        if one_shot:
            raise InvalidArgument("cannot have stream=true and one-shot=true")
        await _follow(engine, request)
        return None
    container, before = engine.container(request.name), Sample()
    if container.state.alive and not one_shot:
        before = await engine.statistics.sample(container)
        await asyncio.sleep(SECONDS)
    return json_answer(render(container, await engine.statistics.sample(container), before))


async def _follow(engine: Engine, request: Request) -> None:
    container, before = engine.container(request.name), Sample()
    stream = request.stream()
    stream.open()
    request.follow()
    while _exists(engine, container.id):
        now = await engine.statistics.sample(container)
        stream.put(dump(render(container, now, before)))
        await stream.drain()
        before = now
        await asyncio.sleep(SECONDS)


def _exists(engine: Engine, ident: str) -> bool:
    try:
        return engine.container(ident).id == ident
    except NotFound:
        return False
