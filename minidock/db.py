"""The database: everything durable that minidock knows, in one SQLite file with one writer, the daemon.

Tables here, their meaning in the modules that own them: containers (engine), images, tags, digests and layers (image),
networks and leases (network), volumes (engine). A row of a container is its *intent*: it is written before the first
kernel object of that container exists, so that whatever a crash leaves behind can be told and undone.

Write-ahead logging makes a commit atomic, and a crash of the daemon loses none. Whether it also survives a power cut is
each transaction's choice: a durable one is synced to the disk before it returns (``synchronous=FULL``), the others are
synced with the next that is. What a container is must be durable; where it stands need not be, since after a power cut
none of them runs. See: https://www.sqlite.org/wal.html and pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minidock.wire.errors import ServerError

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE containers (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    image   TEXT NOT NULL,              -- image id, so that an image in use is not removed
    created INTEGER NOT NULL,           -- nanoseconds since the epoch
    config  TEXT NOT NULL,              -- what was asked for, as JSON (engine/config.py)
    state   TEXT NOT NULL               -- where it stands, as JSON (engine/model.py)
);

CREATE TABLE images (
    id      TEXT PRIMARY KEY,           -- sha256 of the config
    config  BLOB NOT NULL,              -- the config's bytes as they were digested
    size    INTEGER NOT NULL,           -- bytes of all layers, unpacked
    removed INTEGER NOT NULL DEFAULT 0  -- by `rmi -f`, and kept for stopped containers only
);
CREATE TABLE tags    (reference TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id), tagged INTEGER NOT NULL);
CREATE TABLE digests (reference TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id));
CREATE TABLE layers  (
    chain_id TEXT PRIMARY KEY,
    diff_id  TEXT NOT NULL,
    parent   TEXT,
    size     INTEGER NOT NULL,          -- bytes of its files
    blob     TEXT NOT NULL              -- digest of the blob that it was unpacked from, kept as long as the layer
);
CREATE TABLE manifests (                -- manifests and indexes that were pulled or loaded, to be pushed as they came
    digest TEXT NOT NULL,
    image  TEXT NOT NULL REFERENCES images(id),
    root   TEXT NOT NULL,               -- digest of the document that led to it, itself or an index
    PRIMARY KEY (digest, image)
);

CREATE TABLE networks (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    driver  TEXT NOT NULL,
    bridge  TEXT NOT NULL,
    address TEXT NOT NULL,              -- the gateway with its prefix, 172.30.0.1/16
    created INTEGER NOT NULL,
    settings TEXT NOT NULL DEFAULT '{}' -- a user's network as JSON (engine/network_requests.py)
);
CREATE TABLE leases (
    network   TEXT NOT NULL REFERENCES networks(id),
    address   TEXT NOT NULL,
    container TEXT NOT NULL,
    endpoint  TEXT NOT NULL,
    mac       TEXT NOT NULL,
    address6  TEXT NOT NULL DEFAULT '', -- of a network with IPv6
    PRIMARY KEY (network, address),
    UNIQUE (network, container)
);

CREATE TABLE volumes (
    name      TEXT PRIMARY KEY,
    created   INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    labels    TEXT NOT NULL,            -- JSON object
    options   TEXT NOT NULL DEFAULT '{}' -- of the driver local: type, o, device, as a JSON object
);
"""

_ADDED = (("leases", "address6", "TEXT NOT NULL DEFAULT ''"),)
"""Columns that a database of an earlier minidock may be without: table, column, what it is."""

Row = sqlite3.Row


class WriteFailed(ServerError):
    """The disk is full or broken; nothing was changed."""


def _unreadable(path: Path, why: str) -> ServerError:
    return ServerError(
        f"open {path}: {why}",
        f"it is damaged: restore it from a backup, or move {path.name}* away and begin anew",
    )


class Database:
    """One connection, shared by the daemon's threads; a lock makes a transaction the business of one of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        flags = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(flags)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=5000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._check()
            self._prepare()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._connection.close()
            raise _unreadable(path, str(error)) from error

    def _check(self) -> None:
        """A file with a damaged tree is refused as a whole: what is written into it might overwrite what is whole."""
        found = [row[0] for row in self._connection.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise _unreadable(self.path, "; ".join(found).replace("\n", " "))

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return self._add_columns()
        if version != 0:
            raise ServerError(
                f"open {self.path}: schema version {version}, this minidock knows {SCHEMA_VERSION}",
                "run the minidock version that wrote it, or give another --data-root",
            )
        with self.transaction():
            for statement in SCHEMA.split(";\n"):
                if statement.strip():
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _add_columns(self) -> None:
        for table, column, declaration in _ADDED:
            names = [row["name"] for row in self._connection.execute(f"PRAGMA table_info({table})")]
            if names and column not in names:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing: committed at the end of the block, rolled back if it raises. Nests into the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself, after others it has not.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a SELECT."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = (), durable: bool = True) -> None:
        """One statement in a transaction of its own. Raises WriteFailed if the disk is full or broken."""
        try:
            with self.transaction(durable) as connection:
                connection.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            raise WriteFailed(f"write {self.path}: {error}", "make room on the disk of the data root") from error

    def close(self) -> None:
        """Folds the write-ahead log into the file and closes it."""
        with self._lock:
            self._connection.close()
