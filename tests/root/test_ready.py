"""Ready sandboxes: made ahead, handed out, refilled, and gone with the daemon in whatever way that goes."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = pytest.mark.bridge


def ready(daemon: Daemon) -> dict[str, str]:
    """The host ends of the cables that wait, by address."""
    database = sqlite3.connect(f"file:{daemon.data_root}/minidock.db?mode=ro", uri=True, timeout=5)
    try:
        rows = database.execute("SELECT address, endpoint FROM leases WHERE container LIKE 'ready-%'").fetchall()
    finally:
        database.close()
    links = daemon.netns.links()
    return {address: f"md{endpoint[:11]}" for address, endpoint in rows if f"md{endpoint[:11]}" in links}


def full(daemon: Daemon) -> None:
    eventually(lambda: len(ready(daemon)) == 3, "three sandboxes are ready")


def network(minidock: Cli, container: str) -> Any:
    return json.loads(minidock.ok("inspect", "-f", "{{json .NetworkSettings.Networks.bridge}}", container))


def test_a_start_takes_one_that_is_ready_and_another_is_made(daemon: Daemon, minidock: Cli) -> None:
    """Seen to fail with a claim that never asks for a ready one."""
    full(daemon)
    before = ready(daemon)
    ident = minidock.ok("run", "-d", "busybox", "sleep", "60")
    try:
        end = network(minidock, ident)
        assert before[end["IPAddress"]] == f"md{end['EndpointID'][:11]}", "it was there before the container was"
        assert minidock.ok("exec", ident, "ip", "route").startswith(f"default via {end['Gateway']} dev eth0")
        full(daemon)
        assert end["IPAddress"] not in ready(daemon)
        assert "ready" not in minidock.ok("doctor", "--leaks")
    finally:
        minidock.ok("rm", "-f", ident)
    assert end["IPAddress"] not in ready(daemon) and f"md{end['EndpointID'][:11]}" not in daemon.netns.links()


def test_a_mac_address_of_one_s_own_is_given(daemon: Daemon, minidock: Cli) -> None:
    full(daemon)
    mac = "02:42:00:00:00:77"
    assert mac in minidock.ok("run", "--rm", "--mac-address", mac, "busybox", "ip", "link", "show", "eth0")


def test_one_whose_cable_is_gone_is_not_given(daemon: Daemon, minidock: Cli) -> None:
    """Seen to fail with a take that does not look for the link."""
    full(daemon)
    for name in ready(daemon).values():
        daemon.netns.run("ip", "link", "delete", name)
    assert "172." in minidock.ok("run", "--rm", "busybox", "ip", "-4", "addr", "show", "dev", "eth0")
    full(daemon)


def test_they_go_with_the_daemon_and_are_made_anew(fresh_daemon: Daemon) -> None:
    full(fresh_daemon)
    bare = fresh_daemon.netns.links() - set(ready(fresh_daemon).values())
    for end in (fresh_daemon.kill, fresh_daemon.stop):
        before = set(ready(fresh_daemon).values())
        end()
        eventually(lambda: fresh_daemon.netns.links() == bare, "the cables are gone")
        fresh_daemon.start()
        full(fresh_daemon)
        assert not before & set(ready(fresh_daemon).values())
    assert not [name for name in fresh_daemon.netns.links() - bare if name not in ready(fresh_daemon).values()]
