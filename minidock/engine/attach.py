"""Attached clients: connections on their way to a monitor.

While a container runs, a client's socket goes to its monitor at once and is none of the daemon's business any more.
A client may attach before the start (``run`` does, so as to miss nothing) or after the end (it waits for the next
start): until then its socket waits here, unread, so that what the client sends early stays in the kernel's buffer.
Read next: replay.py, for who asks for the log first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial

from minidock.engine.replay import Replay, answer_taken
from minidock.engine.requests import LogEntry, LogRequest
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
    """Clients of one container. Its monitor has them while it runs; who waits for that, or hears the log, is here."""

    def __init__(self) -> None:
        self._clients: dict[Client, HangUp] = {}
        self._replays: dict[Client, Replay] = {}  # of clients that will wait, too
        self._reading: set[asyncio.Task[None]] = set()
        self._monitor: Monitor | None = None  # of a run, from the moment on when it has its clients

    def take(self, client: Client, stream: bool, read: Callable[[LogRequest], AsyncIterator[LogEntry]]) -> None:
        """A client that has had its answer: closed when it wants nothing, or no ``stream`` and no log any more."""
        if client.log and (client.stdout or client.stderr):
            self.read_out(client, read(LogRequest(stdout=client.stdout, stderr=client.stderr)), stay=stream)
        elif stream and (client.stdin or client.stdout or client.stderr):
            self.join(client)
        else:
            client.sock.close()

    def join(self, client: Client) -> None:
        """To the monitor of the run, if there is one; else keeps a client until the start, or until it hangs up."""
        if self._monitor:
            self._hand(client, self._monitor)
            return
        # Early input and a half-close are not for us: they are the monitor's to read.
        self._clients[client] = HangUp(client.sock, partial(self._gone, client), half=False)

    def read_out(self, client: Client, entries: AsyncIterator[LogEntry], stay: bool) -> None:
        """Has the log read to a client first. One that does not ``stay`` is closed then."""
        task = asyncio.get_running_loop().create_task(self._read_out(client, entries, stay))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_out(self, client: Client, entries: AsyncIterator[LogEntry], stay: bool) -> None:
        try:
            await answer_taken(client.sock)
        except BaseException:
            client.sock.close()
            raise
        if stay and self._monitor:
            self._hand(client, self._monitor)
            return
        replay = Replay(client.sock, client.multiplexed, entries)
        if stay:
            self._replays[client] = replay
        try:
            waits = await replay.run()
        finally:
            self._replays.pop(client, None)
        if waits and stay:
            self.join(replace(client, log=False))
        elif waits:
            client.sock.close()

    def _gone(self, client: Client) -> None:
        self._clients.pop(client).close()
        client.sock.close()

    def _take(self) -> list[Client]:
        clients, self._clients = self._clients, {}
        for watch in clients.values():
            watch.close()
        return list(clients)

    def hand_to(self, monitor: Monitor) -> None:
        """At the start: all of them go to the monitor, before it begins; for who is still read to a stand-in does."""
        self._monitor = monitor
        replays, self._replays = self._replays, {}
        for client in [*self._take(), *(replace(c, sock=r.stand_in(), log=True) for c, r in replays.items())]:
            self._hand(client, monitor)

    @staticmethod
    def _hand(client: Client, monitor: Monitor) -> None:
        try:
            client.hand_to(monitor)
        except Error as error:  # it sent too much ahead, say: its own loss, not the container's
            log.warning("a client is not attached: %s", error)
            client.sock.close()

    def ended(self) -> None:
        """The run is over: who comes now waits for the next."""
        self._monitor = None

    def close(self) -> None:
        """The start failed or the container is removed: they are told by the end of the stream."""
        self._monitor = None
        for client in self._take():
            client.sock.close()
        for task in self._reading:
            task.cancel()
