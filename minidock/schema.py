"""The database's tables, and how a database of an earlier version becomes one of this.

``SCHEMA`` is what a new database gets. A change to it is a change here twice: in ``SCHEMA``, and as the last entry of
``MIGRATIONS``, whose number is the version. db.py runs those that a database lacks, in order, all in one
transaction, after it has made a copy of the file; so a migration has happened or it has not.

A migration is written once and never changed again after a release: it must know only the tables as they were then,
and none of the code of today. Serves db.py. See: https://www.sqlite.org/lang_altertable.html.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

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
CREATE TABLE parents (                  -- images that came of another by a build's step, or by commit
    image  TEXT PRIMARY KEY REFERENCES images(id),
    parent TEXT NOT NULL,               -- id of the image below, empty where there is none (FROM scratch)
    step   TEXT NOT NULL                -- digest of the step, by which the build cache finds it; empty for a commit
);

CREATE TABLE networks (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    driver  TEXT NOT NULL,
    bridge  TEXT NOT NULL,
    address TEXT NOT NULL,              -- the gateway with its prefix, 172.30.0.1/16
    created INTEGER NOT NULL,
    settings TEXT NOT NULL DEFAULT '{}' -- a user's network as JSON (engine/networking/requests.py)
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


def _add_columns(*columns: tuple[str, str, str]) -> Callable[[sqlite3.Connection], None]:
    """Table, column, what it is. A column that is there already stays: SQLite adds none twice."""

    def migrate(connection: sqlite3.Connection) -> None:
        for table, column, declaration in columns:
            rows = connection.execute(f"PRAGMA table_info({table})")
            if column not in [row[1] for row in rows]:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")

    return migrate


def _add_parents(connection: sqlite3.Connection) -> None:
    columns = "image TEXT PRIMARY KEY REFERENCES images(id), parent TEXT NOT NULL, step TEXT NOT NULL"
    connection.execute(f"CREATE TABLE IF NOT EXISTS parents ({columns})")


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {
    2: _add_columns(
        ("volumes", "options", "TEXT NOT NULL DEFAULT '{}'"),
        ("images", "removed", "INTEGER NOT NULL DEFAULT 0"),
        ("leases", "address6", "TEXT NOT NULL DEFAULT ''"),
    ),
    3: _add_parents,
}
"""By the version that comes of each, without a gap; 1 was the first."""

VERSION = max(MIGRATIONS)
