"""Attached clients: connections on their way to a monitor.

While a container runs, a client's socket goes to its monitor at once and is none of the daemon's business any more.
A client may attach before the start (``run`` does, so as to miss nothing) or after the end (it waits for the next
start): until then its socket waits here, unread, so that what the client sends early stays in the kernel's buffer.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from functools import partial

from minidock.linux.hangup import HangUp
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
    log: bool = False
    """What was written before comes first."""

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
            log=self.log,
        )


class Waiting:
    """Clients of one container that wait for its start."""

    def __init__(self) -> None:
        self._clients: dict[Client, HangUp] = {}

    def add(self, client: Client) -> None:
        """Keeps a client until the start, or until it hangs up."""
        # Early input and a half-close are not for us: they are the monitor's to read.
        self._clients[client] = HangUp(client.sock, partial(self._gone, client), half=False)

    def _gone(self, client: Client) -> None:
        self._clients.pop(client).close()
        client.sock.close()

    def _take(self) -> list[Client]:
        clients, self._clients = self._clients, {}
        for watch in clients.values():
            watch.close()
        return list(clients)

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
