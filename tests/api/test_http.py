"""HTTP itself: what is malformed is answered or cut off and harms nobody else; what is allowed works."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import time

import pytest

from minidock.api import connection, server
from tests.api.harness import Harness, Talker
from tests.support.wait import eventually

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
CREATE = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

MALFORMED: dict[str, tuple[bytes, int]] = {
    "no host": (b"GET /_ping HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a header of a megabyte": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20), 431),
    "a hundred thousand headers": (b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 100_000, 431),
    "a path of a megabyte": (b"GET /" + b"a" * (1 << 20), 431),
    "bare line feeds": (b"GET /_ping HTTP/1.1\nHost: x\n\n", 400),
    "one bare line feed": (b"GET /_ping HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "both lengths": (CREATE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a negative length": (CREATE + b"Content-Length: -1\r\n\r\n", 400),
    "a length that is no number": (CREATE + b"Content-Length: 1_0\r\n\r\n", 400),
    "two lengths": (CREATE + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "two lengths, in two spellings": (CREATE + b"Content-Length: 2\r\ncontent-length : 2\r\n\r\n{}", 400),
    "a huge length": (CREATE + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n" + b"a" * (5 << 20), 400),
    "an absurd length": (CREATE + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n", 400),
    "a chunk size that overflows": (CREATE + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", 400),
    "a chunk size that is no number": (CREATE + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "an unknown transfer encoding": (CREATE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a TLS hello": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 100, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no request line": (b"\r\n\r\n", 400),
    "garbage": (b"\xff\xfe\xfd garbage\r\n\r\n", 400),
    "no path": (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the path": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a NUL in a header": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400),
    "a folded name": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(api: Harness, name: str) -> None:
    """Row 28. Variants: no look for two lengths, for both lengths, for bare line feeds."""
    data, status = MALFORMED[name]
    with api.talk() as other, api.talk() as talker:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer is there all the same
            talker.say(data)
        reply = talker.reply()
        other.say(PING)
        assert other.reply().body == b"OK"
        assert reply.status == status and reply.message
        assert reply.headers["connection"] == "close"
        talker.sock.shutdown(socket.SHUT_WR)
        assert talker.closed()
    assert api.engine.calls == []


ALLOWED = {
    "an empty host": b"GET /_ping HTTP/1.1\r\nHost: \r\n\r\n",
    "an absolute URI": b"GET http://docker/v1.45/_ping HTTP/1.1\r\nHost: docker\r\n\r\n",
    "HTTP/1.0": b"GET /_ping HTTP/1.0\r\n\r\n",
    "a connection that is to be closed": b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(api: Harness, name: str) -> None:
    with api.talk() as talker:
        talker.say(ALLOWED[name])
        reply = talker.reply()
        assert (reply.status, reply.body) == (200, b"OK")
        if reply.headers.get("connection") == "close":
            assert talker.closed()


def test_requests_come_in_pieces_and_in_packs(api: Harness) -> None:
    with api.talk() as talker:
        for byte in PING:
            talker.say(bytes([byte]))
        assert talker.reply().body == b"OK"
        talker.say(PING * 50)
        assert [talker.reply().body for _ in range(50)] == [b"OK"] * 50
        assert api.connections() == 1


def test_a_body_that_nobody_wanted_does_not_become_a_request(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/nosuch", PING * 10)
        assert talker.reply().status == 404
        talker.say(PING)
        assert talker.reply().body == b"OK"
        talker.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            talker.sock.recv(1)


def test_a_large_body_that_nobody_wanted_ends_the_connection(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/nosuch", b"x" * (1 << 20))
        assert talker.reply().status == 404
        talker.sock.shutdown(socket.SHUT_WR)
        assert talker.closed()


def test_continue_is_sent_to_who_waits_for_it(api: Harness) -> None:
    head = b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    with api.talk() as talker:
        talker.say(head)
        assert talker.head()[0] == 100
        talker.say(b"tar" + b"." * 7)
        assert talker.reply().status == 200
    assert api.engine.received == b"tar" + b"." * 7


def test_who_waits_to_continue_is_not_asked_for_a_body_that_is_not_wanted(api: Harness) -> None:
    with api.talk() as talker:
        talker.say(b"POST /nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert talker.reply().status == 404
        assert talker.closed()


def test_a_half_close_after_a_request_does_not_lose_the_answer(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/web/stop")
        talker.sock.shutdown(socket.SHUT_WR)
        eventually(lambda: api.engine.calls, "the stop to begin")
        api.engine.gate.set()
        assert talker.reply().status == 204


def test_a_started_request_must_arrive(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    with api.talk() as slow:
        slow.say(PING[:10])
        assert slow.reply().status == 408
        slow.sock.shutdown(socket.SHUT_WR)
        assert slow.closed()


def test_an_idle_connection_stays(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    with api.talk() as talker:
        talker.say(PING)
        assert talker.reply().body == b"OK"
        with pytest.raises(TimeoutError):
            talker.sock.settimeout(0.5)
            talker.sock.recv(1)
        talker.say(PING)
        assert talker.reply().body == b"OK"


def test_two_hundred_slow_senders_hold_nobody_up(api: Harness) -> None:
    slow = [api.talk() for _ in range(200)]
    try:
        for byte in PING[:12]:
            for talker in slow:
                talker.say(bytes([byte]))
            assert api.request("GET", "/_ping").body == b"OK"
        for talker in slow:
            talker.say(PING[12:])
        assert all(talker.reply().body == b"OK" for talker in slow)
    finally:
        for talker in slow:
            talker.sock.close()
    eventually(lambda: api.connections() == 0, "the connections to be forgotten")


def test_running_out_of_files_neither_spins_nor_kills_the_server(
    api: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A variant without the pause in the accept loop burns a whole CPU here, one without the except dies."""
    attempts = []
    real = api.loop.sock_accept

    async def no_more_files(listener: socket.socket) -> tuple[socket.socket, object]:
        attempts.append(time.monotonic())
        if len(attempts) <= 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await real(listener)

    assert api.request("GET", "/_ping").body == b"OK"
    monkeypatch.setattr(api.loop, "sock_accept", no_more_files)
    started = time.monotonic()
    assert api.request("GET", "/_ping").body == b"OK"  # this one may have been waited for already
    assert api.request("GET", "/_ping").body == b"OK"
    assert time.monotonic() - started >= 3 * server.RETRY_SECONDS - 0.05
    assert len(attempts) < 10 and "accept" in caplog.text


