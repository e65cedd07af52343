"""Volumes: list, create, inspect, remove, prune.

Files and rows are the engine's (engine/volumes.py). The only driver is ``local``.
See: Docker Engine API 1.45, Volume.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.codec import decode
from minidock.engine.housekeeping import tree_size
from minidock.engine.requests import VolumeRecord
from minidock.wire import times
from minidock.wire.errors import Conflict, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


@dataclass(frozen=True)
class CreateBody:
    """The body of ``POST /volumes/create``."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


async def list_(engine: Engine, request: Request) -> Answer:
    """GET /volumes"""
    wanted = request.filters("dangling", "driver", "label", "name")
    used = {point.name for container in engine.containers() for point in container.definition.mounts}
    dangling = wanted.flag("dangling")
    found = [
        shown(record)
        for record in engine.volumes.all()
        if wanted.pattern("name", record.name)
        and wanted.exact("driver", "local")
        and wanted.labels(record.labels)
        and (dangling is None or dangling is (record.name not in used))
    ]
    return json_answer({"Volumes": found, "Warnings": None})


async def create(engine: Engine, request: Request) -> Answer:
    """POST /volumes/create: idempotent by name"""
    body = decode(CreateBody, await request.json())
    if body.driver not in ("", "local"):
        raise NotFound(f'create {body.name}: plugin "{body.driver}" not found')
    record = engine.volumes.create(body.name, body.labels, None, body.driver_opts)
    return json_answer(shown(record), 201)


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /volumes/{v}"""
    return json_answer(shown(engine.volumes.get(request.name)))


async def remove(engine: Engine, request: Request) -> Answer:
    """DELETE /volumes/{v}"""
    engine.volumes.remove(request.name, request.flag("force"))
    return Answer(204)


async def prune(engine: Engine, request: Request) -> Answer:
    """POST /volumes/prune: the anonymous ones; with the filter all (or before API 1.42) the named ones, too"""
    wanted = request.filters("all", "label", "label!")
    everything = wanted.flag("all") or request.version < (1, 42)

    def chosen(record: VolumeRecord) -> bool:
        return (everything or record.anonymous) and wanted.prunes(record.labels)

    removed, size = [], 0
    for record in engine.volumes.unused(chosen):
        bytes_there = await asyncio.to_thread(tree_size, Path(record.mountpoint))
        with suppress(Conflict):  # a container has it by now
            engine.volumes.remove(record.name, force=True)
            removed.append(record.name)
            size += bytes_there
    engine.events.publish("volume", "prune", "", {"reclaimed": str(size)})
    return json_answer({"VolumesDeleted": removed or None, "SpaceReclaimed": size})


def shown(record: VolumeRecord) -> dict[str, object]:
    """A volume as JSON."""
    return {
        "CreatedAt": times.rfc3339(record.created - record.created % times.SECOND),
        "Driver": "local",
        "Labels": record.labels or None,
        "Mountpoint": record.mountpoint,
        "Name": record.name,
        "Options": record.options or None,
        "Scope": "local",
    }
