"""Volumes: directories of the daemon's that outlive containers.

A named volume is made by whoever mentions it first and goes with ``volume rm``; an anonymous one belongs to its
container and goes with ``rm -v`` or ``--rm``. What changes one is called on the daemon's loop, as its events demand.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from minidock.db import Database, Row
from minidock.engine import volume_options
from minidock.engine.events import Events
from minidock.engine.model import Container
from minidock.engine.requests import VolumeRecord
from minidock.engine.trash import Trash
from minidock.wire import times
from minidock.wire.errors import Conflict, InvalidArgument, NotFound

log = logging.getLogger(__name__)
_ANONYMOUS = "com.docker.volume.anonymous"  # docker marks them by a label
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}", re.ASCII)


class Volumes:
    """``volumes/<name>/_data`` below the data root, and their rows."""

    def __init__(
        self, root: Path, db: Database, trash: Trash, events: Events, users: Callable[[str], list[str]]
    ) -> None:
        self._root = root
        self._db = db
        self._trash = trash
        self._events = events
        self._users = users

    def _record(self, row: Row) -> VolumeRecord:
        labels, options = json.loads(row["labels"]), json.loads(row["options"])
        return VolumeRecord(
            row["name"], str(self._data(row["name"])), row["created"], labels, options, bool(row["anonymous"])
        )

    def _data(self, name: str) -> Path:
        return self._root / name / "_data"

    def all(self) -> list[VolumeRecord]:
        """All, by name."""
        return [self._record(row) for row in self._db.query("SELECT * FROM volumes ORDER BY name")]

    def get(self, name: str) -> VolumeRecord:
        """One. Raises NotFound."""
        rows = self._db.query("SELECT * FROM volumes WHERE name = ?", (name,))
        if not rows:
            raise NotFound(f"get {name}: no such volume")
        return self._record(rows[0])

    def mountpoint(self, name: str) -> str:
        """Where the content of a volume of this name is, or will be. Raises InvalidArgument for what is no name."""
        check_name(name)
        return str(self._data(name))

    def options(self, name: str, wanted: dict[str, str]) -> dict[str, str]:
        """The options of the volume of that name, which are ``wanted`` for one that is to be made."""
        rows = self._db.query("SELECT options FROM volumes WHERE name = ?", (name,))
        volume_options.check(name, wanted)
        return dict(json.loads(rows[0]["options"])) if rows else wanted

    def create(
        self,
        name: str = "",
        labels: dict[str, str] | None = None,
        anonymous: bool | None = None,
        options: dict[str, str] | None = None,
    ) -> VolumeRecord:
        """Makes a volume, or returns the one of that name; an empty name makes an anonymous one."""
        volume_options.check(name, options or {})
        anonymous = not name if anonymous is None else anonymous
        name = name or os.urandom(32).hex()
        check_name(name)
        if new := not self._db.query("SELECT 1 FROM volumes WHERE name = ?", (name,)):
            marked = {_ANONYMOUS: "", **(labels or {})} if anonymous else labels or {}
            row = (name, times.now(), int(anonymous), json.dumps(marked), json.dumps(options or {}))
            self._db.execute("INSERT INTO volumes (name, created, anonymous, labels, options) VALUES (?,?,?,?,?)", row)
        self._make(name)
        if new:
            self._tell("create", name)
        return self.get(name)

    def _make(self, name: str) -> None:
        self._root.mkdir(mode=0o711, exist_ok=True)
        (self._root / name).mkdir(mode=0o711, exist_ok=True)
        self._data(name).mkdir(mode=0o755, exist_ok=True)

    def remake(self) -> None:
        """The directories that rows speak of: a power cut may have taken those of a volume without content."""
        for record in self.all():
            try:
                self._make(record.name)
            except OSError as error:  # a full disk, say: who mounts it is told
                log.error("volume %s: its directory is gone, and can't be made: %s", record.name, error)

    def remove(self, name: str, force: bool = False, owner: str = "") -> None:
        """Deletes a volume that no container mentions but ``owner``. With ``force`` a missing one is no error."""
        users = [user for user in self._users(name) if user != owner]
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        try:
            self.get(name)
        except NotFound:
            if force:
                return
            raise
        self._delete(name, self._db.execute)

    def _delete(self, name: str, write: Callable[[str, tuple[str]], None]) -> None:
        self._trash.take(self._root / name)
        write("DELETE FROM volumes WHERE name = ?", (name,))
        self._tell("destroy", name)

    def unused(self, chosen: Callable[[VolumeRecord], bool]) -> list[VolumeRecord]:
        """Those that no container mentions, of the chosen."""
        return [record for record in self.all() if chosen(record) and not self._users(record.name)]

    def remove_anonymous(self, names: list[str], owner: str = "") -> None:
        """With a container that goes, the ``owner``: its anonymous volumes, unless another container has them too.

        Their names never come again, so a full disk may keep their rows for a while.
        """
        for name in names:
            rows = self._db.query("SELECT 1 FROM volumes WHERE name = ? AND anonymous", (name,))
            if rows and not [user for user in self._users(name) if user != owner]:
                self._delete(name, self._db.forget)

    def tell_of_use(self, container: Container, action: str) -> None:
        """The events ``mount`` and ``unmount`` of all volumes of a container, with Docker's attributes."""
        for point in container.definition.mounts:
            if point.type == "volume":
                shown = {
                    "destination": point.destination,
                    "propagation": point.propagation,
                    "read/write": str(point.rw).lower(),
                }
                self._tell(action, point.name, container=container.id, **(shown if action == "mount" else {}))

    def _tell(self, action: str, name: str, **attributes: str) -> None:
        self._events.publish("volume", action, name, {"driver": "local", **attributes})

    def empty_strays(self) -> list[Path]:
        """Directories without a row and without content: of a creation that was cut short."""
        known = {row["name"] for row in self._db.query("SELECT name FROM volumes")}
        entries = list(self._root.iterdir()) if self._root.is_dir() else []
        return [entry for entry in entries if entry.name not in known and _is_empty(entry)]


def _is_empty(volume: Path) -> bool:
    """Nothing in it but an empty ``_data``."""
    found = [Path(folder) / name for folder, below, files in os.walk(volume) for name in (*below, *files)]
    return volume.is_dir() and found in ([], [volume / "_data"])


def check_name(name: str) -> None:
    """Raises InvalidArgument, with Docker's text, for what can't name a volume."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )
