"""Attached clients: connections on their way to a monitor.

While a container runs, a client's socket goes to its monitor at once and is none of the daemon's business any more.
A client may attach before the start (``run`` does, so as to miss nothing) or after the end (it waits for the next
start): until then its socket waits here, unread, so that what the client sends early stays in the kernel's buffer.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from dataclasses import dataclass

from minidock.runtime.monitor import Monitor
from minidock.wire.errors import Error

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Client:
    """A connection and what its owner wants to see. ``multiplexed``: in frames, which a terminal's stream has not."""

    sock: socket.socket
    stdin: bool
    stdout: bool
    stderr: bool
    multiplexed: bool
    detach_keys: bytes
    early: bytes

    def hand_to(self, monitor: Monitor) -> None:
        """Gives the socket away; our copy is closed."""
        monitor.attach(
            self.sock,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            mux=self.multiplexed,
            detach_keys=self.detach_keys,
            early=self.early,
        )


class Waiting:
    """Clients of one container that wait for its start."""

    def __init__(self) -> None:
        self._clients: list[Client] = []

    def add(self, client: Client) -> None:
        """Keeps a client until the start, or until it hangs up."""
        self._clients.append(client)
        asyncio.get_running_loop().add_reader(client.sock, self._readable, client)

    def _readable(self, client: Client) -> None:
        """Early input, a half-close or a hang-up. Only the last one is for us; the rest is the monitor's to read."""
        asyncio.get_running_loop().remove_reader(client.sock)
        poll = select.poll()
        poll.register(client.sock, select.POLLHUP | select.POLLERR)
        if poll.poll(0):
            self._clients.remove(client)
            client.sock.close()

    def _take(self) -> list[Client]:
        clients, self._clients = self._clients, []
        for client in clients:
            asyncio.get_running_loop().remove_reader(client.sock)
        return clients

    def hand_to(self, monitor: Monitor) -> None:
        """At the start: all of them go to the monitor, before it begins."""
        for client in self._take():
            try:
                client.hand_to(monitor)
            except Error as error:  # it sent too much ahead, say: its own loss, not the container's
                log.warning("a client is not attached: %s", error)
                client.sock.close()

    def close(self) -> None:
        """The start failed or the container is removed: they are told by the end of the stream."""
        for client in self._take():
            client.sock.close()
