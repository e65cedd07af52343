"""Many at once, many in a row, many on one container, and clients that vanish or stall.

Read next: ../support/faults.py, test_faults_crash.py.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ledger
from tests.support.daemon import Daemon, Session
from tests.support.faults import Api, balance, check_legal, clear
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.slow, pytest.mark.time_limit(240)]


def _size(daemon: Daemon) -> tuple[int, int]:
    """(KiB of private memory, descriptors) of the daemon."""
    rollup = Path(f"/proc/{daemon.pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private", "Swap:")))
    return private, len(os.listdir(f"/proc/{daemon.pid}/fd"))


def test_cycles_leave_nothing(fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """create, start, stop, rm by 4 workers: ledger 0, and the daemon is as large after all of them as after a tenth.

    Seen to fail with a list that each start appends 16 KiB to.
    """
    before, count = ledger.take(daemons), scale(60, 1000)

    def work(share: int) -> None:
        api = Api(fresh_daemon)
        for _ in range(share):
            ident = api.create("sleep", "1000", StopSignal="KILL")
            api.ok("POST", f"/containers/{ident}/start")
            api.ok("POST", f"/containers/{ident}/kill")
            api.ok("POST", f"/containers/{ident}/stop?t=5")
            api.ok("DELETE", f"/containers/{ident}")
        api.close()

    sizes = []
    for share in (count // 3, count - count // 3):
        with ThreadPoolExecutor(4) as workers:
            list(workers.map(work, [share // 4] * 4))
        balance(daemons, before, f"{count} cycles")
        sizes.append(_size(fresh_daemon))
    assert sizes[1][0] - sizes[0][0] < 10 * 1024 and sizes[1][1] <= sizes[0][1] + 2, sizes
    print(f"figure: {count} cycles, ledger 0, {sizes[1][0] - sizes[0][0]} KiB and {sizes[1][1] - sizes[0][1]} fds more")


def test_many_at_once(fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """All run, a new daemon has them in hand within 2 s per 50, all are gone within 30 s.

    Seen to fail where each container is adopted with a wait of its own (0.1 s).
    """
    before, count = ledger.take(daemons), scale(16, 200)
    with ThreadPoolExecutor(8) as workers:

        def run(_: int) -> str:
            api = Api(fresh_daemon)
            ident = api.create("sleep", "1000")
            api.ok("POST", f"/containers/{ident}/start")
            api.close()
            return ident

        idents = list(workers.map(run, range(count)))
        fresh_daemon.kill()
        began = time.monotonic()
        fresh_daemon.start()
        took = time.monotonic() - began
        states = check_legal(fresh_daemon, {})
        assert states == dict.fromkeys(idents, "running") and took < 4 + count / 25
        began = time.monotonic()
        list(workers.map(lambda one: Api(fresh_daemon).ok("DELETE", f"/containers/{one}?force=1"), idents))
        gone = time.monotonic() - began
    balance(daemons, before, f"{count} at once")
    assert gone < 30
    print(f"figure: {count} at once, adopted in {took:.1f} s, gone in {gone:.1f} s, ledger 0")


def test_races_on_one_container(fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """start, stop, kill, rm -f, rename by 8 clients at once: no 500, no deadlock, a legal end.

    Seen to fail where a verb asks for a container's lock after it was removed (KeyError, a 500).
    """
    before, rounds, bad = ledger.take(daemons), scale(12, 1000), []

    def play(seed: int, ident: str, barrier: threading.Barrier) -> None:
        dice, api = random.Random(seed), Api(fresh_daemon, timeout=30)
        barrier.wait()
        for _ in range(3):
            verb = dice.choice(("start", "start", "stop?t=1", "kill", "restart?t=0", "rm", f"rename?name=n{seed}"))
            method, path = ("DELETE", "?force=1") if verb == "rm" else ("POST", f"/{verb}")
            status, answer = api.ask(method, f"/containers/{ident}{path}")
            if status not in (200, 204, 304, 404, 409):
                bad.append((verb, status, answer))
        api.close()

    for number in range(rounds):
        ident = Api(fresh_daemon).create("sleep", "1000", AutoRemove=number % 3 == 0)
        barrier = threading.Barrier(8)
        players = [threading.Thread(target=play, args=(number * 8 + n, ident, barrier)) for n in range(8)]
        for player in players:
            player.start()
        for player in players:
            player.join()
        check_legal(fresh_daemon, {})
        clear(Api(fresh_daemon))
    assert not bad
    balance(daemons, before, f"{rounds} rounds")
    print(f"figure: {rounds} rounds of 8 clients, no 500, ledger 0")


def _raw(daemon: Daemon, request: str, receive: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.connect(str(daemon.socket))
    sock.sendall(request.encode())
    return sock


def _post(path: str, body: str = "", more: str = "") -> str:
    head = f"POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{more}\r\n{body}"


UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def test_clients_that_vanish(fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """attach, logs -f, events, wait, exec: cut off, or closed for writing and then cut off. Nothing stays.

    Seen to fail where a client that follows a log is not watched: it was noticed at the next line only.
    """
    before, api = ledger.take(daemons), Api(fresh_daemon)
    ident = api.create("sh", "-c", "echo begin; sleep 1000")
    api.ok("POST", f"/containers/{ident}/start")
    count, dice = scale(40, 500), random.Random(7)
    full = f"/containers/{ident}"
    _, descriptors = _size(fresh_daemon)
    for _ in range(count):
        session = api.ok("POST", f"{full}/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"]
        request = dice.choice(
            (
                _post(f"{full}/attach?stream=1&stdout=1&stdin=1", more=UPGRADE),
                f"GET {full}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n",
                "GET /events HTTP/1.1\r\nHost: d\r\n\r\n",
                _post(f"{full}/wait"),
                _post(f"/exec/{session}/start", "{}", UPGRADE),
            )
        )
        sock = _raw(fresh_daemon, request)
        if dice.random() < 0.5:
            sock.shutdown(socket.SHUT_WR)
        if dice.random() < 0.5:
            sock.settimeout(0.2)
            with suppress(OSError):
                sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert api.state(ident)["Status"] == "running"
    eventually(lambda: _size(fresh_daemon)[1] <= descriptors + 1, "the descriptors to be closed")
    api.ok("DELETE", f"{full}?force=1")
    balance(daemons, before, f"{count} clients that vanish")
    print(f"figure: {count} vanished clients, ledger 0")


def test_clients_that_stop_reading(fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """They follow the log of a container that writes much, and read nothing: the daemon does not store it for them.

    Seen to fail where what is put is not waited for (the daemon grew by the size of the log, for each of them).
    """
    before, api = ledger.take(daemons), Api(fresh_daemon, timeout=200)
    lines = scale(150_000, 16_000_000)  # of 64 bytes
    ident = api.create("sh", "-c", f"yes {'x' * 63} | head -n {lines}; echo end", NetworkMode="none")
    stalled = [
        _raw(fresh_daemon, f"GET /containers/{ident}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n", receive=4096)
        for _ in range(10)
    ]
    memory, _ = _size(fresh_daemon)
    api.ok("POST", f"/containers/{ident}/start")
    late = [
        _raw(fresh_daemon, f"GET /containers/{ident}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n", receive=4096)
        for _ in range(10)
    ]
    assert api.ok("POST", f"/containers/{ident}/wait")["StatusCode"] == 0
    status, text = api.ask("GET", f"/containers/{ident}/logs?stdout=1")  # meanwhile another client gets every byte
    assert status == 200 and text.count(b"x" * 63) == lines and text.endswith(b"end\n")
    grown = _size(fresh_daemon)[0] - memory
    for sock in (*stalled, *late):
        sock.close()
    assert grown < 32 * 1024, grown
    clear(api)
    balance(daemons, before, "clients that stop reading")
    print(f"figure: 20 stalled clients, {lines * 64 >> 20} MiB written, {grown} KiB more")
