"""Containers: create, list, inspect, and the verbs of their life.

What streams (attach, logs, wait) stands in ``streams.py``, what the JSON looks like in ``render/container.py``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minidock.api import ps
from minidock.api.render import container as render
from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.codec import decode
from minidock.engine.config import Config, HostConfig
from minidock.engine.model import Container
from minidock.engine.requests import CreateRequest
from minidock.wire.errors import InvalidArgument, NotFound, NotImplemented

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

NO_CONTENT = Answer(204)
_START_BODY_SINCE_1_24 = 7  # bytes: a JSON object with anything in it is longer


@dataclass(frozen=True)
class NetworkingConfig:
    """Of the body of create: name → endpoint settings, which the engine reads."""

    endpoints_config: dict[str, Any] = field(default_factory=dict)


def create_request(request: Request, body: Any) -> CreateRequest:
    """The body of create: Config at the top level, HostConfig and NetworkingConfig inside it."""
    if not isinstance(body, dict):
        raise InvalidArgument("invalid JSON: want an object")
    networking = decode(NetworkingConfig, body.get("NetworkingConfig"), "NetworkingConfig")
    config = decode(Config, body)
    if not config.image:
        raise InvalidArgument("no image given", 'the body must have "Image"')
    host = decode(HostConfig, body.get("HostConfig"), "HostConfig")
    return CreateRequest(config, host, request.text("name"), networking.endpoints_config, request.text("platform"))


async def create(engine: Engine, request: Request) -> Answer:
    """POST /containers/create"""
    body = await request.json()
    created = await engine.create(create_request(request, body))
    return json_answer({"Id": created.id, "Warnings": [*_kernel_memory(body, request.version), *created.warnings]}, 201)


def _kernel_memory(body: Any, version: tuple[int, int]) -> list[str]:
    """KernelMemory went from the API with 1.42; older clients are told that no kernel with cgroup v2 has it."""
    if version >= (1, 42) or not (body.get("HostConfig") or {}).get("KernelMemory"):
        return []
    return [
        "Specifying a kernel memory limit is deprecated and will be removed in a future release.",
        "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. "
        "Limitation discarded.",
    ]


async def list_(engine: Engine, request: Request) -> Answer:
    """GET /containers/json"""
    wanted = ps.Selection(request)
    shown = await asyncio.to_thread(wanted.resolve_images, engine) if wanted.needs_images else None
    chosen = wanted.choose(engine.containers(), shown)
    return json_answer(await rows(engine, chosen, request.flag("size")))


async def rows(engine: Engine, chosen: list[Container], size: bool) -> list[dict[str, Any]]:
    """Containers as a list shows them; their sizes must be asked for, since they are counted file by file."""
    images = await asyncio.to_thread(_current_names, engine, {c.config.image for c in chosen})
    network_ids = {network.name: network.id for network in engine.networks.all()}
    found = []
    for container in chosen:
        image = container.config.image
        if images.get(image) != container.definition.image_id:
            image = container.definition.image_id  # the name has moved on to another image
        row = render.summary(container, image, network_ids)
        with suppress(NotFound):  # it was removed while the others were counted
            if size:
                written, row["SizeRootFs"] = await engine.sizes(container.id)
                row |= {"SizeRw": written} if written else {}  # a list leaves a zero out, inspect does not
            found.append(row)
    return found


def _current_names(engine: Engine, names: set[str]) -> dict[str, str]:
    """What image each name stands for now; in a thread, since it reads the database."""
    found = {}
    for name in names:
        try:
            found[name] = engine.images.resolve(name).id
        except (NotFound, InvalidArgument):
            continue
    return found


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /containers/{c}/json"""
    container = engine.container(request.name)
    place = render.Place(
        directory=engine.directory(container),
        log_path=engine.log_path(container),
        lowers=await asyncio.to_thread(_lower_directories, engine, container),
        exec_ids=tuple(engine.execs_of(container)),
        network_ids={network.name: network.id for network in engine.networks.all()},
        links=engine.links_of(container),
        apparmor=engine.apparmor_of(container),
    )
    value: dict[str, Any] = render.inspect(container, place)
    if request.flag("size"):
        value["SizeRw"], value["SizeRootFs"] = await engine.sizes(container.id)
    return json_answer(value)


def _lower_directories(engine: Engine, container: Container) -> tuple[str, ...]:
    try:
        image = engine.images.of_container(container.definition.image_id)
    except NotFound:
        return ()
    return tuple(f"{engine.images.layers_dir}/{lower}" for lower in engine.images.lowers(image))


async def start(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/start"""
    length = request.header(b"content-length")
    if request.header(b"transfer-encoding") or (length and int(length) > _START_BODY_SINCE_1_24):
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if request.text("checkpoint"):
        raise InvalidArgument("checkpoint is only supported in experimental mode", "which minidock has not")
    await engine.start(request.name)
    return NO_CONTENT


async def stop(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/stop"""
    await engine.stop(request.name, request.integer("t"), _stop_signal(request))
    return NO_CONTENT


async def restart(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/restart"""
    await engine.restart(request.name, request.integer("t"), _stop_signal(request))
    return NO_CONTENT


def _stop_signal(request: Request) -> str:
    return request.text("signal") if request.version >= (1, 42) else ""


async def kill(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/kill"""
    await engine.kill(request.name, request.text("signal") or "KILL")
    return NO_CONTENT


async def pause(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/pause"""
    await engine.pause(request.name)
    return NO_CONTENT


async def unpause(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/unpause"""
    await engine.unpause(request.name)
    return NO_CONTENT


async def rename(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/rename"""
    if not request.text("name"):
        raise InvalidArgument("Neither old nor new names may be empty")
    await engine.rename(request.name, request.text("name"))
    return NO_CONTENT


async def update(engine: Engine, request: Request) -> Answer:
    """POST /containers/{c}/update: a HostConfig's limits and restart policy, at the top level"""
    wish = decode(HostConfig, await request.json())
    return json_answer({"Warnings": await engine.updates.update(request.name, wish) or None})


async def remove(engine: Engine, request: Request) -> Answer:
    """DELETE /containers/{c}"""
    if request.flag("link"):
        raise NotImplemented("remove of a link: a link goes with the container that has it", "remove that container")
    await engine.remove(request.name, request.flag("force"), request.flag("v"))
    return NO_CONTENT


async def top(engine: Engine, request: Request) -> Answer:
    """GET /containers/{c}/top"""
    found = await engine.top(request.name, request.text("ps_args"))
    return json_answer({"Processes": [list(row) for row in found.processes], "Titles": list(found.titles)})
