"""The daemon itself: ping, version, info; and the answers to what it does not do.

A client of Docker's asks for Swarm and plugins on many occasions, and must get what a daemon without them answers; what
minidock merely has not learnt yet is 501 with a plain text, never an empty success.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from minidock.api.render import system as render
from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.wire.errors import NotFound, NotImplemented, Unavailable

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_PING_HEADERS = (
    ("Builder-Version", "1"),  # the classic builder: clients then do not try to speak gRPC
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)
_PING = Answer(200, b"OK", "text/plain; charset=utf-8", _PING_HEADERS)
_PING_HEAD = Answer(200, b"", "text/plain; charset=utf-8", _PING_HEADERS)


async def ping(engine: Engine, request: Request) -> Answer:
    """GET, HEAD /_ping: the first request of every client; its headers settle the API version"""
    return _PING if request.method == "GET" else _PING_HEAD


async def version(engine: Engine, request: Request) -> Answer:
    """GET /version"""
    return json_answer(render.version(await asyncio.to_thread(engine.info)))


async def info(engine: Engine, request: Request) -> Answer:
    """GET /info"""
    networks = sorted({network.driver for network in engine.networks.all()})
    return json_answer(render.info(await asyncio.to_thread(engine.info), networks))


async def plugins(engine: Engine, request: Request) -> Answer:
    """GET /plugins"""
    return json_answer([])


async def plugin(engine: Engine, request: Request) -> Answer:
    """GET /plugins/{p}/json"""
    raise NotFound(f'plugin "{request.name}" not found')


async def no_checkpoints(engine: Engine, request: Request) -> Answer:
    """GET, POST /containers/{c}/checkpoints, DELETE /containers/{c}/checkpoints/{checkpoint}"""
    raise NotImplemented("checkpoints are experimental in docker, and not there in minidock")


async def swarm_leave(engine: Engine, request: Request) -> Answer:
    """POST /swarm/leave"""
    raise Unavailable("This node is not part of a swarm")


async def no_swarm(engine: Engine, request: Request) -> Answer:
    """Everything of Swarm"""
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again."
    )
