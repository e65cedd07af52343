"""Giving a connection away: the end of HTTP on it.

``attach`` and ``exec`` begin as requests and go on as raw bytes. The engine takes the socket with ``upgrade()`` when it
has somewhere to put it; nothing of the stream passes through the API afterwards.

See: Docker Engine API, "Attach to a container", hijacking.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from minidock.api.response import ClientGone, head

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
MULTIPLEXED_SINCE = (1, 42)


def stream_type(multiplexed: bool, version: tuple[int, int]) -> str:
    """The content type of a container's output. Older clients are told "raw" for frames too; they know by the tty."""
    return MULTIPLEXED_STREAM if multiplexed and version >= MULTIPLEXED_SINCE else RAW_STREAM


class Hijacked:
    """A connection ready to be given away; ``release`` is told so and returns what the client sent early."""

    def __init__(
        self, sock: socket.socket, upgrade: bool, version: tuple[int, int], release: Callable[[], bytes]
    ) -> None:
        self._sock = sock
        self._upgrade = upgrade
        self._version = version
        self._release = release

    def upgrade(self, multiplexed: bool) -> tuple[socket.socket, bytes]:
        """Answers 101, or 200 to a client that did not ask for an upgrade, and hands the socket over."""
        return self.take(self._head(multiplexed))

    def take(self, answer: bytes) -> tuple[socket.socket, bytes]:
        """Sends the answer, and hands the socket over with what the client sent early.

        One send, which must not block: nothing else is on its way on this connection, so the kernel has room for it.
        A client that is gone already is handed over too; whoever reads the socket finds out.
        """
        early = self._release()
        try:
            sent = self._sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(answer)
        if sent < len(answer):
            self._sock.close()
            raise ClientGone("the client does not read its responses")
        return self._sock, early

    def _head(self, multiplexed: bool) -> bytes:
        if not self._upgrade:
            return head(200, [("Content-Type", RAW_STREAM)])
        content_type = stream_type(multiplexed, self._version)
        return head(101, [("Content-Type", content_type), ("Connection", "Upgrade"), ("Upgrade", "tcp")])
