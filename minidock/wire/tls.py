"""TLS without a socket: ciphertext in, plaintext out, and the other way round.

Both sides of an API connection over TCP use it: the daemon from its event loop (api/tls.py), the client from a thread
(client/tls.py). The ssl module's own sockets can't be used for this: on them, and on asyncio's, the end of one
direction is the end of both, but `docker exec -i` ends its input and then reads output. In TLS an end is an alert,
close_notify, and a connection that ends without it was cut, by an accident or by somebody.

See: RFC 8446 6.1 (closure alerts); SSL_shutdown(3), "an SSL connection can be used in one direction".
"""

from __future__ import annotations

import ssl
from contextlib import suppress

_RECORD = 16384

BadTls = ssl.SSLError
"""What the functions below raise: the peer broke off, is no TLS, or is not who it must be."""


class Channel:
    """One end of a TLS connection. What ``pending`` gives must be sent before anything is waited for."""

    def __init__(self, context: ssl.SSLContext, server: bool, hostname: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server, hostname)

    def feed(self, ciphertext: bytes) -> None:
        """What came from the other end; b"" when the connection has ended."""
        if ciphertext:
            self._incoming.write(ciphertext)
        else:
            self._incoming.write_eof()

    def pending(self) -> bytes:
        """What is to be sent to the other end, once."""
        return self._outgoing.read()

    def shake_hands(self) -> bool:
        """Goes on with the handshake; whether it is done. Raises BadTls."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def peer(self) -> str:
        """The common name in the peer's certificate, "" if there is none."""
        names = (self._ssl.getpeercert() or {}).get("subject", ())
        return next((str(pair[1]) for group in names for pair in group if pair[0] == "commonName"), "")

    def read(self) -> bytes | None:
        """The next piece of plaintext, b"" for the end that the peer declared, None if more must be fed first.

        Raises BadTls, also for an end that the peer did not declare.
        """
        try:
            return self._ssl.read(_RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:  # the end of the peer, after our own
            return b""

    def write(self, plaintext: bytes) -> None:
        """Encrypts; the result is ``pending``."""
        self._ssl.write(plaintext)

    def end(self) -> None:
        """Declares that nothing more will be written; reading goes on."""
        with suppress(ssl.SSLError):  # unwrap would like to see the peer declare the same
            self._ssl.unwrap()
