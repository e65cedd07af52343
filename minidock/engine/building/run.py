"""RUN: a container like any other, made for one command, whose output goes to the builder's client.

It has a row (its intent) that says whose build it belongs to, so that the next daemon takes it away if this one dies;
its output comes by a socket pair that the monitor is given as if it were a client's. What it leaves in its upper
directory becomes the layer. Read next: lifecycle.py; builds.py.
"""

from __future__ import annotations

import asyncio
import codecs
import dataclasses
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from minidock.engine.attach import Client
from minidock.engine.building.request import BuildRequest, Output, StepExited
from minidock.engine.cancellation import to_its_end
from minidock.engine.config import Config, Healthcheck, LogConfig
from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.engine.requests import Created, CreateRequest
from minidock.image.model import Image
from minidock.wire import frames, names
from minidock.wire.errors import NotFound

Create = Callable[[CreateRequest], Awaitable[Created]]
Start = Callable[[str], Awaitable[None]]
Remove = Callable[[str, bool, bool], Awaitable[None]]
_RED, _PLAIN = "\u001b[91m", "\u001b[0m"
_PIECE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Command:
    """What to run on which image, and which variables it has beside the image's own; ``binds`` of heredoc scripts."""

    image: Image
    words: tuple[str, ...]
    env: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()


class Runner:
    """Runs the commands of one build; ``build`` is its id."""

    def __init__(
        self, parts: Parts, verbs: tuple[Create, Start, Remove], build: str, request: BuildRequest, output: Output
    ) -> None:
        self._parts, self._build, self._request, self._output = parts, build, request, output
        self._create, self._start, self._remove = verbs

    async def run(self, command: Command, use: Callable[[Container], Awaitable[Image]]) -> Image:
        """Runs it, and gives the container to ``use``. Raises StepExited, and what a start raises."""
        created = await self._create(self._wish(command))
        container = self._parts.containers.resolve(created.id)
        keep = False
        try:
            for warning in created.warnings:
                self._output.say(f" ---> [Warning] {warning}\n")
            self._output.say(f" ---> Running in {names.short_id(container.id)}\n")
            try:
                await self._until_exit(container, " ".join(command.words))
            except StepExited:
                keep = not self._request.force_remove
                raise
            image = await use(container)
            keep = not (self._request.remove or self._request.force_remove)
            return image
        finally:
            await asyncio.shield(self._let_go(container, keep))

    def _wish(self, command: Command) -> CreateRequest:
        config = Config(
            image=command.image.id,
            cmd=command.words,
            entrypoint=("",),
            env=command.env,
            healthcheck=Healthcheck(test=("NONE",)),
            attach_stdout=True,
            attach_stderr=True,
        )
        host = dataclasses.replace(
            self._request.host,
            log_config=LogConfig("none"),
            binds=command.binds or None,
        )
        return CreateRequest(config, host, build=self._build)

    async def _until_exit(self, container: Container, shown: str) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            for end in (ours, theirs):
                end.setblocking(False)
            live = self._parts.containers.live(container)
            live.waiting.join(Client(theirs, False, True, True, True, b"", b""))
            ended = live.waits.add("next-exit")
            await to_its_end(self._start(container.id))
            await self._read(ours)
            result = await ended
        if result.status_code:
            raise StepExited(shown, result.status_code)

    async def _read(self, sock: socket.socket) -> None:
        """Output as it comes, until all of it has come; what went to stderr is red, as docker has it."""
        loop, parser = asyncio.get_running_loop(), frames.FrameParser()
        decoders = {n: codecs.getincrementaldecoder("utf-8")("replace") for n in (frames.STDOUT, frames.STDERR)}
        with suppress(ConnectionError):
            while data := await loop.sock_recv(sock, _PIECE):
                for stream, piece in parser.feed(data):
                    text = decoders[stream].decode(piece) if stream in decoders else ""
                    if text:
                        self._output.say(f"{_RED}{text}{_PLAIN}" if stream == frames.STDERR else text)
                await self._output.drain()

    async def _let_go(self, container: Container, keep: bool) -> None:
        """Removes it, or leaves it to the user."""
        if keep:
            self._parts.containers.redefine(container, dataclasses.replace(container.definition, build=""))
            return
        with suppress(NotFound):
            await self._remove(container.id, True, True)
        self._output.say(f" ---> Removed intermediate container {names.short_id(container.id)}\n")
