"""A relay of bytes: what a published port needs where the kernel can't translate.

For IPv4 there is route_localnet; IPv6 has nothing like it: an answer for ::1 that comes in by a bridge is dropped, and
link-local addresses are not forwarded. Nor can a packet of IPv6 be made one of IPv4, for a container that has no other
address. In these cases, and no others, the connection ends at the socket that holds the port anyway, and the daemon
hands its bytes on, as docker-proxy does: the container sees its gateway for the peer, and these connections end with
the daemon, while translated ones go on without it.

Runs on the daemon's loop. Nobody can hold that up: a port has so many clients at most, and each waits for the other
side to take what it sent. Serves engine/networking/ports.py. See: RFC 4291, 2.5.3 and 2.5.6. Read next: ports.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any

from minidock.network import clients

_MOST_CLIENTS = 512
_BACKLOG = 128
_PIECE = 1 << 16
_AT_A_TIME = 16  # datagrams, before others have their turn
_PATIENCE = 10.0  # seconds until the container has taken the connection
_IDLE = 90.0  # seconds after which a UDP client is forgotten that says nothing, as in docker-proxy


class Relay:
    """Serves a bound socket until it is closed. ``target``: the container's address and port."""

    def __init__(self, sock: socket.socket, target: tuple[str, int]) -> None:
        self._socket = sock
        self._target = target
        self._family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[Any, _Asking] = {}
        sock.setblocking(False)
        if sock.type == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
            self._loop.add_reader(sock, self._clients)
        else:
            self._loop.add_reader(sock, self._datagrams)

    def close(self) -> None:
        """Ends whatever is under way, and lets go of the port."""
        self._loop.remove_reader(self._socket)
        for task in self._tasks:
            task.cancel()
        for asking in list(self._asking.values()):
            asking.close()
        self._socket.close()

    # ---- TCP

    def _clients(self) -> None:
        client = clients.take(self._loop, self._socket, self._clients)
        if client is None:
            return
        if len(self._tasks) >= _MOST_CLIENTS:
            client.close()
            return
        task = self._loop.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with client, contextlib.suppress(OSError, TimeoutError), socket.socket(self._family, kind) as server:
            async with asyncio.timeout(_PATIENCE):
                await self._loop.sock_connect(server, self._target)
            await _both(self._pump(client, server), self._pump(server, client))

    async def _pump(self, source: socket.socket, target: socket.socket) -> None:
        """Until the source says no more, which is passed on."""
        while data := await self._loop.sock_recv(source, _PIECE):
            await self._loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)

    # ---- UDP

    def _datagrams(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                data, client = self._socket.recvfrom(_PIECE)
            except OSError:  # nothing more, or an ICMP error about an answer
                return
            asking = self._asking.get(client)
            if asking is None:
                if len(self._asking) >= _MOST_CLIENTS:
                    continue
                try:
                    asking = self._asking[client] = _Asking(self, client)
                except OSError:  # the container's address has just gone
                    return
            asking.send(data)

    def connect(self) -> socket.socket:
        """A UDP socket towards the container."""
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._target)
        except OSError:
            sock.close()
            raise
        return sock

    def answer(self, data: bytes, client: Any) -> None:
        """A datagram back to a client; a full buffer loses it, as a network may."""
        with contextlib.suppress(OSError):
            self._socket.sendto(data, client)

    def forget(self, client: Any) -> None:
        """It has said nothing for a while."""
        self._asking.pop(client, None)


class _Asking:
    """A UDP client, with a socket towards the container by which its answers are told from those of others."""

    def __init__(self, relay: Relay, client: Any) -> None:
        self._relay, self._client = relay, client
        self._loop = asyncio.get_running_loop()
        self._socket = relay.connect()
        self._loop.add_reader(self._socket, self._answers)
        self._timer = self._loop.call_later(_IDLE, self.close)

    def send(self, data: bytes) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(_IDLE, self.close)
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(_AT_A_TIME):
                self._relay.answer(self._socket.recv(_PIECE), self._client)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._relay.forget(self._client)


async def _both(*pumps: Coroutine[Any, Any, None]) -> None:
    """Both directions to their ends; where one fails the other ends with it, before the sockets are closed."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
