"""The steps of one build: FROM, ARG, RUN, COPY, ADD and the instructions that change the config alone.

For each step: the words that stand for it (``created_by``, docker's), the image that the cache knows for it, or else
the work and a new image. "Step 1/3 : …", " ---> Using cache" and " ---> ID" are what docker-py and compose read.

Read next: cache.py, copy.py, run.py; build/settings.py.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minidock.build import words
from minidock.build.arguments import Arguments, platform_arguments
from minidock.build.instructions import Instruction, parse_text
from minidock.build.settings import CHANGES, Metadata
from minidock.build.stages import SCRATCH, Dockerfile, Stage
from minidock.engine import changes
from minidock.engine.building import cache
from minidock.engine.building.cache import Cache
from minidock.engine.building.context import Workplace
from minidock.engine.building.copy import Layer
from minidock.engine.building.files import Files
from minidock.engine.building.request import BuildRequest, Output
from minidock.engine.building.run import Command, Runner
from minidock.engine.bundle import DEFAULT_PATH
from minidock.engine.model import Container
from minidock.engine.parts import Parts
from minidock.engine.roots import Roots
from minidock.image import manifest, reference
from minidock.image.commit import StepRequest
from minidock.image.model import Image
from minidock.linux import shim
from minidock.wire import names
from minidock.wire.errors import InvalidArgument, NotFound

Work = Callable[[], Awaitable[Path | None]]


@dataclass
class State:
    """Where a stage stands: its image (None while FROM scratch has nothing), and its config."""

    image: Image | None
    metadata: Metadata
    author: str = ""


class Build:
    """One build, from its first step to its last."""

    def __init__(
        self,
        parts: Parts,
        roots: Roots,
        request: BuildRequest,
        workplace: Workplace,
        runner: Runner,
        output: Output,
    ) -> None:
        self._parts, self._roots, self._request = parts, roots, request
        self._workplace, self._runner, self._output = workplace, runner, output
        platform = manifest.host_platform()
        self._arguments = Arguments(request.arguments, platform_arguments(platform.architecture, platform.variants[0]))
        self._cache = Cache(parts.images, request.no_cache, request.cache_from)
        self._kept: set[str] = set()
        self._escape = "\\"
        self._stages: dict[str, Image | None] = {}
        self._step = self._total = 0
        self._state = State(None, Metadata({}))

    def needs(self, image: str) -> bool:
        """Whether an image is one of this build's, or just being made by it."""
        return (
            image in self._kept
            or self._state.image is not None
            and (self._parts.images.parent(image) == self._state.image.id)
        )

    async def run(self, dockerfile: Dockerfile) -> str:
        """All steps; the id of the last image."""
        self._escape, self._total = dockerfile.escape, dockerfile.count
        for one in dockerfile.arguments:
            self._tell(one)
            for name, default in self._declared(one, self._arguments.of_from()):
                self._arguments.declare_global(name, default)
        for number, stage in enumerate(dockerfile.stages):
            await self._stage(stage)
            image = self._state.image
            self._stages |= {str(number): image} | ({stage.name: image} if stage.name else {})
            if image:
                self._output.aux(image.id)
        if unused := self._arguments.unused():
            self._output.say(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        if self._state.image is None:
            raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
        return self._state.image.id

    def _tell(self, one: Instruction) -> None:
        self._step += 1
        self._output.say(f"Step {self._step}/{self._total} : {one.source}")
        self._output.say("\n")

    async def _stage(self, stage: Stage) -> None:
        self._tell(stage.start)
        await self._from(stage)
        triggers = self._state.metadata.settings.pop("OnBuild", None) or []
        if triggers:
            self._output.say(f"# Executing {len(triggers)} build trigger{'s' * (len(triggers) > 1)}\n")
        for text in triggers:
            await self._dispatch(parse_text(text, self._escape))
        for one in stage.steps:
            self._tell(one)
            await self._dispatch(one)

    async def _dispatch(self, one: Instruction) -> None:
        try:
            if one.name == "ARG":
                await self._arg(one)
            elif one.name == "RUN":
                await self._run(one)
            elif one.name in ("COPY", "ADD"):
                await self._copy(one)
            elif one.name == "WORKDIR":
                await self._workdir(one)
            elif one.name in CHANGES:
                comment = self._state.metadata.apply(one, self._variables())
                self._state.author = self._state.metadata.author or self._state.author
                await self._commit(self._nop(comment, two=True), None)
        except InvalidArgument as error:
            if one.name not in ("COPY", "ADD"):
                raise
            raise InvalidArgument(f"{one.name} failed: {error.message}", error.hint) from error
        await self._output.drain()

    # FROM

    async def _from(self, stage: Stage) -> None:
        self._arguments.begin_stage()
        self._cache.begin_stage()
        known = self._arguments.of_from()
        name = words.expand(stage.base, known, self._escape)
        if not name:
            raise stage.start.error(f"base name ({stage.base}) should not be blank")
        self._check_platform(words.expand(stage.start.flags.get("platform", ""), known, self._escape))
        if name == SCRATCH:
            self._state = State(None, Metadata({"Env": [DEFAULT_PATH]}, self._escape))
            self._output.say(" ---> \n")
            return
        image = await self.image(name)
        if image is None:
            self._state = State(None, Metadata({"Env": [DEFAULT_PATH]}, self._escape))
            return
        settings = await asyncio.to_thread(self._parts.images.settings, image)
        if not any(entry.startswith("PATH=") for entry in settings["Env"]):
            settings["Env"] = [*settings["Env"], DEFAULT_PATH]
        self._state = State(image, Metadata(settings, self._escape))
        self._output.say(f" ---> {names.short_id(image.id)}\n")

    async def image(self, name: str) -> Image | None:
        """An earlier stage's image, one that is here, or one that is pulled. None: a stage with nothing in it."""
        if name.lower() in self._stages:
            return self._stages[name.lower()]
        found = None
        if not self._request.pull:
            try:
                found = await asyncio.to_thread(self._parts.images.resolve, name)
            except NotFound:
                found = None
        if found is None:
            found = await self._pull(name)
        self._kept.add(found.id)
        return found

    async def _pull(self, name: str) -> Image:
        ref = reference.parse(name).with_default_tag()
        auth = self._request.auth.get(ref.domain)
        image = await self._parts.slowly(partial(self._parts.images.pull, str(ref), auth, self._output.progress))
        self._parts.events.publish("image", "pull", image.id, {"name": ref.familiar()})
        return image

    def _check_platform(self, asked: str) -> None:
        for platform in (asked, self._request.platform):
            own = manifest.host_platform().architecture
            if not manifest.fits(platform, own):
                raise InvalidArgument(f"build for {platform}: this machine runs linux/{own}", "leave --platform out")

    # What has no files

    def _variables(self) -> dict[str, str]:
        environment = self._state.metadata.environment()
        return environment | self._arguments.visible(environment)

    def _declared(self, one: Instruction, variables: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """The names and defaults of an ARG; a later one may use an earlier one."""
        found: list[tuple[str, str | None]] = []
        known = dict(variables)
        for word in one.words:
            name, equals, default = word.partition("=")
            name = words.expand(name, known, self._escape)
            value = words.expand(default, known, self._escape) if equals else None
            known |= {name: value} if value is not None else {}
            found.append((name, value))
        return found

    async def _arg(self, one: Instruction) -> None:
        declared = self._declared(one, self._variables())
        for name, default in declared:
            self._arguments.declare(name, default)
        shown = " ".join(name if value is None else f"{name}={value}" for name, value in declared)
        await self._commit(self._nop(f"ARG {shown}", two=True), None)

    def _nop(self, comment: str, two: bool = False) -> list[str]:
        """The words of a step that runs nothing, as docker writes them into the history."""
        shell = self._state.metadata.shell
        return [*shell, "#(nop) ", comment] if two else [*shell, f"#(nop) {comment}"]

    # The common end of all steps

    async def _commit(self, told: list[str], work: Work | None) -> None:
        """A step is done: found in the cache, or made by ``work``, whose upper directory becomes a layer."""
        wish = self._wish(told)
        if await self._found(wish):
            return
        upper = await work() if work else None
        await self._made(partial(self._parts.images.add_step, self._state.image, upper or "", wish))

    def _wish(self, told: list[str]) -> StepRequest:
        settings = dict(self._state.metadata.settings)
        author = self._state.author
        return StepRequest(settings, " ".join(told), cache.key(told, settings, author), author)

    async def _found(self, wish: StepRequest) -> bool:
        found = await asyncio.to_thread(self._cache.find, self._state.image, wish)
        if found:
            self._output.say(" ---> Using cache\n")
            self._take(found)
        return found is not None

    async def _made(self, make: Callable[[], Image]) -> None:
        """To its end: what a layer is read from goes with a build that is cancelled, and what is gone is left out of a
        layer, which the cache would give to the next build.
        """
        self._take(await self._parts.wholly(make))

    def _take(self, image: Image) -> None:
        self._kept.add(image.id)
        self._state.image = image
        self._output.say(f" ---> {names.short_id(image.id)}\n")

    # RUN

    async def _run(self, one: Instruction) -> None:
        command, scripts = self._command(one)
        environment = self._state.metadata.environment()
        key = self._arguments.key(environment)
        wish = self._wish([*([f"|{len(key)}", *key] if key else []), *command])
        if await self._found(wish):
            return
        image = self._state.image
        if image is None:
            raise InvalidArgument("RUN: there is nothing in this stage yet that could run", "FROM scratch needs a COPY")
        visible = self._arguments.visible(environment)
        env = tuple(f"{name}={value}" for name, value in visible.items())

        async def use(container: Container) -> Image:
            async with self._roots.still(container):
                return await self._parts.wholly(partial(self._layer_of, container, image, wish))

        self._take(await self._runner.run(Command(image, tuple(command), env, tuple(scripts)), use))

    def _layer_of(self, container: Container, image: Image, wish: StepRequest) -> Image:
        """What a container wrote as a layer; none, if it changed nothing."""
        images = self._parts.images
        upper = self._parts.settings.container_directory(container.id) / "upper"
        view = shim.overlay_view(str(images.layers_dir), ":".join(images.lowers(image)))
        changed = changes.compare(str(upper), view)
        return images.add_step(image, upper if changed else "", wish)

    def _command(self, one: Instruction) -> tuple[list[str], list[str]]:
        """What a RUN runs, and the scripts that must be put before it: a heredoc with its own interpreter."""
        metadata, docs = self._state.metadata, one.heredocs
        if one.is_exec or not docs:
            return metadata.command(one), []
        if len(docs) == 1 and one.text == docs[0].mark:
            if not docs[0].content.startswith("#!"):
                return [*metadata.shell, docs[0].content.removesuffix("\n")], []
            target = f"/dev/pipes/{docs[0].name}"
            return [*metadata.shell, target], [f"{self._script(docs[0].content)}:{target}:ro"]
        text = one.text + "\n" + "".join(f"{doc.content}{doc.name}\n" for doc in docs)
        return [*metadata.shell, text], []

    def _script(self, content: str) -> Path:
        path = self._workplace.new("script")
        path.write_text(content)
        os.chmod(path, 0o755)
        return path

    # COPY, ADD, WORKDIR

    async def _copy(self, one: Instruction) -> None:
        files = Files(self._parts, self._workplace, self._state.metadata, self._escape)
        wanted = files.wanted(one, self._variables())
        stage = await self.image(wanted.stage) if wanted.stage else None
        with ExitStack() as fds:
            sources = await self._parts.wholly(partial(files.open, wanted, stage, fds))
            told = self._nop(files.comment(wanted, sources))
            await self._commit(told, partial(self._write, partial(files.write, wanted, sources)))

    async def _workdir(self, one: Instruction) -> None:
        comment = self._state.metadata.apply(one, self._variables())
        make = partial(Files.make_directory, self._state.metadata.settings["WorkingDir"])
        await self._commit(self._nop(comment), partial(self._write, make))

    async def _write(self, fill: Callable[[int], None]) -> Path | None:
        """Has the stage's root filled, in a layer of its own; None if nothing came of it."""
        base, directory = self._state.image, self._workplace.new("layer")

        def work() -> Path | None:
            layer = Layer(directory, self._parts.images, base)
            with layer.root() as root:
                fill(root)
            return layer.upper if any(layer.upper.iterdir()) else None

        return await self._parts.wholly(work)
