"""A WebSocket (RFC 6455) in the place of a raw connection: for clients that live in browsers and behind proxies.

The container's monitor knows sockets and nothing of messages, so it gets one end of a pair, and what goes between the
other end and the client is wrapped and unwrapped here: one chunk, one message. As in dockerd messages are binary, and
text before API 1.28; either kind is taken from the client. A client that stops reading stops this pump, fills its own
pair of sockets, and is then the monitor's slow client like any other.

wsproto frames and unframes. The handshake is ours, because the request has been parsed and its answer is to carry our
headers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import socket
from contextlib import suppress

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, generate_accept_token

from minidock.api.request import Request
from minidock.api.response import head
from minidock.wire.errors import InvalidArgument

BINARY_SINCE = (1, 28)
FAREWELL_SECONDS = 2  # for the client's own last word
_CHUNK = 1 << 16


def accept(request: Request) -> bytes:
    """The handshake's answer. Raises InvalidArgument for what is none, with the words of dockerd's library."""
    upgrade = request.header(b"upgrade").lower().split(",")
    connection = [word.strip() for word in request.header(b"connection").lower().split(",")]
    if request.method != "GET" or "websocket" not in [word.strip() for word in upgrade] or "upgrade" not in connection:
        raise InvalidArgument("not websocket protocol")
    if request.header(b"sec-websocket-version") != "13":
        raise InvalidArgument("missing or bad WebSocket Version", "13 is the only one")
    key = request.headers.get(b"sec-websocket-key", b"").strip()
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise InvalidArgument("mismatch challenge/response: Sec-WebSocket-Key is not 16 bytes of base64")
    token = generate_accept_token(key).decode()
    return head(101, [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", token)])


class Handover:
    """What the engine takes for a hijacked connection: it gets one end of a pair, `carry` serves the other."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._bridge: Bridge | None = None

    def upgrade(self, multiplexed: bool) -> tuple[socket.socket, bytes]:
        """Answers the handshake. Raises InvalidArgument."""
        client, early = self._request.hijack().take(accept(self._request))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._bridge = Bridge(ours, client, early, self._request.version >= BINARY_SINCE)
        return theirs, b""

    async def carry(self) -> None:
        """Until one of the two sides ends."""
        if self._bridge:
            await self._bridge.run()


class Bridge:
    """Carries bytes between a socket and a WebSocket until one of them ends. Closes both."""

    def __init__(self, inner: socket.socket, client: socket.socket, early: bytes, binary: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._inner, self._client, self._binary = inner, client, binary
        self._messages = Connection(ConnectionType.SERVER, trailing_data=early)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Raises nothing but CancelledError."""
        outward, inward = (self._loop.create_task(work) for work in (self._outward(), self._inward()))
        try:
            await asyncio.wait((outward, inward), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((inward,), timeout=FAREWELL_SECONDS)
        finally:
            for task in (outward, inward):
                task.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)
            self._inner.close()
            self._client.close()

    async def _outward(self) -> None:
        """From the container; its end is told to the client as a good one."""
        while data := await self._loop.sock_recv(self._inner, _CHUNK):
            if self._binary:
                await self._send(BytesMessage(data))
            elif text := self._decoder.decode(data):
                await self._send(TextMessage(text))
        await self._send(CloseConnection(CloseReason.NORMAL_CLOSURE))

    async def _inward(self) -> None:
        """From the client, until it closes, hangs up or says what is no message."""
        while True:
            for event in self._messages.events():
                if isinstance(event, CloseConnection):
                    await self._send(event.response())
                    return
                if isinstance(event, Ping):
                    await self._send(event.response())
                elif isinstance(event, (BytesMessage, TextMessage)):
                    data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    await self._loop.sock_sendall(self._inner, data)
            data = await self._loop.sock_recv(self._client, _CHUNK)
            if not data:
                return
            self._messages.receive_data(data)

    async def _send(self, event: Event) -> None:
        """Whole frames, one after the other; nothing after the last word."""
        async with self._sending:
            with suppress(LocalProtocolError):
                await self._loop.sock_sendall(self._client, self._messages.send(event))
