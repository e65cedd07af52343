"""TLS to the daemon: a thread that turns a plain socket into a secured connection.

For connection.py, which imports this only where TLS is wanted: ssl takes longer to import than `minidock ps` runs. The
rest of the client gets one end of a socket pair and treats it as the daemon's socket: poll, half-close and hijack work
on it as they do on the unix socket, which they would not on an SSL object. Read next: ../wire/tls.py.
"""

from __future__ import annotations

import ssl
from _socket import socket, socketpair
from contextlib import suppress
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from threading import Thread

from minidock.client.endpoint import Tls
from minidock.wire.errors import InvalidArgument
from minidock.wire.tls import BadTls, Channel

_PIECE = 65536
_GONE = POLLHUP | POLLERR


def context(tls: Tls) -> ssl.SSLContext:
    """What docker's client demands of a daemon, and shows it. Raises InvalidArgument for files that are not right."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if tls.verify:
            found.load_verify_locations(tls.authority)
        else:
            found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
        if tls.certificate:
            found.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (tls.authority, tls.certificate, tls.key)))
        raise InvalidArgument(
            f"TLS: {files}: {str(error).lower()}", "PEM, and a key that fits its certificate"
        ) from None
    return found


class Secured:
    """A connection that is secured: ``plain`` is our end of it, ``trouble`` why it broke, once it has."""

    def __init__(self, wire: socket, address: str, tls: Tls) -> None:
        """Shakes hands on a connected socket. Raises BadTls and other OSErrors."""
        self._wire = wire
        self._channel = Channel(context(tls), server=False, hostname=address)
        while not self._channel.shake_hands():
            self._flush()
            self._channel.feed(wire.recv(_PIECE))
        self._flush()
        wire.settimeout(None)
        self.plain, self._inner = socketpair()
        self._to_plain = self._to_wire = b""
        self._reading = self._writing = True  # what the daemon says; what we say
        self._trouble = ""
        Thread(target=self._run, daemon=True).start()

    def trouble(self) -> str:
        return self._trouble

    def _flush(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # why it broke off is still to be read
            self._wire.sendall(self._channel.pending())

    def _run(self) -> None:
        self._wire.setblocking(False)
        self._inner.setblocking(False)
        try:
            while self._turn():
                pass
        except OSError as error:
            self._trouble = (error.strerror or str(error)).lower()
        self._inner.close()
        self._wire.close()

    def _turn(self) -> bool:
        """Waits until something can be moved, and moves it. Each direction holds one piece at most."""
        waiting = poll()
        wire = (POLLOUT if self._to_wire else 0) | (POLLIN if self._reading and not self._to_plain else 0)
        inner = (POLLOUT if self._to_plain else 0) | (POLLIN if self._writing and not self._to_wire else 0)
        if wire or not self._to_plain:  # else its end is no news yet, and poll would tell it again and again
            waiting.register(self._wire, wire)
        if inner or not self._to_wire:
            waiting.register(self._inner, inner)
        ready = dict(waiting.poll())
        at_wire, at_inner = ready.get(self._wire.fileno(), 0), ready.get(self._inner.fileno(), 0)
        if at_inner & (POLLIN | _GONE) and self._writing and not self._to_wire:
            self._take_plain()
        elif at_inner & _GONE:
            return False  # our own side has closed
        if at_wire & (POLLIN | _GONE) and self._reading and not self._to_plain:
            self._take_wire()
        self._to_plain = _put(self._inner, self._to_plain)
        self._to_wire = _put(self._wire, self._to_wire)
        return bool(self._reading or self._to_plain)  # else the daemon has closed, and what it said is delivered

    def _take_plain(self) -> None:
        try:
            data = self._inner.recv(_PIECE)
        except ConnectionResetError:
            data = b""
        if data:
            self._channel.write(data)
        else:
            self._writing = False
            self._channel.end()
        self._to_wire += self._channel.pending()

    def _take_wire(self) -> None:
        try:
            self._channel.feed(self._wire.recv(_PIECE))
        except BlockingIOError:
            return
        try:
            while (data := self._channel.read()) is not None and self._reading:
                self._reading = bool(data)
                self._to_plain += data
        except BadTls as error:  # what came before it is still to be delivered
            self._trouble, self._reading = reason(error), False
        self._to_wire += self._channel.pending()


def _put(sock: socket, data: bytes) -> bytes:
    """Sends what is taken at once; the rest."""
    try:
        return data[sock.send(data) :] if data else b""
    except BlockingIOError:
        return data


def reason(error: BadTls) -> str:
    """What went wrong, in words: ``certificate verify failed: hostname mismatch …``."""
    words = (error.reason or str(error)).lower().replace("_", " ")
    detail = getattr(error, "verify_message", "")
    return f"{words}: {detail.rstrip('.').lower()}" if detail else words
