"""Attach over a WebSocket: the handshake, messages both ways, an end that is told; and clients that misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct

import pytest

from tests.api.harness import Harness, Talker
from tests.support.websocket import BINARY, CLOSE, HANDSHAKE, KEY, PING, PONG, TEXT, message, receive

FIELDS = {name.replace("-", "_"): value for name, value in HANDSHAKE.items()}


def attached(api: Harness, target: str = "/v1.45/containers/web/attach/ws?stream=1&stdin=1&stdout=1") -> Talker:
    talker = api.talk()
    talker.ask("GET", target, **FIELDS)
    status, headers, _ = talker.head()
    accept = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert status == 101 and headers["sec-websocket-accept"] == accept and headers["api-version"] == "1.45"
    return talker


def heard(talker: Talker) -> tuple[int, bytes]:
    return receive(talker.exactly)


def test_messages_go_both_ways_and_the_end_is_told(api: Harness) -> None:
    with attached(api) as talker:
        talker.say(message(BINARY, b"one") + message(TEXT, "zw\u00f6lf".encode()))
        data = b""
        while len(data) < 8:
            kind, piece = heard(talker)
            assert kind == BINARY
            data += piece
        assert data == "onezw\u00f6lf".encode()
        talker.say(message(PING, b"there?"))
        assert heard(talker) == (PONG, b"there?")
        talker.say(message(CLOSE, struct.pack(">H", 1000)))
        assert heard(talker) == (CLOSE, struct.pack(">H", 1000))
        assert talker.closed()


def test_the_end_of_the_container_is_a_good_one(api: Harness) -> None:
    with attached(api) as talker:
        talker.say(message(BINARY, b"x"))
        assert heard(talker) == (BINARY, b"x")
        api.engine.hang_up()
        assert heard(talker) == (CLOSE, struct.pack(">H", 1000))


def test_before_1_28_the_messages_are_text_and_before_1_42_all_streams_come(api: Harness) -> None:
    with attached(api, "/v1.27/containers/web/attach/ws?stream=1") as talker:
        talker.say(message(TEXT, "\u00f6".encode()[:1], last=False) + message(0, "\u00f6".encode()[1:] + b"\xc3\xb6"))
        data = ""
        while len(data) < 2:
            kind, piece = heard(talker)
            assert kind == TEXT
            data += piece.decode()
        assert data == "\u00f6\u00f6"
    (asked,) = (call[2] for call in api.engine.calls if call[0] == "attach")
    assert asked.stdin and asked.stdout and asked.stderr and asked.raw


@pytest.mark.parametrize(
    "wrong", [{"Upgrade": "tcp"}, {"Connection": "close"}, {"Sec_WebSocket_Version": "8"}, {"Sec_WebSocket_Key": "x"}]
)
def test_what_is_no_handshake(api: Harness, wrong: dict[str, str]) -> None:
    reply = api.request("GET", "/containers/web/attach/ws?stream=1", **{**FIELDS, **wrong})
    assert reply.status == 400 and reply.message


def test_a_container_that_is_not_there(api: Harness) -> None:
    assert api.request("GET", "/containers/nosuch/attach/ws", **FIELDS).status == 404


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\x82\x03abc", 1002),  # not masked
        (b"\xf2\x80\x01\x02\x03\x04", 1002),  # reserved bits
        (message(PING, b"x" * 126), 1002),
        (message(TEXT, b"\xff\xfe"), 1007),
    ],
)
def test_what_is_no_message_ends_the_connection(api: Harness, said: bytes, code: int) -> None:
    with attached(api) as talker:
        talker.say(said)
        kind, why = heard(talker)
        assert kind == CLOSE and struct.unpack(">H", why[:2]) == (code,)
        assert talker.closed()


def test_clients_that_vanish_leave_nothing(api: Harness) -> None:
    for linger in (False, True):
        talker = attached(api)
        if linger:  # with a reset
            talker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        talker.sock.close()

    async def alone() -> bool:
        async with asyncio.timeout(10):
            while api.connections():
                await asyncio.sleep(0.01)
        return True

    assert api.run(alone())


def test_the_daemon_s_end_is_the_client_s(api: Harness) -> None:
    with attached(api) as talker:
        talker.say(message(BINARY, b"x"))
        assert heard(talker) == (BINARY, b"x")
        api.run(api.server.shutdown())
        talker.rest()
