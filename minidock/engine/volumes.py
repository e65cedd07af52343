"""Volumes: directories of the daemon's that outlive containers.

A named volume is made by whoever mentions it first and goes with ``volume rm``; an anonymous one belongs to its
container and goes with ``rm -v`` or ``--rm``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from minidock.db import Database, Row
from minidock.engine.requests import VolumeRecord
from minidock.engine.trash import Trash
from minidock.wire import times
from minidock.wire.errors import Conflict, InvalidArgument, NotFound

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}", re.ASCII)


class Volumes:
    """``volumes/<name>/_data`` below the data root, and their rows."""

    def __init__(self, root: Path, db: Database, trash: Trash, users: Callable[[str], list[str]]) -> None:
        self._root = root
        self._db = db
        self._trash = trash
        self._users = users

    def _record(self, row: Row) -> VolumeRecord:
        return VolumeRecord(row["name"], str(self._data(row["name"])), row["created"], json.loads(row["labels"]))

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

    def create(self, name: str = "", labels: dict[str, str] | None = None) -> VolumeRecord:
        """Makes a volume, or returns the one of that name; an empty name makes an anonymous one."""
        anonymous = not name
        name = name or os.urandom(32).hex()
        check_name(name)
        if not self._db.query("SELECT 1 FROM volumes WHERE name = ?", (name,)):
            row = (name, times.now(), int(anonymous), json.dumps(labels or {}))
            self._db.execute("INSERT INTO volumes (name, created, anonymous, labels) VALUES (?,?,?,?)", row)
        self._root.mkdir(mode=0o711, exist_ok=True)
        (self._root / name).mkdir(mode=0o711, exist_ok=True)
        self._data(name).mkdir(mode=0o755, exist_ok=True)
        return self.get(name)

    def remove(self, name: str, force: bool = False) -> None:
        """Deletes a volume that no container mentions. With ``force`` a missing one is no error."""
        users = self._users(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        try:
            self.get(name)
        except NotFound:
            if force:
                return
            raise
        self._trash.take(self._root / name)
        self._db.execute("DELETE FROM volumes WHERE name = ?", (name,))

    def remove_anonymous(self, names: list[str]) -> None:
        """After a container is gone: its anonymous volumes, unless another container has them too."""
        for name in names:
            rows = self._db.query("SELECT 1 FROM volumes WHERE name = ? AND anonymous", (name,))
            if rows and not self._users(name):
                self.remove(name, force=True)


def check_name(name: str) -> None:
    """Raises InvalidArgument, with Docker's text, for what can't name a volume."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )
