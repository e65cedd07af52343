"""Sockets of the test's own process in the network namespaces of others, IPv4 and IPv6, TCP and UDP.

A socket stays in the namespace that it was opened in, so a thread that steps in for a moment is enough. With it a test
sees both ends of a connection, and the peer that a server in a container sees. For the tests of networks and ports.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeVar

from minidock.linux import shim
from minidock.linux.netns import CLONE_NEWNET, in_thread

T = TypeVar("T")


def within(netns: str, work: Callable[[], T]) -> T:
    """Does ``work`` in the network namespace of that path."""

    def step_in() -> T:
        with open(netns) as file:
            shim.setns(file.fileno(), CLONE_NEWNET)
        return work()

    return in_thread(step_in)


def connect(address: str, port: int, kind: socket.SocketKind, patience: float = 15) -> socket.socket:
    """A client's socket; raises as connect(2) does, TimeoutError after ``patience`` seconds."""
    sock = socket.socket(_family(address), kind)
    sock.settimeout(patience)
    try:
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def listen(port: int, kind: socket.SocketKind, address: str = "0.0.0.0") -> socket.socket:
    """A server's; at :: it hears IPv4, too."""
    sock = socket.socket(_family(address), kind)
    sock.settimeout(15)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Place:
    """A server in a container, whose clients come from anywhere."""

    def __init__(self, netns: str, port: int, kind: socket.SocketKind, address: str = "0.0.0.0") -> None:
        self.kind = kind
        self.socket = within(netns, lambda: listen(port, kind, address))

    def peer(self, netns: str, address: str, port: int) -> str:
        """Who asks, as the server sees it, when a client in ``netns`` asks at an address; both ways must be open."""
        with within(netns, lambda: connect(address, port, self.kind)) as client:
            client.send(b"question")
            if self.kind == socket.SOCK_DGRAM:
                asked, peer = self.socket.recvfrom(100)
                self.socket.sendto(b"answer", peer)
            else:
                served, peer = self.socket.accept()
                with served:
                    served.settimeout(15)
                    asked = served.recv(100)
                    served.send(b"answer")
            assert (asked, client.recv(100)) == (b"question", b"answer")
        return str(peer[0])
