"""Attach, as the API has it: what was said before (logs=1) and what comes, without a gap or an echo; by WebSocket, too.

The log as it is when the container has ended is the truth that each client's bytes are compared with.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from io import BufferedRWPair
from typing import Any

import pytest

from minidock.wire.frames import FrameParser
from tests.support.daemon import Daemon
from tests.support.faults import Api
from tests.support.websocket import BINARY, CLOSE, HANDSHAKE, message, receive

UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
BOTH = "stdout=1&stderr=1"
# Whole lines, lines in two writes and the other stream in between; then it waits for a line of input.
TALK = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); printf 'line '; echo $i; [ $((i%7)) -gt 0 ] || echo e$i >&2; done"


def attach(daemon: Daemon, target: str, method: str = "POST", **more: str) -> BufferedRWPair:
    """What comes on an attached connection, as a file; its head is read already."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(str(daemon.socket))
    fields = {"Host": "d", "Content-Length": "0", **(more or UPGRADE)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    sock.sendall(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())
    stream = sock.makefile("rwb")
    sock.close()
    assert b" 101 " in stream.readline()
    while stream.readline() != b"\r\n":
        pass
    return stream


def streams(data: bytes) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    for stream, piece in FrameParser().feed(data):
        found[stream] += piece
    return found


def said(api: Api, ident: str, tty: bool = False) -> Any:
    _, text = api.ask("GET", f"/containers/{ident}/logs?{BOTH}")
    return text if tty else streams(text)


@pytest.fixture
def api(daemon: Daemon) -> Iterator[Api]:
    api = Api(daemon)
    yield api
    api.close()


@pytest.fixture
def talker(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container that talks and then waits for input; created. Parameter: whether it has a terminal."""
    body = {"Image": "busybox", "Cmd": ["sh", "-c", f"{TALK}; read x; echo bye"], "OpenStdin": True}
    created = api.ok(
        "POST", "/containers/create", {**body, "Tty": request.param, "HostConfig": {"NetworkMode": "none"}}
    )
    yield created["Id"]
    api.ok("DELETE", f"/containers/{created['Id']}?force=1")


@pytest.mark.parametrize("talker", [False, True], indirect=True, ids=["frames", "terminal"])
def test_the_log_and_then_what_comes(daemon: Daemon, api: Api, talker: str, request: pytest.FixtureRequest) -> None:
    """Broken builds: the daemon reads the log and then hands over (a gap); the monitor's flag left out (no log)."""
    api.ok("POST", f"/containers/{talker}/start")
    clients = [attach(daemon, f"/containers/{talker}/attach?logs=1&stream=1&{BOTH}") for _ in range(20)]
    with attach(daemon, f"/containers/{talker}/attach?stream=1&stdin=1") as keys:
        keys.write(b"\n")
        keys.flush()
        api.ok("POST", f"/containers/{talker}/wait")
    tty = "terminal" in request.node.name
    truth = said(api, talker, tty)
    for client in clients:
        with client:
            data = client.read()
        assert (data if tty else streams(data)) == truth


@pytest.mark.parametrize("talker", [False], indirect=True)
def test_of_a_container_that_does_not_run_the_log_comes_at_once(daemon: Daemon, api: Api, talker: str) -> None:
    target = f"/containers/{talker}/attach?logs=1&stream=1&{BOTH}"
    with attach(daemon, target) as fresh, attach(daemon, f"/containers/{talker}/attach?stream=1&stdin=1") as keys:
        api.ok("POST", f"/containers/{talker}/start")
        keys.write(b"\n")
        keys.flush()
        assert streams(fresh.read()) == (first := said(api, talker))
    with attach(daemon, f"/containers/{talker}/attach?logs=1&{BOTH}") as once:
        assert streams(once.read()) == first
    with attach(daemon, target) as again, attach(daemon, f"/containers/{talker}/attach?stream=1&stdin=1") as keys:
        data = b""
        while streams(data) != first:
            data += again.read1()
        api.ok("POST", f"/containers/{talker}/start")
        keys.write(b"\n")
        keys.flush()
        assert streams(data + again.read()) == said(api, talker) != first


def test_a_start_that_overtakes_a_slow_reader_of_the_log(daemon: Daemon, api: Api) -> None:
    """Broken builds: such a client begins anew, or goes on with what comes alone."""
    ident = api.create("sh", "-c", f"seq 1 4000 | sed 's/$/ {'x' * 250}/'; echo end", NetworkMode="none")
    for _ in range(2):
        api.ok("POST", f"/containers/{ident}/start")
        api.ok("POST", f"/containers/{ident}/wait")
    with attach(daemon, f"/containers/{ident}/attach?logs=1&stream=1&{BOTH}") as slow:
        data = slow.read1()
        api.ok("POST", f"/containers/{ident}/start")
        api.ok("POST", f"/containers/{ident}/wait")
        data += slow.read()
    assert streams(data) == said(api, ident)
    assert streams(data)[1].count(b"end\n") == 3
    api.ok("DELETE", f"/containers/{ident}")


def test_docker_py_attaches_with_what_was_said(docker_api: Any) -> None:
    container = docker_api.containers.run("busybox", ["sh", "-c", "echo one; echo two >&2"], detach=True)
    try:
        container.wait()
        assert container.attach(logs=True, stream=False) == b"one\ntwo\n"
        assert container.attach(logs=True, stream=False, stderr=False) == b"one\n"
        assert container.attach(logs=False, stream=False, stdout=False, stderr=False) == b""
    finally:
        container.remove(force=True)


def messages(stream: BufferedRWPair, until: bytes) -> bytes:
    """What came in messages, up to the end or until it ends with these bytes."""
    data = b""
    while not data.endswith(until):
        kind, piece = receive(stream.read)
        if kind == CLOSE:
            assert piece == struct.pack(">H", 1000)
            return data
        assert kind == BINARY
        data += piece
    return data


def test_a_websocket(daemon: Daemon, api: Api) -> None:
    """In and out, what was said before, and the end; one that reads nothing, and ones that vanish, harm nobody.

    That they leave nothing is for the ledger to say.
    """
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "echo hello; cat; echo bye"], "OpenStdin": True, "StdinOnce": True}
    ident = api.ok("POST", "/containers/create", {**body, "HostConfig": {"NetworkMode": "none"}})["Id"]
    api.ok("POST", f"/containers/{ident}/start")
    target = f"/containers/{ident}/attach/ws?logs=1&stream=1&stdout=1"
    for _ in range(10):
        attach(daemon, target, "GET", **HANDSHAKE).close()
    stalled = attach(daemon, target, "GET", **HANDSHAKE)
    with attach(daemon, f"{target}&stdin=1", "GET", **HANDSHAKE) as client, stalled:
        assert messages(client, b"hello\n") == b"hello\n"
        chunk = b"x" * 60_000
        for _ in range(30):
            client.write(message(BINARY, chunk))
            client.flush()
            assert len(messages(client, chunk)) >= len(chunk)
        client.write(message(BINARY, b"last\n"))
        client.flush()
        assert messages(client, b"last\n").endswith(b"last\n")
    api.ok("DELETE", f"/containers/{ident}?force=1")