def test_a_browser_on_tcp_is_refused(api: Harness) -> None:
    """DNS rebinding: the page's own host name, or an Origin, arrives on our port. A unix socket has no browsers.

    Variant: Host is not looked at.
    """
    port = api.tcp().getsockname()[1]
    answers = []
    for lines in ("Host: evil.example\r\n", f"Host: localhost:{port}\r\nOrigin: http://x\r\n", "Host: 127.0.0.1\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(f"GET /_ping HTTP/1.1\r\n{lines}\r\n".encode())
            answers.append(sock.recv(65536).split(b" ", 2)[1])
    assert answers == [b"403", b"403", b"200"]


def test_who_still_sends_can_read_the_answer(api: Harness) -> None:
    """On TCP a close with unread input is a reset, which takes the answer away with it."""
    with socket.create_connection(api.tcp().getsockname(), 10) as sock:
        sock.sendall(b"POST /nosuch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000000\r\n\r\n")
        sock.sendall(b"x" * 20_000_000)
        assert sock.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_mangled_requests_do_no_harm(api: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Good requests with bytes flipped, dropped and doubled, from a fixed seed: answered or cut off, never 500."""
    rng = random.Random(20)
    body = b'{"Image": "busybox", "Cmd": ["true"]}'
    good = [
        PING,
        CREATE + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        CREATE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        b"GET /v1.45/containers/json?all=1&filters=%7B%22name%22%3A%5B%22w%22%5D%7D HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
    ]
    for _ in range(500):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 2)] = rng.choice(
                [b"", b"\n", b"\r", b"%", bytes([rng.randrange(256)]) * 2]
            )
        with api.talk() as talker, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            talker.say(bytes(data))
            talker.sock.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 500" not in talker.rest()
    eventually(lambda: api.connections() == 0, "the connections to be forgotten")
    assert api.request("GET", "/_ping").body == b"OK"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_vanishes_in_its_body_leaves_nothing(api: Harness) -> None:
    for _ in range(20):
        with Talker(api.path) as talker:
            talker.say(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\ntar")
    eventually(lambda: api.connections() == 0, "the connections to be forgotten")
    assert api.request("GET", "/_ping").body == b"OK"
