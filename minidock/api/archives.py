"""A container's files: changes, export, and the archive of cp, asked for, fetched and brought.

Archives go by in pieces: the engine's thread gets a future for each, and waits for it. What a path is travels in a
header, as base64 of JSON. See: Docker Engine API 1.45, ContainerArchive.
"""

from __future__ import annotations

import asyncio
import base64
import json
import stat as modes
from typing import TYPE_CHECKING

from minidock.api.request import Request
from minidock.api.response import Answer, Stream, json_answer
from minidock.engine.archives import Give, PathStat
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

TAR = "application/x-tar"
_OFF = ("", "0", "f", "false")
# Go's io/fs.FileMode: permissions as in Unix, the rest in bits of its own, from the top.
_GO_KINDS = {
    modes.S_IFDIR: 1 << 31,
    modes.S_IFLNK: 1 << 27,
    modes.S_IFBLK: 1 << 26,
    modes.S_IFCHR: 1 << 26 | 1 << 21,
    modes.S_IFIFO: 1 << 25,
    modes.S_IFSOCK: 1 << 24,
}
_GO_BITS = ((modes.S_ISUID, 1 << 23), (modes.S_ISGID, 1 << 22), (modes.S_ISVTX, 1 << 20))


async def changes(engine: Engine, request: Request) -> Answer:
    """GET /containers/{c}/changes"""
    found = await engine.archives.changes(request.name)
    return json_answer([{"Path": change.path, "Kind": int(change.kind)} for change in found] or None)


async def export(engine: Engine, request: Request) -> None:
    """GET /containers/{c}/export"""
    await engine.archives.export(request.name, lambda: _giving(request.stream("application/octet-stream")))


async def stat(engine: Engine, request: Request) -> Answer:
    """HEAD /containers/{c}/archive"""
    found = await engine.archives.stat(request.name, _path(request))
    return Answer(200, content_type=TAR, headers=(_stat_header(found),))


async def get(engine: Engine, request: Request) -> None:
    """GET /containers/{c}/archive"""

    def begin(found: PathStat) -> Give:
        return _giving(request.stream(TAR, (_stat_header(found),)))

    await engine.archives.get(request.name, _path(request), begin)


async def put(engine: Engine, request: Request) -> Answer:
    """PUT /containers/{c}/archive"""
    loop = asyncio.get_running_loop()
    await engine.archives.put(
        request.name,
        _path(request),
        lambda: asyncio.run_coroutine_threadsafe(request.piece(), loop),
        request.text("noOverwriteDirNonDir").lower() not in _OFF,
        request.text("copyUIDGID").lower() not in _OFF,
    )
    return Answer(200)


def _path(request: Request) -> str:
    if not request.text("path"):
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    return request.text("path")


def _giving(stream: Stream) -> Give:
    """Sends pieces from another thread; each future is done when the next one may come."""
    loop = asyncio.get_running_loop()
    stream.open()

    async def send(data: bytes) -> None:
        stream.put(data)
        await stream.drain()

    return lambda data: asyncio.run_coroutine_threadsafe(send(data), loop)


def go_mode(mode: int) -> int:
    """A mode of lstat as Go numbers it."""
    bits = sum(theirs for ours, theirs in _GO_BITS if mode & ours)
    return mode & 0o777 | _GO_KINDS.get(modes.S_IFMT(mode), 0) | bits


def _stat_header(found: PathStat) -> tuple[str, str]:
    value = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": times.rfc3339(found.mtime),
        "linkTarget": found.link_target,
    }
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return "X-Docker-Container-Path-Stat", base64.b64encode(text).decode()
