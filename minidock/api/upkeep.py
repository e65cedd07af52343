"""Upkeep: prune of containers and images, and what takes up the disk.

A prune without filters takes what is certainly waste: containers that do not run, images that have no name; with
``dangling=false`` every image that no container uses. Read next: engine/housekeeping.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidock.api import containers, volumes
from minidock.api.render import image as render
from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.housekeeping import tree_size
from minidock.engine.model import Container
from minidock.image.model import Image
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_BUILD_FILTERS = ("description", "id", "inuse", "label", "parent", "private", "shared", "type", "until", "unused-for")
_TYPES = frozenset(("container", "image", "volume", "build-cache"))


async def prune_containers(engine: Engine, request: Request) -> Answer:
    """POST /containers/prune"""
    wanted = request.filters("label", "label!", "until")
    before = wanted.until()

    def fits(container: Container) -> bool:
        return (before is None or container.created < before) and wanted.prunes(container.config.labels)

    removed, size = await engine.housekeeping.prune_containers(fits)
    return json_answer({"ContainersDeleted": removed or None, "SpaceReclaimed": size})


async def prune_builds(engine: Engine, request: Request) -> Answer:
    """POST /build/prune: nothing but images is kept of a build; ``docker system prune`` asks for it."""
    request.filters(*_BUILD_FILTERS)
    return json_answer({"CachesDeleted": None, "SpaceReclaimed": 0})


async def prune_images(engine: Engine, request: Request) -> Answer:
    """POST /images/prune"""
    wanted = request.filters("dangling", "label", "label!", "until")
    before, dangling = wanted.until(), wanted.flag("dangling")

    def fits(image: Image) -> bool:
        if dangling is not False and image.tags:
            return False
        created = render.created(image.created) * times.SECOND
        return (before is None or created < before) and wanted.prunes(image.config.labels)

    removed, size = await engine.housekeeping.prune_images(fits)
    return json_answer({"ImagesDeleted": render.removed(removed) or None, "SpaceReclaimed": size})


async def df(engine: Engine, request: Request) -> Answer:
    """GET /system/df"""
    asked = set(request.query.get("type", ())) if request.version >= (1, 42) else set()
    asked = asked or set(_TYPES)
    if not asked <= _TYPES:
        raise InvalidArgument(f"unknown object type: {min(asked - _TYPES)}", f"one of {', '.join(sorted(_TYPES))}")
    value: dict[str, Any] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
    if "image" in asked:
        total, found = await asyncio.to_thread(engine.housekeeping.images)
        rows = [
            {**render.summary(one.image, request.version), "SharedSize": one.shared, "Containers": one.containers}
            for one in found
        ]
        value |= {"LayersSize": total, "Images": rows}
    if "container" in asked:
        value["Containers"] = await containers.rows(engine, engine.containers(), size=True)
    if "volume" in asked:
        value["Volumes"] = await asyncio.to_thread(_volumes, engine)
    if "build-cache" in asked:
        value["BuildCache"] = []
    return json_answer({**value, "BuilderSize": 0})


def _volumes(engine: Engine) -> list[dict[str, Any]]:
    used = Counter(point.name for container in engine.containers() for point in container.definition.mounts)
    return [
        {
            **volumes.shown(record),
            "UsageData": {"Size": tree_size(Path(record.mountpoint)), "RefCount": used[record.name]},
        }
        for record in engine.volumes.all()
    ]
