"""The engine: everything that can be asked of minidock, one method a verb.

The API's handlers call these and nothing else; a method finds the objects it is about and gives the work to the module
that knows how. All run on the daemon's loop. ``reference`` is a name, an id or a unique prefix of one; errors are those
of wire/errors.py, with Docker's texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from minidock.engine import bundle, copyup, create, info, leftovers, logs, mounts, pausing, remap, reports, rights, top
from minidock.engine.archives import Archives
from minidock.engine.attach import Client
from minidock.engine.building.builds import Builds
from minidock.engine.cancellation import to_its_end
from minidock.engine.commits import Commits
from minidock.engine.distribution import Distribution
from minidock.engine.execs import Execs
from minidock.engine.housekeeping import Housekeeping, tree_size
from minidock.engine.leftovers import Leftover
from minidock.engine.lifecycle import Lifecycle
from minidock.engine.model import Container, Status
from minidock.engine.networking import links
from minidock.engine.networking.connections import Connections
from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.networking.networks import Networks
from minidock.engine.parts import Parts
from minidock.engine.probes import Probes
from minidock.engine.requests import (
    AttachRequest,
    Created,
    CreateRequest,
    ExecRequest,
    ExecSession,
    Hijack,
    LogEntry,
    LogRequest,
    StepReport,
    SystemInfo,
    Top,
    WaitResult,
)
from minidock.engine.restarts import check_not_restarting
from minidock.engine.restore import restore
from minidock.engine.sources import Sources
from minidock.engine.statistics import Statistics
from minidock.engine.updates import Updates
from minidock.engine.waits import check as check_condition
from minidock.engine.waits import done
from minidock.image.model import Auth, Image, Removed
from minidock.image.progress import Progress
from minidock.linux import doctor
from minidock.linux.check import Check
from minidock.runtime.plan import container_plan
from minidock.wire import names, times
from minidock.wire.errors import Conflict, InvalidArgument, NotFound, NotImplemented


class Engine:
    """The verbs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.networks = Networks(parts)
        self.endpoints = Endpoints(parts, self.networks)
        self.connections = Connections(parts, self.networks, self.endpoints)
        self._lifecycle = Lifecycle(parts, self.endpoints)
        self._execs = Execs(parts)
        self._lifecycle.probe = Probes(parts.containers, self._execs, parts.events.container).watch
        self._sources = Sources()
        self.updates = Updates(parts)
        self.statistics = Statistics(parts)
        self.housekeeping = Housekeeping(parts, self.remove, self.remove_image)
        self._started_at = times.now()
        self.archives = Archives(parts)
        self.commits = Commits(parts, self.archives.roots)
        self.images = parts.images
        self.volumes = parts.volumes
        self.events = parts.events
        self.distribution = Distribution(parts)
        self.builds = Builds(parts, self.archives.roots, (self.create, self.start, self.remove), self.tag_image)

    async def restore(self) -> None:
        """At the daemon's start, before the first request."""
        self._parts.trash.empty()
        await asyncio.to_thread(self.networks.restore)
        await restore(self._parts, self._lifecycle, self.endpoints)
        self.endpoints.refill.begin()

    async def see_out(self) -> None:
        """The machine goes down: all containers are stopped. The next boot starts those whose policy wants that."""
        await self._lifecycle.restarts.close()
        await self._lifecycle.stops.see_out(self._parts.containers.all())

    async def close(self) -> None:
        """At the daemon's end: containers stay, their monitors keep them."""
        await self._lifecycle.restarts.close()
        for live in [self._parts.containers.live(container) for container in self._parts.containers.all()]:
            live.waiting.close()
            if live.letting_go:
                await live.letting_go
            for task in (live.watcher, live.probing, live.stopping):
                if task:
                    task.cancel()
            if live.monitor:
                live.monitor.close()
        self.endpoints.resolvers.close_all()
        await self.endpoints.refill.close()
        await asyncio.to_thread(self._parts.trash.close)

    # Containers

    def container(self, reference: str) -> Container:
        """One container."""
        return self._parts.containers.resolve(reference)

    def containers(self) -> list[Container]:
        """All, newest first."""
        return self._parts.containers.all()

    async def create(self, request: CreateRequest) -> Created:
        """A new container, state ``created``. Raises NotFound if the image is not here."""
        parts, ident = self._parts, names.new_id()
        name = names.check_name(request.name) if request.name else ""
        if name:
            parts.containers.check_free(name)
        await self._sources.look(request.host)
        image = create.image_of(parts.images, request)
        definition, warnings = create.settled(request, image, ident, parts, self.networks)
        directory = parts.settings.container_directory(ident)
        inherited = mounts.inherit(definition.mounts, definition.host.volumes_from or (), parts.containers)
        definition = replace(definition, mounts=inherited)
        container = create.write(parts.containers, parts.volumes, directory, ident, name, definition)
        try:
            await to_its_end(asyncio.to_thread(copyup.fill, parts.images, image, container))
            if not container.host.auto_remove:
                await to_its_end(asyncio.to_thread(create.settle, directory))
        except BaseException:
            await self._lifecycle.remove(container, force=False, volumes=True)
            raise
        self._parts.events.container(container, "create")
        return Created(ident, tuple(warnings))

    async def start(self, reference: str) -> None:
        """created or exited → running."""
        await self._lifecycle.start(self.container(reference))

    async def stop(self, reference: str, timeout: int | None = None, signal: str = "") -> None:
        """The stop signal, KILL after ``timeout`` seconds (None: the container's own, or 10; -1: never)."""
        await self._lifecycle.stops.stop(self.container(reference), timeout, signal)

    async def kill(self, reference: str, signal: str = "") -> None:
        """One signal, KILL by default."""
        await self._lifecycle.stops.kill(self.container(reference), signal)

    async def restart(self, reference: str, timeout: int | None = None, signal: str = "") -> None:
        """stop, if it runs, and start."""
        await self._lifecycle.restart(self.container(reference), timeout, signal)

    async def pause(self, reference: str) -> None:
        """Freezes it."""
        await pausing.pause(self._parts, self.container(reference))

    async def unpause(self, reference: str) -> None:
        """Lets it run again."""
        await pausing.unpause(self._parts, self.container(reference))

    async def remove(self, reference: str, force: bool = False, volumes: bool = False) -> None:
        """Takes it away; a running one only with ``force``, its anonymous volumes too with ``volumes``."""
        await self._lifecycle.remove(self.container(reference), force, volumes)

    async def rename(self, reference: str, name: str) -> None:
        """Another name."""
        container = self.container(reference)
        before = container.name
        self._parts.containers.rename(container, name)
        self.endpoints.resolvers.directory.forget()
        self._parts.events.container(container, "rename", oldName=f"/{before}")

    def wait(self, reference: str, condition: str) -> asyncio.Future[WaitResult]:
        """Subscribed when this returns. ``not-running`` of a container that does not run is over at once."""
        check_condition(condition)
        past = self._lifecycle.removed.get(reference) if condition == "removed" else None
        if past:
            return done(past)
        container = self.container(reference)
        if condition == "not-running" and not container.state.up:
            return done(WaitResult(container.state.exit_code, container.state.error))
        return self._parts.containers.live(container).waits.add(condition)

    def attach(self, reference: str, request: AttachRequest, hijack: Hijack) -> None:
        """Hands the connection to the container, now if it runs, else at its start. Raises before it upgrades."""
        container = self.container(reference)
        live = self._parts.containers.live(container)
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {container.name} is paused, unpause the container before attach")
        check_not_restarting(container)
        framed = not container.config.tty and not request.raw
        sock, early = hijack.upgrade(multiplexed=framed)
        client = Client(
            sock,
            request.stdin and container.config.open_stdin,
            request.stdout,
            request.stderr,
            framed,
            request.detach_keys,
            early,
            request.logs,
        )
        read = partial(logs.read, self.log_path(container), alive=lambda: False)
        live.waiting.take(client, request.stream, read)
        self._parts.events.container(container, "attach")

    def resize(self, reference: str, rows: int, columns: int) -> None:
        """The client's terminal has another size."""
        container = self.container(reference)
        if not container.state.alive:
            raise Conflict(f"container {container.id} is not running")
        self._parts.containers.live(container).running().resize(_cells(rows), _cells(columns))
        self._parts.events.container(container, "resize", height=str(rows), width=str(columns))

    def logs(self, reference: str, request: LogRequest) -> AsyncIterator[LogEntry]:
        """What the container wrote. Raises at once for a container whose output is not kept."""
        container = self.container(reference)
        if not (request.stdout or request.stderr):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        if container.host.log_config.type == "none":
            raise NotImplemented("configured logging driver does not support reading", "run without --log-driver none")
        return logs.read(self.log_path(container), request, lambda: container.state.up)

    def log_path(self, container: Container) -> Path:
        """The json-file."""
        return bundle.log_path(self._parts.settings, container)

    def links_of(self, container: Container) -> links.Shown:
        """Its links by names."""
        return links.shown(container, self._parts.containers)

    def apparmor_of(self, container: Container) -> str:
        """Its AppArmor profile, empty before its first start."""
        return rights.apparmor_profile(container.host) if container.state.started_at else ""

    def directory(self, container: Container) -> Path:
        """Where the container's durable files are."""
        return self._parts.settings.container_directory(container.id)

    async def top(self, reference: str, arguments: str) -> Top:
        """Its processes, as the host's ps(1) shows them."""
        container = self.container(reference)
        check_not_restarting(container)
        if not container.state.alive:
            raise Conflict(f"container {container.id} is not running")
        found = await top.top(set(self._parts.cgroups.pids(container.id)), arguments)
        self._parts.events.container(container, "top")
        return found

    async def sizes(self, reference: str) -> tuple[int, int]:
        """(bytes that the container has written, bytes of all it sees)."""
        container = self.container(reference)
        own = await asyncio.to_thread(tree_size, self.directory(container) / "upper")
        return own, own + self._parts.images.of_container(container.definition.image_id).size

    # Exec

    def exec_create(self, reference: str, request: ExecRequest) -> str:
        """A new exec session; returns its id."""
        return self._execs.create(self.container(reference), request)

    def exec_inspect(self, ident: str) -> ExecSession:
        """One session."""
        return self._execs.get(ident)

    def execs_of(self, container: Container) -> list[str]:
        """The ids of a container's running sessions."""
        return self._execs.of(container)

    async def exec_start(
        self, ident: str, tty: bool, console_size: tuple[int, ...] | None = None, hijack: Hijack | None = None
    ) -> None:
        """Starts a session; without ``hijack`` detached."""
        await self._execs.start(ident, tty, console_size, hijack)

    def exec_resize(self, ident: str, rows: int, columns: int) -> None:
        """The client's terminal has another size."""
        self._execs.resize(ident, _cells(rows), _cells(columns))

    # The plan

    async def plan(self, request: CreateRequest) -> tuple[tuple[StepReport, ...], tuple[str, ...]]:
        """What a start would do, and the warnings. Nothing is made."""
        parts, ident = self._parts, names.new_id()
        await self._sources.look(request.host)
        image = parts.images.resolve(request.config.image)
        definition, warnings = create.settled(request, image, ident, parts, self.networks)
        ids = remap.check(definition.host, parts.settings.remap)
        container = Container(ident, "plan", times.now(), definition)
        cgroup = parts.cgroups.path(ident, definition.host.cgroup_parent)
        joins = definition.host.network_mode != "host"
        place = bundle.Place(parts.settings, parts.images, cgroup, parts.accounts, joins, ids=ids)
        return reports.describe(container_plan(bundle.container_spec(container, image, place))), tuple(warnings)

    async def plan_of(self, reference: str) -> tuple[StepReport, ...]:
        """What the latest start of a container did; for a while also of one that is gone, as with ``run --rm``."""
        try:
            container = self.container(reference)
        except NotFound:
            if latest := self._lifecycle.starts.get(reference):
                return latest
            raise
        return reports.read(self.directory(container), container.name)

    # Images

    async def pull(self, reference: str, auth: Auth | None, progress: Progress) -> Image:
        """From its registry; ``progress`` is called from another thread."""
        image = await self._parts.slowly(lambda: self.images.pull(reference, auth, progress))
        self._image_event("pull", reference, image.id)
        return image

    async def load(self, stream: BinaryIO, progress: Progress) -> list[Image]:
        """From an archive of ``save``."""
        images = await self._parts.slowly(lambda: self.images.load(stream, progress))
        for image in images:
            self._image_event("load", image.id, image.id)
        return images

    async def import_image(
        self, stream: BinaryIO, reference: str | None, message: str, changes: Sequence[str]
    ) -> Image:
        """From a tar of a root directory."""
        image = await self._parts.slowly(lambda: self.images.import_rootfs(stream, reference, message, changes))
        self._image_event("import", reference or image.id, image.id)
        return image

    async def tag_image(self, reference: str, target: str) -> None:
        """Another name for an image."""
        await asyncio.to_thread(self.images.tag, reference, target)
        self._image_event("tag", target, self.images.resolve(reference).id)

    async def remove_image(self, reference: str, force: bool, prune: bool = True) -> list[Removed]:
        """Takes a name away, and with the last one the image, unless a container runs on it, or (no force) has it, or
        another was built on it. With ``prune`` those that it was built on go along, if they have no other purpose.
        """
        image = self.images.resolve(reference)
        removed = await asyncio.to_thread(self.images.remove, reference, force, self.builds.users_of, prune)
        for one in removed:
            if one.untagged or one.deleted == image.id:
                self._image_event("untag" if one.untagged else "delete", image.id, image.id)
        return removed

    def _image_event(self, action: str, name: str, ident: str) -> None:
        self._parts.events.publish("image", action, ident, {"name": name})

    # The rest

    def info(self) -> SystemInfo:
        """The daemon and its host."""
        return info.collect(self._parts, self._started_at)

    async def doctor(self) -> list[Check]:
        """What this machine has and lacks."""
        settings = self._parts.settings
        return await asyncio.to_thread(doctor.checks, settings.data_root, settings.bridge, settings.group)

    async def leaks(self) -> list[Leftover]:
        """What is on the machine in our name and belongs to nobody; the next start of the daemon takes it away.

        Named is what two looks find: between a row and its kernel object anything may be on its way.
        """
        found = await self._look()
        again = {(one.kind, one.name) for one in await self._look()} if found else set()
        return [one for one in found if (one.kind, one.name) in again]

    async def _look(self) -> list[Leftover]:
        parts = self._parts
        parts.db.settle()
        alive = parts.containers.in_use() | leftovers.busy(parts) | self.endpoints.refill.owners
        found = await asyncio.to_thread(leftovers.look, parts, self.endpoints, alive)
        return [*found, *leftovers.monitors(parts, alive | self._execs.running())]


def _cells(value: int) -> int:
    if not 0 <= value < 65536:
        raise InvalidArgument(f"invalid terminal size: {value}")
    return value
