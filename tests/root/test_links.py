"""--link, the old way: on the default bridge by /etc/hosts and the environment, on others as an alias of one's own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.docker_cli]

# What dockerd 20.10 sets for: -e A=b -e HOME=/x --expose 99 --expose 6379-6380 --expose 6381/udp, in our order.
VARIABLES = """\
MY_DB_PORT=tcp://IP:99
MY_DB_PORT_6379_TCP_START=tcp://IP:6379
MY_DB_PORT_6379_TCP_PORT_START=6379
MY_DB_PORT_6379_UDP_END=udp://IP:6381
MY_DB_PORT_6379_UDP_PORT_END=6381
MY_DB_PORT_99_TCP=tcp://IP:99
MY_DB_PORT_99_TCP_ADDR=IP
MY_DB_PORT_99_TCP_PORT=99
MY_DB_PORT_99_TCP_PROTO=tcp
MY_DB_PORT_6379_TCP=tcp://IP:6379
MY_DB_PORT_6379_TCP_ADDR=IP
MY_DB_PORT_6379_TCP_PORT=6379
MY_DB_PORT_6379_TCP_PROTO=tcp
MY_DB_PORT_6380_TCP=tcp://IP:6380
MY_DB_PORT_6380_TCP_ADDR=IP
MY_DB_PORT_6380_TCP_PORT=6380
MY_DB_PORT_6380_TCP_PROTO=tcp
MY_DB_PORT_6381_UDP=udp://IP:6381
MY_DB_PORT_6381_UDP_ADDR=IP
MY_DB_PORT_6381_UDP_PORT=6381
MY_DB_PORT_6381_UDP_PROTO=udp
MY_DB_NAME=/web/my-db
MY_DB_ENV_A=b
"""


@pytest.fixture
def docker(docker_cli: Cli) -> Iterator[Cli]:
    yield docker_cli
    for ident in docker_cli.ok("ps", "-aq").split():
        docker_cli.ok("rm", "-f", ident)


def start(docker: Cli, name: str, *options: str) -> None:
    docker.ok("run", "-d", "--name", name, *options, "alpine", "sleep", "1000")


def inspected(docker: Cli, name: str) -> Any:
    return json.loads(docker.ok("inspect", name))[0]


def address(docker: Cli, name: str) -> str:
    return str(inspected(docker, name)["NetworkSettings"]["IPAddress"])


def test_on_the_default_bridge(docker: Cli, daemon: Daemon) -> None:
    ports = ["--expose", "99", "--expose", "6379-6380", "--expose", "6381/udp"]
    start(docker, "db-one", "-e", "A=b", "-e", "HOME=/x", "-h", "dbhost", *ports)
    start(docker, "web", "--link", "db-one:my-db")
    for text in (
        docker.ok("exec", "web", "env"),
        docker.ok("exec", "web", "cat", "/proc/1/environ").replace("\0", "\n"),
    ):
        lines = [line for line in text.splitlines() if line.startswith("MY_DB_")]
        assert sorted(lines) == sorted(VARIABLES.replace("IP", address(docker, "db-one")).splitlines())
    assert f"{address(docker, 'db-one')}\tmy-db dbhost db-one\n" in docker.ok("exec", "web", "cat", "/etc/hosts") + "\n"
    assert docker("exec", "web", "ping", "-c1", "-w1", "my-db").code == 0
    assert inspected(docker, "web")["HostConfig"]["Links"] == ["/db-one:/web/my-db"]
    docker.ok("rename", "db-one", "db-two")
    assert inspected(docker, "web")["HostConfig"]["Links"] == ["/db-two:/web/my-db"]
    docker.ok("stop", "-t", "0", "db-two")
    start(docker, "other")  # takes an address, so that the linked one comes back with another
    docker.ok("start", "db-two")
    told = [line for line in docker.ok("exec", "web", "cat", "/etc/hosts").splitlines() if "my-db" in line]
    assert told == [f"{address(docker, 'db-two')}\tmy-db dbhost db-two"], "and nothing of where it was, by its old name"
    assert docker("exec", "web", "ping", "-c1", "-w1", "my-db").code == 0, "the address moved along"
    docker.ok("restart", "-t", "0", "web")
    assert docker("exec", "web", "ping", "-c1", "-w1", "my-db").code == 0
    docker.ok("stop", "-t", "0", "web")
    docker.ok("stop", "-t", "0", "db-two")
    late = docker("start", "web")
    assert late.code == 1 and "Cannot link to a non running container: /db-two AS /web/my-db" in late.err
    docker.ok("rm", "db-two")
    gone = docker("start", "web")
    assert gone.code == 1 and "Cannot link to a non running container" in gone.err
    assert daemon.cli.ok("inspect", "-f", "{{json .HostConfig.Links}}", "web") == "null"


def test_on_a_network_of_one_s_own_it_is_an_alias_for_one(docker: Cli) -> None:
    docker.ok("network", "create", "n1")
    try:
        start(docker, "db", "--network", "n1")
        start(docker, "web", "--network", "n1", "--link", "db:store", "--link", "later")
        start(docker, "other", "--network", "n1")
        shown = inspected(docker, "web")
        assert shown["HostConfig"]["Links"] is None
        assert shown["NetworkSettings"]["Networks"]["n1"]["Links"] == ["db:store", "later:later"]
        assert docker("exec", "web", "ping", "-c1", "-w1", "store").code == 0
        assert docker("exec", "web", "ping", "-c1", "-w1", "store.n1").code == 0
        assert docker("exec", "other", "ping", "-c1", "-w1", "store").code != 0, "nobody else has the alias"
        assert "STORE_" not in docker.ok("exec", "web", "env")
        docker.ok("rename", "db", "base")
        assert docker("exec", "web", "ping", "-c1", "-w1", "store").code == 0
        docker.ok("network", "disconnect", "n1", "other")
        docker.ok("network", "connect", "--link", "base:mine", "n1", "other")
        assert docker("exec", "other", "ping", "-c1", "-w1", "mine").code == 0
    finally:
        for ident in docker.ok("ps", "-aq").split():
            docker.ok("rm", "-f", ident)
        docker.ok("network", "rm", "n1")


def test_what_is_refused(docker: Cli, minidock: Cli) -> None:
    start(docker, "db")
    for options, words in (
        (["--link", "nosuch:x"], "could not get container for nosuch: No such container: nosuch"),
        (["--network", "host", "--link", "db:x"], "host type networking can't be used with links"),
        (["--network", "container:db", "--link", "db:x"], "conflicting options"),
    ):
        refused = docker("create", *options, "busybox", "true")
        assert refused.code == 1 and words in refused.err, str(refused)
    ours = minidock("create", "--link", "a:b:c", "busybox", "true")
    assert ours.code == 1 and "bad format for links: a:b:c" in ours.err
    assert "PING my-db" in minidock.ok("run", "--rm", "--link", "db:my-db", "alpine", "ping", "-c1", "-w1", "my-db")


def test_links_outlive_the_daemon(fresh_daemon: Daemon) -> None:
    minidock = fresh_daemon.cli
    for name, *options in (("db",), ("web", "--link", "db:store")):
        minidock.ok("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
    fresh_daemon.kill()
    fresh_daemon.start()
    assert minidock.ok("inspect", "-f", "{{json .HostConfig.Links}}", "web") == '["/db:/web/store"]'
    minidock.ok("restart", "-t", "0", "db")
    assert minidock("exec", "web", "ping", "-c1", "-w1", "store").code == 0
    minidock.ok("rm", "-f", "db", "web")


def test_after_a_boot_who_is_linked_to_starts_first(fresh_daemon: Daemon) -> None:
    """Both have died without a daemon; the younger one is looked at first. Seen to fail: its start was refused."""
    minidock = fresh_daemon.cli
    for name, *options in (("db",), ("web", "--link", "db:store"), ("sidecar", "--network", "container:web")):
        minidock.ok("run", "-d", "--restart", "always", "--name", name, *options, "busybox", "sleep", "1000")
    pids = minidock.ok("inspect", "-f", "{{.State.Pid}}", "db", "web", "sidecar").split()
    fresh_daemon.kill()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    fresh_daemon.start()
    everything = ("db", "web", "sidecar")
    eventually(lambda: minidock.ok("inspect", "-f", "{{.State.Status}}", *everything).split() == ["running"] * 3, "all")
    minidock.ok("rm", "-f", *everything)
