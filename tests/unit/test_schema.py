"""A database of an earlier version becomes one of this, whole or not at all; one of a later version is left alone.

support/database_v1.sql is what a minidock of version 1 wrote. Read next: minidock/schema.py, root/test_upgrade.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from minidock import db as module
from minidock.db import Database
from minidock.engine.containers import Containers
from minidock.schema import MIGRATIONS, VERSION
from minidock.wire.errors import ServerError
from tests.support.sources import TOP

VERSION_1 = TOP / "tests/support/database_v1.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of version 1."""
    found = tmp_path / "minidock.db"
    connection = sqlite3.connect(found)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    return found


def _look(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def _shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The columns of each table, by name: type, NOT NULL, default, primary key."""
    tables = [str(row[0]) for row in _look(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {table: sorted(row[1:] for row in _look(path, f"PRAGMA table_info({table})")) for table in tables}


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert list(MIGRATIONS) == list(range(2, VERSION + 1))


def test_a_database_of_version_1_becomes_what_a_new_one_is(path: Path, tmp_path: Path) -> None:
    """The same columns, every row read by the code of today, and a copy of the file as it was.

    Seen to fail where a column stands in SCHEMA and in no migration.
    """
    before = _dump(path)
    database = Database(path)
    assert {one.name: one.state.status.value for one in Containers(database).all()} == {
        "asked": "created", "ended": "exited", "ran": "running",
    }  # fmt: skip
    assert [row["options"] for row in database.query("SELECT options FROM volumes")] == ["{}"]
    database.close()
    Database(tmp_path / "new.db").close()
    assert _shape(path) == _shape(tmp_path / "new.db")
    assert _look(path, "PRAGMA user_version") == [(VERSION,)]
    copy = tmp_path / "minidock.db.v1"
    assert _dump(copy) == before and _look(copy, "PRAGMA user_version") == [(1,)]
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_migration_that_fails_has_not_happened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of its work done, then an error: the daemon says so and does not start, and the next try begins anew.

    Seen to fail where each statement is a transaction of its own.
    """

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE volumes ADD COLUMN other TEXT")
        connection.execute("DELETE FROM containers")
        raise sqlite3.OperationalError("database or disk is full")

    before = _dump(path)
    monkeypatch.setitem(MIGRATIONS, VERSION + 1, fail)
    monkeypatch.setattr(module, "VERSION", VERSION + 1)
    with pytest.raises(ServerError, match="from schema version 1 to .*: database or disk is full") as caught:
        Database(path)
    assert "nothing was changed" in str(caught.value)
    assert _dump(path) == before and _look(path, "PRAGMA user_version") == [(1,)]
    monkeypatch.undo()
    Database(path).close()
    assert _look(path, "PRAGMA user_version") == [(VERSION,)]


def test_no_room_for_the_copy_means_no_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where the copy comes after the steps."""

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = _dump(path)
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(ServerError, match="No space left"):
        Database(path)
    assert _dump(path) == before and [one.name for one in path.parent.glob("*.v1*")] == []


def test_a_database_of_a_later_version_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    """To the byte, also what its write-ahead log has: another minidock is to find it as it left it.

    Seen to fail where it is opened for writing first.
    """
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute(f"PRAGMA user_version={VERSION + 1}")  # in the log, as after a crash
    left = tmp_path / "left"
    left.mkdir()
    names = [left / name for name in ("minidock.db", "minidock.db-wal")]
    for name in names:
        shutil.copy(path.with_name(name.name), name)
    writer.close()
    before = [name.read_bytes() for name in names]
    with pytest.raises(ServerError, match=f"schema version {VERSION + 1}, this minidock knows {VERSION}"):
        Database(names[0])
    assert [name.read_bytes() for name in names] == before
