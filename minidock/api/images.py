"""Images: pull, load, import, list, inspect, history, tag, remove.

Pull and import answer with a status while nothing has been said yet, and in-stream afterwards; load always in-stream,
as dockerd does. Archives are read from the socket as they come, through a blocking file that a thread reads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from minidock.api import errors
from minidock.api.auth import registry_auth
from minidock.api.filters import Filters
from minidock.api.progress import Progress
from minidock.api.render import image as render
from minidock.api.request import Request
from minidock.api.response import Answer, ClientGone, json_answer
from minidock.image.manifest import fits, host_platform
from minidock.image.model import Image
from minidock.image.reference import parse as parse_reference
from minidock.wire import ignore, times
from minidock.wire.errors import Forbidden, InvalidArgument, NotImplemented

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


async def create(engine: Engine, request: Request) -> None:
    """POST /images/create: pull, or import from the body"""
    source = request.text("fromSrc")
    if source == "-":
        await _import(engine, request)
    elif source:
        raise NotImplemented("import from a URL: not there in minidock", "fetch it with curl and import from stdin")
    else:
        await _pull(engine, request)


async def _pull(engine: Engine, request: Request) -> None:
    _check_platform(request.text("platform"))
    reference = joined(request.text("fromImage").removesuffix(":"), request.text("tag"))
    if parse_reference(reference).familiar_name == "scratch":
        raise Forbidden("'scratch' is a reserved name")
    credentials = registry_auth(request.header(b"x-registry-auth"))
    progress = Progress(request.stream())
    request.follow()
    pull = engine.distribution.pull_all if _is_repository(reference) else engine.pull
    await report(request, progress, pull(reference, credentials, progress))


def _is_repository(reference: str) -> bool:
    """Whether a pull of it means all its tags: it has none itself, and no digest."""
    parsed = parse_reference(reference)
    return not (parsed.tag or parsed.digest)


async def _import(engine: Engine, request: Request) -> None:
    _check_platform(request.text("platform"))
    repository = request.text("repo")
    reference = joined(repository, request.text("tag")) if repository else None
    progress = Progress(request.stream())
    changes = request.query.get("changes", [])
    body = request.reader()
    image = await engine.import_image(body, reference, request.text("message"), changes)
    progress.put({"status": image.id})


async def load(engine: Engine, request: Request) -> None:
    """POST /images/load"""
    stream = request.stream()
    progress = Progress(stream, quiet=request.flag("quiet"))
    progress.begun = True
    await report(request, progress, engine.load(request.reader(), progress))
    stream.open()


async def report(request: Request, progress: Progress, work: Coroutine[Any, Any, object]) -> None:
    """Does the work; an error becomes a status before the first line, a line of its own after it.

    If the request is cancelled, because the client has gone, the threads at work learn it by their next line.
    """
    try:
        await work
    except asyncio.CancelledError:
        progress.leave()
        raise
    except Exception as error:
        if not progress.begun or isinstance(error, ClientGone):
            raise
        _, text = errors.explain(error, f"{request.method} {request.path}")
        progress.fail(text)
    progress.flush()


def joined(name: str, tag: str) -> str:
    """Repository and tag as one reference, in place of a tag that the repository has; a digest comes as a tag."""
    if not name:
        raise InvalidArgument("invalid reference format: the name is empty")
    if not tag:
        return name
    if ":" in tag:
        return f"{name}@{tag}"
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}:{tag}"


def _check_platform(platform: str) -> None:
    own = host_platform().architecture
    if not fits(platform, own):
        raise NotImplemented(f"images for {platform}: this machine runs linux/{own}", "leave --platform out")


async def list_(engine: Engine, request: Request) -> Answer:
    """GET /images/json"""
    wanted = request.filters("before", "dangling", "label", "reference", "since", "until")
    images = await asyncio.to_thread(_choose, engine, wanted, request.flag("all"))
    return json_answer([render.summary(image, request.version) for image in images])


def _choose(engine: Engine, wanted: Filters, everything: bool) -> list[Image]:
    """The images that a filter leaves, newest first; those in the middle of a build only with ``everything``."""
    dangling = wanted.flag("dangling")
    older = [render.created(engine.images.resolve(name).created) for name in wanted.get("before")]
    newer = [render.created(engine.images.resolve(name).created) for name in wanted.get("since")]
    older += [times.parse_query_time(text) // times.SECOND for text in wanted.get("until")]
    found = [
        image
        for image in engine.images.list()
        if wanted.labels(image.config.labels)
        and (everything or not image.intermediate)
        and (dangling is None or dangling is not bool(image.tags))
        and all(render.created(image.created) < bound for bound in older)
        and all(render.created(image.created) > bound for bound in newer)
    ]
    if "reference" in wanted:
        patterns = [ignore.compiled(pattern, deep=False) for pattern in wanted.get("reference")]
        found = [called for image in found if (called := _called(image, patterns))]
    return sorted(found, key=lambda image: render.created(image.created), reverse=True)


def _called(image: Image, patterns: list[re.Pattern[str]]) -> Image | None:
    """The image with those of its names that fit a pattern, with or without the tag; None if none does."""

    def fits(name: str, repository: str) -> bool:
        return any(pattern.fullmatch(name) or pattern.fullmatch(repository) for pattern in patterns)

    tags = tuple(tag for tag in image.tags if fits(tag, tag.rpartition(":")[0]))
    digests = tuple(digest for digest in image.digests if fits(digest, digest.partition("@")[0]))
    return replace(image, tags=tags, digests=digests) if tags or digests else None


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /images/{image}/json"""
    image, lowers = await asyncio.to_thread(_with_layers, engine, request.name)
    return json_answer(render.inspect(image, lowers, request.version))


def _with_layers(engine: Engine, name: str) -> tuple[Image, list[str]]:
    image = engine.images.resolve(name)
    lowers = engine.images.lowers(image) if image.diff_ids else []
    return image, [f"{engine.images.layers_dir}/{lower}" for lower in lowers]


async def history(engine: Engine, request: Request) -> Answer:
    """GET /images/{image}/history"""
    line, sizes = await asyncio.to_thread(_with_line, engine, request.name)
    return json_answer(render.history(line, sizes))


def _with_line(engine: Engine, name: str) -> tuple[list[Image], list[int]]:
    image = engine.images.resolve(name)
    return [engine.images.resolve(ident) for ident in engine.images.line(image)], engine.images.layer_sizes(image)


async def tag(engine: Engine, request: Request) -> Answer:
    """POST /images/{image}/tag"""
    await engine.tag_image(request.name, joined(request.text("repo"), request.text("tag")))
    return Answer(201)


async def remove(engine: Engine, request: Request) -> Answer:
    """DELETE /images/{image}"""
    force, prune = request.flag("force"), not request.flag("noprune")
    return json_answer(render.removed(await engine.remove_image(request.name, force, prune)))
