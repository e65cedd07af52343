"""POST /build: a context in, lines of JSON out; and what is asked of BuildKit, which is not here.

Until the first step an error is a status, afterwards a line with ``errorDetail``, which carries the exit code of a RUN
that failed. With ``q`` there is only the image's id at the end, or what was said before the error.

See: Docker Engine API 1.45, ImageBuild. Read next: ../engine/building/builds.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from minidock.api import errors
from minidock.api.auth import registry_config
from minidock.api.body import parse_json
from minidock.api.progress import Progress
from minidock.api.request import Request
from minidock.api.response import ClientGone, Stream
from minidock.engine.building.request import BuildRequest, StepExited
from minidock.engine.codec import decode
from minidock.engine.config import HostConfig, Ulimit
from minidock.wire.errors import InvalidArgument, NotImplemented

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.image.progress import ProgressLine

KEPT = 1 << 18  # characters
_CLASSIC = "set DOCKER_BUILDKIT=0 for the classic builder, which is here"


async def build(engine: Engine, request: Request) -> None:
    """POST /build"""
    if request.text("version") == "2" or request.text("remote") == "client-session":
        raise NotImplemented("BuildKit is not there in minidock", _CLASSIC)
    wanted = _wanted(request)
    output = Output(request.stream(), request.flag("q"))
    try:
        ident = await engine.builds.build(wanted, request.reader(), output, request.follow)
    except asyncio.CancelledError:
        output.leave()
        raise
    except Exception as error:
        if not output.begun or isinstance(error, ClientGone):
            raise
        output.fail(error, f"{request.method} {request.path}")
    else:
        output.finish(ident)


async def no_buildkit(engine: Engine, request: Request) -> None:
    """POST /session and /grpc: BuildKit's protocols"""
    raise NotImplemented("BuildKit is not there in minidock", _CLASSIC)


class Output:
    """A build's words as JSON lines; if ``quiet`` the latest are kept, for the case that it fails."""

    def __init__(self, stream: Stream, quiet: bool) -> None:
        self._stream, self._progress = stream, Progress(stream, quiet)
        self._quiet, self._kept = quiet, ""
        self.begun = False

    def say(self, text: str) -> None:
        self.begun = True
        if self._quiet:
            self._kept = (self._kept + text)[-KEPT:]
        else:
            self._put({"stream": text})

    def aux(self, ident: str) -> None:
        if not self._quiet:
            self._put({"aux": {"ID": ident}})

    def progress(self, line: ProgressLine) -> None:
        self._progress(line)

    def leave(self) -> None:
        """The client has gone; a pull for it ends."""
        self._progress.leave()

    async def drain(self) -> None:
        if not self._quiet:
            await self._stream.drain()

    def _put(self, value: dict[str, Any]) -> None:
        self._progress.flush()  # what a pull said before comes before
        self._progress.put(value)

    def finish(self, ident: str) -> None:
        """It is built."""
        if self._quiet:
            self._put({"stream": f"{ident}\n"})

    def fail(self, error: Exception, what: str) -> None:
        """It is not: the error as the last line."""
        if self._quiet:
            self._put({"stream": self._kept})
        _, text = errors.explain(error, what)
        code = {"code": error.code} if isinstance(error, StepExited) else {}
        self._put({"errorDetail": {**code, "message": text}, "error": text})


def _wanted(request: Request) -> BuildRequest:
    for key, words in (("squash", "--squash"), ("outputs", "--output")):
        if request.flag(key) and request.text(key) not in ("[]", "null"):
            raise NotImplemented(f"build {words}: not there in minidock", "build without it")
    return BuildRequest(
        dockerfile=request.text("dockerfile"),
        tags=tuple(tag for tag in request.query.get("t", ()) if tag),
        remote=request.text("remote"),
        target=request.text("target"),
        platform=request.text("platform").lower(),
        arguments=_texts(request, "buildargs", null=True),
        labels=_texts(request, "labels"),
        cache_from=_list(request, "cachefrom"),
        no_cache=request.flag("nocache"),
        pull=request.flag("pull"),
        remove=request.flag("rm", default=True),
        force_remove=request.flag("forcerm"),
        host=_host(request),
        auth=registry_config(request.header(b"x-registry-config")),
    )


def _host(request: Request) -> HostConfig:
    """What RUN gets, as docker's flags say it."""

    def number(key: str) -> int:
        return request.integer(key) or 0

    ulimits = _json(request, "ulimits") or []
    if not isinstance(ulimits, list):
        raise InvalidArgument("invalid ulimits: want an array")
    return HostConfig(
        network_mode=request.text("networkmode"),
        memory=number("memory"),
        memory_swap=number("memswap"),
        cpu_shares=number("cpushares"),
        cpu_period=number("cpuperiod"),
        cpu_quota=number("cpuquota"),
        cpuset_cpus=request.text("cpusetcpus"),
        cpuset_mems=request.text("cpusetmems"),
        shm_size=number("shmsize"),
        cgroup_parent=request.text("cgroupparent"),
        ulimits=tuple(decode(Ulimit, one, "ulimits") for one in ulimits) or None,
        extra_hosts=tuple(host for host in request.query.get("extrahosts", ()) if host) or None,
        security_opt=tuple(option for option in request.query.get("securityopt", ()) if option) or None,
    )


def _json(request: Request, key: str) -> Any:
    text = request.text(key)
    return parse_json(text.encode()) if text else None


def _texts(request: Request, key: str, null: bool = False) -> dict[str, Any]:
    """A JSON object of strings."""
    value = _json(request, key) or {}
    kinds = (str, type(None)) if null else (str,)
    if not isinstance(value, dict) or not all(isinstance(one, kinds) for one in value.values()):
        raise InvalidArgument(f"invalid {key}: want an object of strings")
    return value


def _list(request: Request, key: str) -> tuple[str, ...]:
    value = _json(request, key) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidArgument(f"invalid {key}: want an array of strings")
    return tuple(value)
