"""The client's side of a WebSocket (RFC 6455), by hand: so that tests can also say what no library would."""

from __future__ import annotations

import struct
from collections.abc import Callable

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def message(kind: int, data: bytes, last: bool = True) -> bytes:
    """A frame as a client sends it: masked. At most 64 KiB."""
    mask = b"\x01\x02\x03\x04"
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([kind | 0x80 * last]) + size + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def receive(exactly: Callable[[int], bytes]) -> tuple[int, bytes]:
    """(kind, data) of a frame as a server sends it. ``exactly`` reads that many bytes."""
    first, size = exactly(2)
    if size == 126:
        (size,) = struct.unpack(">H", exactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", exactly(8))
    return first & 15, exactly(size)
