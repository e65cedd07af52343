"""Images on their way out: save, push; commit; and their registries: login, inspect there, search.

Read next: images.py, for what comes in.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from minidock.api.auth import Entry, registry_auth
from minidock.api.images import joined, report
from minidock.api.progress import Progress
from minidock.api.render import image as render
from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.codec import decode
from minidock.image.model import Found
from minidock.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

TAR = "application/x-tar"
DEFAULT_LIMIT, MAX_LIMIT = 25, 100  # of what a search finds


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


async def push(engine: Engine, request: Request) -> None:
    """POST /images/{image}/push"""
    reference = joined(request.name, request.text("tag"))
    credentials = registry_auth(request.header(b"x-registry-auth"))
    stream = request.stream()
    progress = Progress(stream)
    progress.begun = True  # Docker's clients look for the errors of a push in the stream
    request.follow()
    await report(request, progress, engine.distribution.push(reference, credentials, progress))
    stream.open()


async def commit(engine: Engine, request: Request) -> Answer:
    """POST /commit"""
    repository = request.text("repo")
    if not request.text("container"):
        raise InvalidArgument('invalid name or ID supplied: ""', "give the container to commit")
    settings = _portable(await request.json() if request.has_body else None)
    image = await engine.commits.commit(
        request.text("container"),
        joined(repository, request.text("tag")) if repository else None,
        request.text("author"),
        request.text("comment"),
        [line for text in request.query.get("changes", []) for line in text.split("\n") if line.strip()],
        request.flag("pause", default=True),
        settings,
    )
    return json_answer({"Id": image.id}, 201)


async def login(engine: Engine, request: Request) -> Answer:
    """POST /auth"""
    entry = decode(Entry, await request.json())
    if not (entry.username and entry.password or entry.identity_token):
        raise InvalidArgument("invalid credentials: username and password are both needed")
    given = await engine.distribution.login(entry.server_address, entry.auth)
    return json_answer({"Status": "Login Succeeded", "IdentityToken": given})


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /distribution/{name}/json"""
    credentials = registry_auth(request.header(b"x-registry-auth"))
    return json_answer(render.at_registry(await engine.distribution.inspect(request.name, credentials)))


async def search(engine: Engine, request: Request) -> Answer:
    """GET /images/search"""
    term, limit = request.text("term"), request.integer("limit") or DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"Limit {limit} is outside the range of [1, {MAX_LIMIT}]")
    wanted = request.filters("is-automated", "is-official", "stars")
    automated, official = wanted.flag("is-automated"), wanted.flag("is-official")
    stars = max([_stars(value) for value in wanted.get("stars")], default=0)

    def fits(one: Found) -> bool:
        return automated in (None, one.automated) and official in (None, one.official) and one.stars >= stars

    credentials = registry_auth(request.header(b"x-registry-auth"))
    return json_answer([_row(one) for one in await engine.distribution.search(term, limit, credentials, fits)])


def _stars(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidArgument(f"invalid filter 'stars={text}'")
    return int(text)


def _row(one: Found) -> dict[str, Any]:
    return {
        "star_count": one.stars,
        "is_official": one.official,
        "name": one.name,
        "is_automated": one.automated,
        "description": one.description,
    }


def _portable(body: Any) -> dict[str, Any]:
    """What a commit's body, a container's Config, says of the image; most clients say nothing."""
    if not isinstance(body, dict | None):
        raise InvalidArgument("invalid body: want an object")
    found = {key: value for key, value in (body or {}).items() if key in _PORTABLE and value}
    for key, value in found.items():
        if not isinstance(value, _PORTABLE[key]):
            raise InvalidArgument(f"invalid {key}: want {'an array' if _PORTABLE[key] is list else 'another type'}")
    return found


_LISTS, _MAPS, _TEXTS = ("Cmd", "Entrypoint", "OnBuild"), ("ExposedPorts", "Volumes", "Labels"), ("User", "WorkingDir")
_PORTABLE: dict[str, type] = {
    **dict.fromkeys((*_LISTS, "Env", "Shell"), list),
    **dict.fromkeys((*_MAPS, "Healthcheck"), dict),
    **dict.fromkeys((*_TEXTS, "StopSignal"), str),
}
