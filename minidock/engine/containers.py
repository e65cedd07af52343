"""All containers: the index by id, name and prefix, and their rows in the database.

A row is written before anything else of a container exists (its *intent*) and deleted after everything else is gone, so
at any moment the database knows of whatever a crash may leave behind.

``Live`` is the other half of a container: what is known of it only while this daemon runs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging

from minidock.db import Database, Row, WriteFailed
from minidock.engine import codec
from minidock.engine.attach import Waiting
from minidock.engine.model import TRANSITIONS, Container, Definition, State, Status
from minidock.engine.waits import Waits
from minidock.image.removal import User
from minidock.runtime.monitor import Monitor
from minidock.wire import names
from minidock.wire.errors import Ambiguous, Conflict, InvalidArgument, NotFound, ServerError

log = logging.getLogger(__name__)
_DELETE = "DELETE FROM containers WHERE id = ?"


class Live:
    """The daemon's hold on a container: a lock for its life cycle, its monitor, and who waits for what."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.monitor: Monitor | None = None
        self.finished = asyncio.Event()
        self.waiting = Waiting()
        self.waits = Waits()
        self.watcher: asyncio.Task[None] | None = None
        self.stopping: asyncio.Task[None] | None = None
        self.letting_go: asyncio.Future[None] | None = None
        self.restarts = 0  # under way; meanwhile an end is no reason for a removal
        self.backoff = 0.0
        self.probing: asyncio.Task[None] | None = None

    def running(self) -> Monitor:
        """The monitor of a container whose state is alive."""
        if self.monitor is None:
            raise ServerError("the container has no monitor")
        return self.monitor


