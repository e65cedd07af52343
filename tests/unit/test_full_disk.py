"""A disk that takes nothing more: what has happened anyway goes on, what was to be written is refused, and says so.

Stood for by a database that refuses to be written, with SQLite's own error. The real thing: root/test_faults_errors.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import pytest

from minidock.db import Database, WriteFailed
from minidock.engine.config import Config, Healthcheck, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container, Definition, Status
from minidock.engine.networking.ports import Ports
from minidock.engine.probes import Probes
from minidock.image.model import RegistryConfig
from minidock.image.store import ImageStore
from minidock.network.ports import PortTable, PublishedPort
from minidock.wire import times


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "db")) as db:
        yield db


def fill(db: Database) -> None:
    """From here on nothing can be written."""
    with db.transaction() as connection:
        connection.execute("SELECT 1")
    db._connection.execute("PRAGMA query_only = ON")


def running(db: Database, **config: Any) -> tuple[Containers, Container]:
    containers = Containers(db)
    one = Container("1" * 64, "web", times.now(), Definition("i", Config(**config), HostConfig()))
    containers.add(one)
    containers.change(one, Status.RUNNING, ports=(PublishedPort("0.0.0.0", 80, "tcp", "172.30.0.2", 80),))
    return containers, one


def test_each_way_to_write_fails_in_the_same_words(db: Database) -> None:
    """A transaction too: who is prepared for a full disk need know one class, and a client is told to make room.

    Seen to fail where only ``execute`` turned SQLite's error into ours.
    """
    fill(db)
    with pytest.raises(WriteFailed, match="make room on the disk"), db.transaction() as connection:
        connection.execute("DELETE FROM containers")
    with pytest.raises(WriteFailed, match="make room on the disk"):
        db.execute("DELETE FROM containers")


def test_what_is_gone_is_forgotten_with_the_next_write(db: Database) -> None:
    """The row of a volume that was deleted, or of a lease: its deletion comes first in whatever is written next.

    Seen to fail where it was an error, and where it was tried once only.
    """
    insert = "INSERT INTO volumes (name, created, anonymous, labels) VALUES (?, 1, 1, '{}')"
    db.execute(insert, ("gone",))
    fill(db)
    db.forget("DELETE FROM volumes WHERE name = ?", ("gone",))
    db.settle()
    assert db.query("SELECT name FROM volumes")
    db._connection.execute("PRAGMA query_only = OFF")
    db.execute(insert, ("gone",))  # it is nobody's any more
    db.settle()
    assert [row["name"] for row in db.query("SELECT name FROM volumes")] == ["gone"]


def test_what_is_to_be_forgotten_is_not_lost_to_another_s_transaction(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is past its beginning has not done it. Seen to fail where its end struck all off that was owed then."""

    def refuses(*_: object) -> NoReturn:
        raise WriteFailed("disk full")

    db.execute("INSERT INTO volumes (name, created, anonymous, labels) VALUES ('gone', 1, 1, '{}')")
    with monkeypatch.context() as full:
        full.setattr(db, "execute", refuses)
        forgetting = Thread(target=db.forget, args=("DELETE FROM volumes",))
        with db.transaction():
            forgetting.start()
            forgetting.join(0.2)  # it waits for this transaction, or is through
        forgetting.join()
    db.settle()
    assert not db.query("SELECT name FROM volumes")


def test_a_run_that_ends_lets_go_of_its_ports(db: Database) -> None:
    """The end of a container begins with its ports; seen to fail where that raised, and the rest never came."""
    containers, one = running(db)
    ports = Ports(containers, PortTable("0"))
    fill(db)
    ports.withdraw(one)
    assert one.state.ports == ()


@dataclass
class Execs:
    """Answers the first probes, and then no more."""

    codes: list[int] = field(default_factory=lambda: [1, 1, 1])

    async def capture(self, *_: object) -> tuple[int, str]:
        if not self.codes:
            await asyncio.Event().wait()
        return self.codes.pop(), ""


def test_health_checks_go_on(db: Database) -> None:
    """Seen to fail where the first result that could not be written was the last one that anybody looked for."""
    check = Healthcheck(("CMD", "true"), interval=times.SECOND // 1000, retries=3)
    told: list[str] = []

    async def scenario() -> None:
        containers, one = running(db, healthcheck=check)
        fill(db)
        probes = Probes(containers, Execs(), lambda _, action: told.append(action))  # type: ignore[arg-type]
        live = containers.live(one)
        probes.watch(one, live)
        assert live.probing
        async with asyncio.timeout(10):
            while not live.probing.done() and "health_status: unhealthy" not in told:
                await asyncio.sleep(0.01)
        live.probing.cancel()
        assert one.state.health and one.state.health.status == "unhealthy"

    asyncio.run(scenario())


def test_an_image_that_was_kept_for_a_container_is_let_go_another_time(db: Database, tmp_path: Path) -> None:
    """A container's removal ends with this, and a daemon begins with it; seen to fail where either died of it."""
    images = ImageStore(tmp_path, db, RegistryConfig(), lambda _: None)
    db.execute("INSERT INTO images VALUES ('sha256:1', x'00', 1, 1)")
    fill(db)
    images.release(lambda _: [])
    assert db.query("SELECT 1 FROM images")
