"""A data root of an earlier minidock, served by this one.

Read next: ../unit/test_schema.py (the database alone), ../../minidock/schema.py.
"""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.support.daemon import Daemon, Session
from tests.support.faults import Api, clear
from tests.support.sources import TOP

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]


def test_containers_of_version_1_are_there(daemons: Session) -> None:
    """One that was created, one that had exited and one that ran (its machine has been started anew since).

    Seen to fail without the migration: no such column.
    """
    daemon = Daemon(daemons)
    try:
        database = sqlite3.connect(daemon.data_root / "minidock.db")
        database.executescript((TOP / "tests/support/database_v1.sql").read_text())
        idents = [row[0] for row in database.execute("SELECT id FROM containers")]
        database.close()
        for ident in idents:
            for name in ("upper", "work", "rootfs"):
                (daemon.data_root / "containers" / ident / name).mkdir(parents=True)
        daemon.start()
        api = Api(daemon)
        states = {name: api.state(name) for name in ("asked", "ended", "ran")}
        assert {name: (state["Status"], state["ExitCode"]) for name, state in states.items()} == {
            "asked": ("created", 0), "ended": ("exited", 7), "ran": ("exited", 255),
        }  # fmt: skip
        assert [one["Name"] for one in api.ok("GET", "/volumes")["Volumes"]] == ["data"]
        assert {"net", "bridge"} <= {one["Name"] for one in api.ok("GET", "/networks")}
        assert (daemon.data_root / "minidock.db.v1").stat().st_size > 0
        assert json.loads(daemon.cli("doctor", "--leaks", "--json").out)["Leaks"] == []
        clear(api)
    finally:
        daemon.close()
