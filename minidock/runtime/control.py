"""The control socket of a monitor, seen from the daemon: its place, its messages. csrc/control.h draws the protocol.

The socket is a file in a 0700 directory. Its path may be longer than the 108 bytes that sockaddr_un has, so it is
always reached through a descriptor of the directory, as /proc/self/fd/N/control.

Serves monitor.py.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

NAME = "control"
MESSAGE_MAX = 65536
DETACH_MAX = 64
"""The longest sequence of detach keys (csrc/detach.h)."""

_HEADER = struct.Struct("<4I")
DATA_MAX = MESSAGE_MAX - _HEADER.size


class Kind(IntEnum):
    """Message types."""

    ATTACH = 1
    START = 2
    RESIZE = 3
    RELEASE = 4
    STATE = 16
    STARTED = 17
    FAILED = 18
    EXITED = 19
    DETACHED = 20


class AttachFlag(IntFlag):
    """What an attached client wants."""

    STDIN = 1
    STDOUT = 2
    STDERR = 4
    FRAMES = 8
    LOG = 16
    """Begins with all that the log has."""


@dataclass(frozen=True)
class Message:
    """One message; whoever takes it owns its descriptors."""

    kind: int
    a: int
    b: int
    data: bytes
    fds: tuple[int, ...]


def listen(directory: int) -> socket.socket:
    """Makes the socket in the directory (a descriptor) and listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{NAME}")
        os.chmod(NAME, 0o600, dir_fd=directory)
        sock.listen(16)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(directory: int) -> socket.socket:
    """A connection, non-blocking. Raises FileNotFoundError or ConnectionRefusedError when nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.setblocking(False)
        sock.connect(f"/proc/self/fd/{directory}/{NAME}")
    except BaseException:
        sock.close()
        raise
    return sock


def send(sock: socket.socket, kind: Kind, a: int = 0, b: int = 0, data: bytes = b"", fds: Sequence[int] = ()) -> None:
    """Sends one message, at once or not at all (BlockingIOError)."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([_HEADER.pack(kind, a, b, len(data)), data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Message | None:
    """The next message; None when the other side has closed. Raises BlockingIOError, ValueError if it is malformed."""
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    packet, fds, _, _ = socket.recv_fds(sock, MESSAGE_MAX, 4, flags)
    if not packet:
        return None
    try:
        kind, a, b, length = _HEADER.unpack_from(packet)
        if length != len(packet) - _HEADER.size:
            raise ValueError("a message whose length is wrong")
    except (struct.error, ValueError) as error:
        for fd in fds:
            os.close(fd)
        raise ValueError(f"malformed message of a monitor: {error}") from None
    return Message(kind, a, b, packet[_HEADER.size :], tuple(fds))
