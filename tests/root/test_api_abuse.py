"""Abuse of the API that takes a real daemon: a race for one name, thousands of connections that say nothing, no files.

What one connection can do wrong: ../api/test_http.py, ../api/test_bodies.py; who may connect: test_daemon.py.
"""

from __future__ import annotations

import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.daemon import Daemon
from tests.support.faults import Api
from tests.support.wait import eventually

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"


def test_of_two_hundred_creates_of_one_name_one_wins(daemon: Daemon) -> None:
    """Broken build: a create that waits after its look at the name, and takes no second one when it writes the row."""

    def create(_: int) -> int:
        api = Api(daemon)
        try:
            return api.ask("POST", "/containers/create?name=wanted", {"Image": "busybox", "Cmd": ["true"]})[0]
        finally:
            api.close()

    with ThreadPoolExecutor(40) as pool:
        statuses = Counter(pool.map(create, range(200)))
    assert statuses == {201: 1, 409: 199}
    daemon.cli.ok("rm", "wanted")


@contextmanager
def connections(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    made = [socket.socket(socket.AF_UNIX) for _ in range(count)]
    try:
        for sock in made:
            sock.connect(str(daemon.socket))  # before the limit: one that must not wait fails when the queue is full
            sock.settimeout(30)
        yield made
    finally:
        for sock in made:
            sock.close()


def ping(sock: socket.socket) -> bool:
    sock.sendall(PING)
    return sock.recv(4096).startswith(b"HTTP/1.1 200")


def cpu_seconds(pid: int) -> float:
    """What the daemon has computed so far: unlike the time on the wall, it is not the other processes' doing."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_thousands_of_idle_connections(fresh_daemon: Daemon, scale: Callable[[int, int], int]) -> None:
    """A ping costs what it costs without them. Broken build: a select() over all of them, or a look at each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        count = min(scale(3000, 10_000), hard - 500)
        with connections(fresh_daemon, count) as idle:
            assert all(ping(sock) for sock in idle[:: count // 100])
            before = cpu_seconds(fresh_daemon.pid)
            assert all(ping(idle[0]) for _ in range(200))
            spent = cpu_seconds(fresh_daemon.pid) - before
        print(f"figure: {spent * 1000 / 200:.2f} ms of CPU for a ping with {count} idle connections")
        assert spent < 200 * 0.01
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_daemon_without_a_free_descriptor_waits_for_one(fresh_daemon: Daemon) -> None:
    """Who is connected is served; who comes is served later; meanwhile the daemon does not spin.

    Seen to fail without the pause after an accept that failed.
    """
    fresh_daemon.stop()
    fresh_daemon.start(prefix=["prlimit", "--nofile=120:120"])
    with connections(fresh_daemon, 300) as crowd:
        eventually(lambda: "accept: " in fresh_daemon.log_text(), "the daemon to run out of descriptors")
        assert ping(crowd[0])
        before = fresh_daemon.log_text().count("accept: ")
        assert all(ping(crowd[0]) for _ in range(200))
        tried = fresh_daemon.log_text().count("accept: ") - before
        assert tried < 200, "it tries again less often than it serves who is there"
        for sock in crowd[:250]:
            sock.close()
        assert all(ping(sock) for sock in crowd[250:])
    assert fresh_daemon.cli.ok("ps")
