"""The server: sockets to accept from, connections to serve, and an orderly end.

Read next: ``connection.py`` for what happens on one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import struct
import weakref
from typing import TYPE_CHECKING

from minidock.api.connection import Connection
from minidock.api.router import ROUTES, Router
from minidock.api.tls import Relay

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

GRACE_SECONDS = 5
RETRY_SECONDS = 0.2
_TEMPORARY = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FOR_THIS_CLIENT_ONLY = (errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM)
_CREDENTIALS = struct.Struct("=iii")  # struct ucred of unix(7)

log = logging.getLogger("minidock.api")


class Server:
    """Serves the API on listening sockets, which the daemon made. Everything runs on the loop that calls ``serve``.

    With ``tls`` every TCP socket among them speaks TLS; without it none does.
    """

    def __init__(self, engine: Engine, sockets: list[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        self._engine = engine
        self._sockets = sockets
        self._tls = tls
        self._relays: dict[asyncio.Task[None], Relay] = {}
        self._router = Router(ROUTES)
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._hijacked: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._acceptors: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Accepts until ``shutdown``."""
        self._acceptors = [asyncio.create_task(self._accept(sock)) for sock in self._sockets]
        await asyncio.gather(*self._acceptors, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _FOR_THIS_CLIENT_ONLY:
                    continue
                if error.errno not in _TEMPORARY:
                    log.exception("accept on %s", listener.getsockname())
                else:
                    log.warning("accept: %s; clients wait until it is better", error)
                await asyncio.sleep(RETRY_SECONDS)  # the listener stays readable: without a pause this loop would spin
                continue
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls:
                relay = Relay(sock, self._tls)
                relaying = asyncio.create_task(self._relay(relay))
                self._relays[relaying] = relay
                relaying.add_done_callback(self._relays.pop)
                return
        elif log.isEnabledFor(logging.DEBUG):
            pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            log.debug("connection from process %d of user %d", pid, uid)
        self._serve(sock)

    async def _relay(self, relay: Relay) -> None:
        """A TLS client, from its handshake to its end."""
        sock = await relay.open()
        if sock:
            self._serve(sock, tls=True)
            await relay.run()

    def _serve(self, sock: socket.socket, tls: bool = False) -> None:
        connection = Connection(self._engine, self._router, sock, tls)
        task = asyncio.create_task(connection.serve())
        self._connections[task] = connection
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        connection = self._connections.pop(task)
        if connection.hijacked:
            self._hijacked.add(connection.hijacked)
        if not task.cancelled() and task.exception():
            log.error("connection: unexpected %r", task.exception(), exc_info=task.exception())

    async def shutdown(self) -> None:
        """Stops accepting, ends what is idle or follows, lets short requests finish, ends hijacked sockets still here.

        A socket that a monitor has by now lives on with it: our own copy of it is closed and passed over here.
        """
        for acceptor in self._acceptors:
            acceptor.cancel()
        for connection in self._connections.values():
            connection.interrupt()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=GRACE_SECONDS)
        for sock in list(self._hijacked):
            if sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        await self._end_relays()

    async def _end_relays(self) -> None:
        """Those that were served get their last bytes; the others are cut off, for what they carry goes on."""
        await asyncio.sleep(0)
        served = [task for task, relay in self._relays.items() if relay.served.done()]
        if served:
            await asyncio.wait(served, timeout=GRACE_SECONDS)
        for task in (rest := list(self._relays)):
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=GRACE_SECONDS)