class Containers:
    """The index. Every change of state goes through ``change``, which knows what is legal."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self._live: dict[str, Live] = {}
        self.unwritten: set[str] = set()  # of those whose state the disk did not take: an end is in its exit record
        self.set_aside: dict[str, str] = {}  # id → name of those whose rows can't be read
        for row in db.query("SELECT id, name, created, config, state FROM containers"):
            self._load(row)

    def _load(self, row: Row) -> None:
        try:
            definition = codec.decode(Definition, json.loads(row["config"]))
            state = codec.decode(State, json.loads(row["state"]))
        except Exception as error:  # whatever is wrong with one row must not keep the others from being served
            log.error("container %s: its row can't be read and is set aside: %s", row["id"], error)
            self.set_aside[str(row["id"])] = str(row["name"])
            return
        self._keep(Container(row["id"], row["name"], row["created"], definition, state))

    def _keep(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._by_name[container.name] = container.id
        self._live[container.id] = Live()

    def all(self) -> list[Container]:
        """Newest first."""
        return sorted(self._by_id.values(), key=lambda c: c.created, reverse=True)

    def get(self, ident: str) -> Container | None:
        """By full id."""
        return self._by_id.get(ident)

    def live(self, container: Container) -> Live:
        """The daemon's hold on it. Raises NotFound if it has been removed meanwhile."""
        if container.id not in self._live:
            raise NotFound(f"No such container: {container.id}")
        return self._live[container.id]

    def known_ids(self) -> set[str]:
        """The ids of all rows, also of those that can't be read."""
        return {row["id"] for row in self._db.query("SELECT id FROM containers")}

    def using_image(self, image: str) -> list[Container]:
        """Containers made from an image (by its id). From any thread."""
        return [c for c in list(self._by_id.values()) if c.definition.image_id == image]

    def users_of(self, image: str) -> list[User]:
        """The same as rmi has to know them; one whose row can't be read counts as running, so that nothing is lost.

        From any thread.
        """
        rows = self._db.query("SELECT id FROM containers WHERE image = ?", (image,))
        known = {row["id"]: self._by_id.get(row["id"]) for row in rows}
        return [User(id, one.state.up if one else True) for id, one in known.items() if one or id in self.set_aside]

    def in_use(self) -> set[str]:
        """The ids of those that have processes, or may have: of a row that can't be read nobody knows."""
        return {c.id for c in self._by_id.values() if c.state.alive} | self.set_aside.keys()

    def using_volume(self, name: str) -> list[str]:
        """Ids of containers that mount a volume."""
        return [c.id for c in self._by_id.values() if any(m.name == name for m in c.definition.mounts)]

    def resolve(self, reference: str) -> Container:
        """By full id, name, or unique prefix of the id; in this order, as Docker does."""
        name = reference.removeprefix("/")
        ident = name if name in self._by_id else self._by_name.get(name, "")
        if ident:
            return self._by_id[ident]
        found = [ident for ident in self._by_id if name and ident.startswith(name)]
        if len(found) > 1:
            raise Ambiguous(f"multiple IDs found with provided prefix: {name}")
        if not found:
            raise NotFound(f"No such container: {reference}")
        return self._by_id[found[0]]

    def check_free(self, name: str) -> None:
        """Raises Conflict, with Docker's text, if a container has the name."""
        aside = next((ident for ident, held in self.set_aside.items() if held == name), "")
        holder = self._by_name.get(name, aside)
        if holder:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def add(self, container: Container) -> None:
        """Writes the intent. The name must be free."""
        self.check_free(container.name)
        row = (
            container.id,
            container.name,
            container.definition.image_id,
            container.created,
            json.dumps(codec.encode(container.definition)),
            json.dumps(codec.encode(container.state)),
        )
        sql = "INSERT INTO containers (id, name, image, created, config, state) VALUES (?,?,?,?,?,?)"
        self._db.execute(sql, row, durable=not container.host.auto_remove)
        self._keep(container)

    def change(self, container: Container, status: Status | None = None, **changes: object) -> None:
        """Moves a container to another state, in the database first. Raises ServerError for an illegal move."""
        before = container.state.status
        if status is not None and status is not before and status not in TRANSITIONS[before]:
            raise ServerError(f"container {container.id}: no way from {before.value} to {status.value}")
        state = dataclasses.replace(container.state, status=status or before, **changes)  # type: ignore[arg-type]
        self._write(container, state)
        container.state = state

    def note(self, container: Container, status: Status, **changes: object) -> bool:
        """The same for what has happened anyway: where the disk is full it is known to this daemon alone, until the
        next change of the container writes it. False then.
        """
        try:
            self.change(container, status, **changes)
        except WriteFailed as error:
            log.error("container %s: now %s, which is not on record: %s", container.id, status.value, error)
            state = dataclasses.replace(container.state, status=status, **changes)  # type: ignore[arg-type]
            container.state = state
            self.unwritten.add(container.id)
            return False
        return True

    def _write(self, container: Container, state: State) -> None:
        row, wanted = (json.dumps(codec.encode(state)), container.id), container.definition.wanted_at_boot
        durable = wanted(state) != wanted(container.state)  # all else that a state says ends with the power
        self._db.execute("UPDATE containers SET state = ? WHERE id = ?", row, durable)
        self.unwritten.discard(container.id)

    def redefine(self, container: Container, definition: Definition) -> None:
        """Writes another definition: limits and restart policy may change during a container's life."""
        row = (json.dumps(codec.encode(definition)), container.id)
        self._db.execute("UPDATE containers SET config = ? WHERE id = ?", row)
        container.definition = definition

    def rename(self, container: Container, name: str) -> None:
        """Gives it another name, which must be free. Raises InvalidArgument, Conflict."""
        if name.removeprefix("/") == container.name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        try:
            self.check_free(name := names.check_name(name))
        except (InvalidArgument, Conflict) as error:
            raise type(error)(f"Error when allocating new name: {error.message}") from None
        self._db.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container.id))
        del self._by_name[container.name]
        container.name = name
        self._by_name[name] = container.id

    def discard(self, container: Container) -> None:
        """Deletes the row: the last thing of a container. Raises WriteFailed."""
        self._db.execute(_DELETE, (container.id,), durable=not container.host.auto_remove)
        self._drop(container)

    def forget(self, container: Container) -> None:
        """The same where the disk is full: its row goes now or with what is written next."""
        self._db.forget(_DELETE, (container.id,))
        self._drop(container)

    def _drop(self, container: Container) -> None:
        del self._by_id[container.id], self._by_name[container.name], self._live[container.id]
        self.unwritten.discard(container.id)
