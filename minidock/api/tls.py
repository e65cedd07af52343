"""TLS in front of the API: who has no certificate of our authority does not get as far as HTTP.

    client ══ TLS over TCP ══ Relay ── socket pair ── Connection, and after a hijack the container's monitor

A TLS connection can't be handed to a monitor: its keys and state are in this process. So each one gets a socket pair,
of which everything behind sees the plain end, as if a client had connected to the unix socket. That end is handed over
like any other, and what goes through it is copied here, one piece at a time: a side that does not read stops the other
through the kernel's buffers, a side that says no more is told to the other as a half-close, and a client that is gone
ends its relay at once. What a stop of the daemon costs is these connections; their containers go on.

See: RFC 8446; the plain end's rules: ../engine/attach.py, csrc/client.c. Read next: ../wire/tls.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from minidock.linux.hangup import HangUp
from minidock.wire.errors import InvalidArgument
from minidock.wire.tls import BadTls, Channel

HANDSHAKE_SECONDS = 10
FLUSH_SECONDS = 30
LINGER_SECONDS = 2
_PIECE = 65536
_PLAIN_HTTP = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)

log = logging.getLogger("minidock.api")


@dataclass(frozen=True)
class Material:
    """--tlscacert, --tlscert, --tlskey, and --tlsverify: whether clients must prove that the authority knows them."""

    authority: Path
    certificate: Path
    key: Path
    verify: bool

    def context(self) -> ssl.SSLContext:
        """What the listener speaks. Raises InvalidArgument for files that can't be read or do not fit together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0  # who comes again shows the certificate again: it may have expired
        with _reading(self.certificate, self.key):
            context.load_cert_chain(self.certificate, self.key)
        if self.verify:
            with _reading(self.authority):
                context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextmanager
def _reading(*paths: Path) -> Iterator[None]:
    """Turns trouble with certificates into words that name the file."""
    for path in paths:
        if not path.is_file():
            raise InvalidArgument(f"TLS: there is no file {path}", "give --tlscacert, --tlscert and --tlskey")
    try:
        yield
    except (OSError, ValueError) as error:
        names = " and ".join(map(str, paths))
        raise InvalidArgument(
            f"TLS: {names}: {str(error).lower()}", "PEM, and a key that fits its certificate"
        ) from None


class Relay:
    """One client's connection, until one of its two sides is over."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._channel = Channel(context, server=True)
        self._sending = asyncio.Lock()
        self._plain: socket.socket | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self.served: asyncio.Future[None] = self._loop.create_future()
        """Done when nobody holds the plain end any more."""

    async def open(self) -> socket.socket | None:
        """The plain end, for who serves the client; None if it may not be served."""
        sock, peer = self._sock, _address(self._sock)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                while not self._channel.shake_hands():
                    await self._flush()
                    self._channel.feed(await self._loop.sock_recv(sock, _PIECE))
                await self._flush()
        except TimeoutError:
            log.info("client %s: no TLS handshake in %d s", peer, HANDSHAKE_SECONDS)
        except BadTls as error:
            log.info("client %s: TLS refused: %s", peer, error.reason or error)
            await self._refuse(_PLAIN_HTTP if error.reason == "HTTP_REQUEST" else self._channel.pending())
        except OSError as error:
            log.info("client %s: %s", peer, error)
        else:
            log.debug("connection from %s, certificate of %r", peer, self._channel.peer())
            self._plain, theirs = socket.socketpair()
            self._plain.setblocking(False)
            theirs.setblocking(False)
            return theirs
        sock.close()
        return None

    async def _refuse(self, last_words: bytes) -> None:
        """The alert, and time to read it: closing over unread input would reset the connection under it."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._loop.sock_sendall(self._sock, last_words)
                self._sock.shutdown(socket.SHUT_WR)
                while await self._loop.sock_recv(self._sock, _PIECE):
                    pass

    async def run(self) -> None:
        """Carries both directions. What was on its way when the plain end was closed still goes out, within limits."""
        assert self._plain is not None
        tasks = [self._loop.create_task(self._inward(self._plain)), self._loop.create_task(self._outward(self._plain))]
        watches = [
            HangUp(self._sock, lambda: _resolve(self._over), half=False),
            HangUp(self._plain, lambda: self._left(watches[1]), half=False),
        ]
        try:
            await asyncio.wait({self._over, self.served}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({self._over, tasks[1]}, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({self._over}, timeout=LINGER_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            for watch in watches:
                watch.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._plain.close()
            self._sock.close()

    def _left(self, watch: HangUp) -> None:
        """Nobody holds the plain end any more."""
        watch.close()
        _resolve(self.served)

    async def _inward(self, plain: socket.socket) -> None:
        """From the client to the container. At its end the client is gone."""
        taken = True
        try:
            while (data := await self._read()) != b"":
                try:
                    if taken:
                        await self._loop.sock_sendall(plain, data)
                except OSError:
                    taken = False  # nobody reads it any more; the answer may still be on its way to the client
            if taken:
                with suppress(OSError):
                    plain.shutdown(socket.SHUT_WR)
            while await self._loop.sock_recv(self._sock, _PIECE):
                pass  # after its close_notify a client has nothing to say, but its going is news
        except OSError as error:
            log.debug("client %s: %s", _address(self._sock), error)
        finally:
            _resolve(self._over)

    async def _read(self) -> bytes:
        while (data := self._channel.read()) is None:
            await self._flush()
            self._channel.feed(await self._loop.sock_recv(self._sock, _PIECE))
        return data

    async def _outward(self, plain: socket.socket) -> None:
        """From the container to the client."""
        try:
            while data := await _receive(plain):
                self._channel.write(data)
                await self._flush()
            self._channel.end()
            await self._flush()
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            log.debug("client %s: %s", _address(self._sock), error)
            _resolve(self._over)

    async def _flush(self) -> None:
        """Sends what is encrypted. In turn: records must arrive in the order in which they were made."""
        async with self._sending:
            while data := self._channel.pending():
                await self._loop.sock_sendall(self._sock, data)


async def _receive(plain: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(plain, _PIECE)
    except ConnectionResetError:
        return b""  # it was closed with input unread, which is how an ended container leaves


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _address(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return "that has gone"
