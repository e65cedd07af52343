"""The database: everything durable that minidock knows, in one SQLite file with one writer, the daemon.

Tables and versions in schema.py, the tables' meaning in the modules that own them: containers (engine), images, tags,
digests and layers (image), networks and leases (network), volumes (engine). A row of a container is its *intent*: it is
written before the first kernel object of that container exists, so that whatever a crash leaves behind can be told and
undone.

Write-ahead logging makes a commit atomic, and a crash of the daemon loses none. Whether it also survives a power cut is
each transaction's choice: a durable one is synced to the disk before it returns (``synchronous=FULL``), the others are
synced with the next that is. What a container is must be durable; where it stands need not be, since after a power cut
none of them runs. See: https://www.sqlite.org/wal.html and pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minidock.schema import MIGRATIONS, SCHEMA, VERSION
from minidock.wire.errors import ServerError

log = logging.getLogger(__name__)

Row = sqlite3.Row


class WriteFailed(ServerError):
    """The disk is full or broken; nothing was changed."""


def sync(path: Path) -> None:
    """Returns when a file, or the names in a directory, would survive a power cut. Raises OSError. See fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(path: Path) -> None:
    """What a later minidock wrote is looked at without the right to write, and left as it is."""
    if not path.exists() or path.stat().st_size == 0:
        return
    version = 0
    with suppress(sqlite3.Error):  # damaged: what is wrong with it is told below
        looking = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            version = _version(looking)
        finally:
            looking.close()
    _check_known(path, version)


def _check_known(path: Path, version: int) -> None:
    if version > VERSION:
        raise ServerError(
            f"open {path}: schema version {version}, this minidock knows {VERSION}",
            "run the minidock version that wrote it, or give another --data-root",
        )


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
        self._owed: list[tuple[str, Sequence[Any]]] = []  # deletions that a full disk did not take
        _refuse_newer(path)
        flags = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(flags)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=5000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._check()
            self._prepare()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise _unreadable(path, str(error)) from error
            raise

    def _check(self) -> None:
        """A file with a damaged tree is refused as a whole: what is written into it might overwrite what is whole."""
        found = [row[0] for row in self._connection.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise _unreadable(self.path, "; ".join(found).replace("\n", " "))

    def _prepare(self) -> None:
        """Makes the tables, or brings those of an earlier version up to this one."""
        version = _version(self._connection)
        _check_known(self.path, version)
        if version == 0:
            with self.transaction() as connection:
                for statement in SCHEMA.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={VERSION}")
        elif version < VERSION:
            try:
                self._migrate(version)
            except (WriteFailed, sqlite3.Error, OSError) as error:
                what = f"migrate {self.path} from schema version {version} to {VERSION}: {error.__cause__ or error}"
                raise ServerError(what, "nothing was changed: make room, or run the minidock version before") from error

    def _migrate(self, version: int) -> None:
        """All steps or none, after a copy of the file as it was: ``minidock.db.v1`` holds what version 1 had."""
        copy = self.path.with_name(f"{self.path.name}.v{version}")
        self._copy_to(copy)
        with self.transaction() as connection:
            for target in range(version + 1, VERSION + 1):
                MIGRATIONS[target](connection)
            connection.execute(f"PRAGMA user_version={VERSION}")
        log.info("%s: schema version %s is now %s; the file as it was is %s", self.path, version, VERSION, copy)

    def _copy_to(self, path: Path) -> None:
        """The whole database as one file, durable when this returns; what has the name already goes."""
        half = path.with_name(f"{path.name}.tmp")
        half.unlink(missing_ok=True)
        os.close(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            copy = sqlite3.connect(half)
            try:
                self._connection.backup(copy)
            finally:
                copy.close()
            sync(half)
            half.rename(path)
            sync(path.parent)
        except BaseException:
            half.unlink(missing_ok=True)
            raise

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing: committed at the end of the block, rolled back if it raises. Nests into the outer one.

        Raises WriteFailed if the disk is full or broken.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            try:
                self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._connection.execute("BEGIN IMMEDIATE")
                for deletion in self._owed:
                    self._connection.execute(*deletion)
                yield self._connection
                self._connection.execute("COMMIT")
                self._owed.clear()
            except BaseException as error:
                # After some errors (a full disk) SQLite has rolled back by itself, after others it has not.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    hint = "make room on the disk of the data root"
                    raise WriteFailed(f"write {self.path}: {error}", hint) from error
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a SELECT."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = (), durable: bool = True) -> None:
        """One statement in a transaction of its own, or in the one that is open. Raises WriteFailed."""
        with self.transaction(durable) as connection:
            connection.execute(sql, parameters)

    def forget(self, sql: str, parameters: Sequence[Any] = (), durable: bool = True) -> None:
        """A DELETE for what is gone anyway. Where the disk is full it is the first part of the next transaction, so its
        rows must be nobody else's by then.
        """
        try:
            self.execute(sql, parameters, durable)
        except WriteFailed as error:
            log.error("%s; tried again with what is written next", error)
            with self._lock:  # or a transaction of another thread, past its beginning, would take it for done
                self._owed.append((sql, parameters))

    def settle(self) -> None:
        """Tries once more what ``forget`` could not do."""
        if self._owed:
            with suppress(WriteFailed), self.transaction():
                pass

    def close(self) -> None:
        """Folds the write-ahead log into the file and closes it."""
        with self._lock:
            self._connection.close()
