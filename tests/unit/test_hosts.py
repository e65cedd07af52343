"""/etc/hosts of a container that runs, which the container may write to as well.

With a real daemon: root/test_links.py, root/test_networks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from minidock.db import Database
from minidock.engine.config import Config, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container, Definition, EndpointRecord, Status
from minidock.engine.networking import links


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    with closing(Database(tmp_path / "db")) as db:
        yield Containers(db)


def running(containers: Containers, digit: str, *link: str) -> Container:
    definition = Definition("i", Config(hostname=f"h{digit}"), HostConfig(links=link))
    one = Container(digit * 64, f"c{digit}", int(digit), definition)
    containers.add(one)
    end = EndpointRecord("bridge", "n", "e", "10.0.0.1", f"10.0.0.{digit}", 24, "02:00:00:00:00:00")
    containers.change(one, Status.RUNNING, endpoints={"bridge": end})
    return one


@pytest.fixture
def hosts(containers: Containers, tmp_path: Path) -> Path:
    """That of a container with a link to c2."""
    running(containers, "1", f"{'2' * 64}:db")
    return tmp_path / "hosts"


def test_a_file_that_a_container_has_blown_up_is_left_alone(containers: Containers, hosts: Path) -> None:
    """A terabyte without a block: seen to fail where it was read whole, and who is linked to could not be started."""
    with hosts.open("wb") as file:
        file.truncate(1 << 40)
    links.follow(running(containers, "2"), containers, lambda _: hosts.parent)
    assert hosts.stat().st_size == 1 << 40


def test_the_lines_of_others_stay_as_they_are(containers: Containers, hosts: Path) -> None:
    """Whatever their bytes. Seen to fail where what is no UTF-8 was replaced, and other line ends became newlines."""
    others = b"10.0.0.1\th1\n10.9.9.9\tcaf\xe9 \x0bodd\x85\n10.0.0.7\tdb\n"
    hosts.write_bytes(others + b"10.0.0.99\tdb h2 c2\n")
    inode = hosts.stat().st_ino
    links.follow(running(containers, "2"), containers, lambda _: hosts.parent)
    assert hosts.read_bytes() == others + b"10.0.0.2\tdb h2 c2\n"
    assert hosts.stat().st_ino == inode, "it is mounted into the container"
