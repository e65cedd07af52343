"""The one table of routes: method and path → handler. Everything that the daemon can be asked stands here.

Each route exists with and without a version in front (``/v1.45/info``, ``/info``). A pattern has a placeholder whose
value the handler gets: ``{c}`` is one segment of the path, ``{image*}`` as many as there are, since names of images
have slashes; what stands before and behind it is matched from both ends, where a second one takes any segment. Segments
are decoded after the split, so ``%2F`` never makes one. What is not in the table is 404 ``page not found``, for a wrong
method too, as dockerd answers; OPTIONS is 200 and empty for every path, as there.

The letters: c container, k checkpoint, e exec session, v volume, n network, p plugin.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minidock.api import (
    archives,
    build,
    containers,
    distribution,
    execs,
    extensions,
    images,
    networks,
    stats,
    streams,
    system,
    upkeep,
    volumes,
)
from minidock.api.request import Request, decode
from minidock.api.response import Answer
from minidock.wire.errors import InvalidArgument, NotFound
from minidock.wire.version import API_VERSION, MIN_API_VERSION

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Handler = Callable[["Engine", Request], Awaitable[Answer | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table."""

    method: str
    pattern: str
    handler: Handler


ROUTES: tuple[Route, ...] = (
    # the daemon
    Route("GET", "/_ping", system.ping),
    Route("HEAD", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route("GET", "/events", streams.events),
    Route("GET", "/system/df", upkeep.df),
    Route("POST", "/auth", distribution.login),
    # containers: what is there
    Route("GET", "/containers/json", containers.list_),
    Route("POST", "/containers/create", containers.create),
    Route("GET", "/containers/{c}/json", containers.inspect),
    Route("GET", "/containers/{c}/top", containers.top),
    Route("GET", "/containers/{c}/stats", stats.stats),
    # containers: their life
    Route("POST", "/containers/{c}/start", containers.start),
    Route("POST", "/containers/{c}/stop", containers.stop),
    Route("POST", "/containers/{c}/restart", containers.restart),
    Route("POST", "/containers/{c}/kill", containers.kill),
    Route("POST", "/containers/{c}/pause", containers.pause),
    Route("POST", "/containers/{c}/unpause", containers.unpause),
    Route("POST", "/containers/{c}/rename", containers.rename),
    Route("POST", "/containers/{c}/update", containers.update),
    Route("DELETE", "/containers/{c}", containers.remove),
    Route("POST", "/containers/prune", upkeep.prune_containers),
    # containers: what comes out of them, what goes into them
    Route("POST", "/containers/{c}/attach", streams.attach),
    Route("GET", "/containers/{c}/attach/ws", streams.attach_websocket),
    Route("POST", "/containers/{c}/wait", streams.wait),
    Route("GET", "/containers/{c}/logs", streams.logs),
    Route("POST", "/containers/{c}/resize", streams.resize),
    # containers: their files
    Route("GET", "/containers/{c}/changes", archives.changes),
    Route("GET", "/containers/{c}/export", archives.export),
    Route("HEAD", "/containers/{c}/archive", archives.stat),
    Route("GET", "/containers/{c}/archive", archives.get),
    Route("PUT", "/containers/{c}/archive", archives.put),
    Route("GET", "/containers/{c}/checkpoints", system.no_checkpoints),
    Route("POST", "/containers/{c}/checkpoints", system.no_checkpoints),
    Route("DELETE", "/containers/{c}/checkpoints/{k}", system.no_checkpoints),
    # more processes in a container
    Route("POST", "/containers/{c}/exec", execs.create),
    Route("POST", "/exec/{e}/start", execs.start),
    Route("POST", "/exec/{e}/resize", execs.resize),
    Route("GET", "/exec/{e}/json", execs.inspect),
    # images
    Route("GET", "/images/json", images.list_),
    Route("POST", "/images/create", images.create),
    Route("POST", "/images/load", images.load),
    Route("GET", "/images/get", distribution.save),
    Route("GET", "/images/search", distribution.search),
    Route("POST", "/commit", distribution.commit),
    Route("GET", "/images/{image*}/json", images.inspect),
    Route("GET", "/images/{image*}/history", images.history),
    Route("GET", "/images/{image*}/get", distribution.save),
    Route("POST", "/images/{image*}/tag", images.tag),
    Route("POST", "/images/{image*}/push", distribution.push),
    Route("DELETE", "/images/{image*}", images.remove),
    Route("POST", "/images/prune", upkeep.prune_images),
    Route("GET", "/distribution/{image*}/json", distribution.inspect),
    Route("POST", "/build", build.build),
    Route("POST", "/build/prune", upkeep.prune_builds),
    Route("POST", "/session", build.no_buildkit),
    Route("POST", "/grpc", build.no_buildkit),
    # volumes
    Route("GET", "/volumes", volumes.list_),
    Route("POST", "/volumes/create", volumes.create),
    Route("POST", "/volumes/prune", volumes.prune),
    Route("GET", "/volumes/{v}", volumes.inspect),
    Route("DELETE", "/volumes/{v}", volumes.remove),
    # networks
    Route("GET", "/networks", networks.list_),
    Route("GET", "/networks/", networks.list_),
    Route("POST", "/networks/create", networks.create),
    Route("POST", "/networks/prune", networks.prune),
    Route("GET", "/networks/{n}", networks.inspect),
    Route("POST", "/networks/{n}/connect", networks.connect),
    Route("POST", "/networks/{n}/disconnect", networks.disconnect),
    Route("DELETE", "/networks/{n}", networks.remove),
    # what minidock has and Docker has not
    Route("POST", "/minidock/plan", extensions.plan),
    Route("GET", "/minidock/containers/{c}/plan", extensions.plan_of),
    Route("GET", "/minidock/doctor", extensions.doctor),
    Route("GET", "/minidock/leaks", extensions.leaks),
    # what Docker has as a part of Swarm, or by plugins: clients ask, and must get the answer of a daemon without
    Route("GET", "/plugins", system.plugins),
    Route("GET", "/plugins/{p*}/json", system.plugin),
    Route("POST", "/swarm/leave", system.swarm_leave),
    *(
        Route(method, pattern, system.no_swarm)
        for noun in ("swarm", "services", "nodes", "tasks", "secrets", "configs")
        for pattern in (f"/{noun}", f"/{noun}/{{rest*}}")
        for method in ("GET", "POST", "DELETE")
    ),
)

_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)", re.ASCII)
_VERSION = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A route with a placeholder: the segments before it and behind it."""

    before: tuple[str, ...]
    behind: tuple[str, ...]
    greedy: bool
    route: Route

    @classmethod
    def of(cls, route: Route) -> _Pattern:
        segments = route.pattern.split("/")
        place = next(index for index, segment in enumerate(segments) if segment.startswith("{"))
        before, behind = tuple(segments[:place]), tuple(segments[place + 1 :])
        return cls(before, behind, segments[place].endswith("*}"), route)

    def match(self, segments: list[str]) -> list[str] | None:
        """The segments that the placeholder stands for."""
        first, last = len(self.before), len(segments) - len(self.behind)
        if last - first < 1 or (last - first > 1 and not self.greedy):
            return None
        if tuple(segments[:first]) != self.before or not all(map(_fits, self.behind, segments[last:])):
            return None
        return segments[first:last]


def _fits(pattern: str, segment: str) -> bool:
    return pattern == segment or pattern.startswith("{")


class Router:
    """Finds routes: literal ones by a dictionary, the others among those that begin with the same segment."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._literal = {(route.method, route.pattern): route for route in routes if "{" not in route.pattern}
        self._patterns: dict[tuple[str, str], list[_Pattern]] = {}
        for route in routes:
            if "{" in route.pattern:
                key = (route.method, route.pattern.split("/", 2)[1])
                self._patterns.setdefault(key, []).append(_Pattern.of(route))

    def resolve(self, request: Request) -> Route | Answer:
        """The route, with the request's ``name`` and ``version`` set, or an answer: a redirect, nothing for OPTIONS.

        Raises NotFound, and InvalidArgument for a version that is not spoken here.
        """
        clean = _clean(request.path)
        if clean != request.path:
            location = f"{clean}?{request.query_text}" if request.query_text else clean
            return Answer(301, headers=(("Location", location),))
        if request.method == "OPTIONS":
            return Answer(200)
        versioned = _VERSIONED.fullmatch(request.path)
        route = self._find(request, versioned[2] if versioned else request.path)
        if versioned:
            request.version = _check_version(versioned[1])
        return route

    def _find(self, request: Request, path: str) -> Route:
        if route := self._literal.get((request.method, path)):
            return route
        segments = path.split("/")
        for pattern in self._patterns.get((request.method, segments[1]), ()):
            found = pattern.match(segments)
            if found and found != [""]:
                request.name = "/".join([decode(segment) for segment in found])
                return pattern.route
        raise NotFound("page not found")


def _clean(path: str) -> str:
    """``//`` and dot segments out, a slash at the end kept, as Go's router does before it redirects."""
    if "//" not in path and "/." not in path:
        return path
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _check_version(text: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(text)
    if not found:
        raise InvalidArgument(f"invalid API version: {text}")
    version = int(found[1]), int(found[2] or 0)
    if version > _MAX:
        raise InvalidArgument(f"client version {text} is too new. Maximum supported API version is {API_VERSION}")
    if version < _MIN:
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return version


def _pair(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


_MAX, _MIN = _pair(API_VERSION), _pair(MIN_API_VERSION)
