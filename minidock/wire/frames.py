"""Docker's multiplexed stream: how stdout and stderr share one connection without a terminal.

Each frame is 8 bytes of header and a payload: one byte for the stream, three zero bytes, the payload's length as
32 bits big-endian. With a terminal there are no frames, just bytes.
See: Docker Engine API, "Attach to a container", stream format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from minidock.wire.errors import ServerError

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3
HEADER = struct.Struct(">BxxxL")


def frame(stream: int, payload: bytes) -> bytes:
    """One frame: the header and the payload."""
    return HEADER.pack(stream, len(payload)) + payload


class FrameParser:
    """Takes bytes as they arrive and gives (stream, payload) pieces.

    A payload is passed on as it comes in, so a long frame may be given in several pieces and nothing is held back.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces that ``data`` completes. Raises ServerError for a stream number that does not exist.

        One pass with an offset: a chunk of many short frames costs its length, not the square of it.
        """
        at, end = 0, len(data)
        while at < end:
            if self._left == 0:
                at += self._take_header(data, at)
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield self._stream, piece

    def _take_header(self, data: bytes, at: int) -> int:
        """Takes what there is of a header at ``at``; returns how many bytes that were."""
        part = data[at : at + HEADER.size - len(self._header)]
        self._header += part
        if len(self._header) == HEADER.size:
            self._stream, self._left = HEADER.unpack(self._header)
            self._header = b""
            if self._stream > SYSTEM_ERROR:
                raise ServerError(f"the stream is broken: there is no stream {self._stream}")
        return len(part)
