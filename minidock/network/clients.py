"""Taking clients from a listening socket by a reader of the loop.

Where the daemon has no file descriptor left, a client waits in the backlog and the listener stays readable: without a
pause its reader would be called again and again. Serves relay.py and resolver.py; the API's own server awaits instead.
See: accept(2).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

_FOR_A_WHILE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.2  # seconds


def take(loop: asyncio.AbstractEventLoop, listener: socket.socket, reader: Callable[[], None]) -> socket.socket | None:
    """The next client, not blocking; None if there is none, or nothing to hold one with: ``reader`` rests then."""
    try:
        client, _ = listener.accept()
    except OSError as error:
        if error.errno in _FOR_A_WHILE:
            loop.remove_reader(listener)
            loop.call_later(_PAUSE, _resume, loop, listener, reader)
        return None
    client.setblocking(False)
    return client


def _resume(loop: asyncio.AbstractEventLoop, listener: socket.socket, reader: Callable[[], None]) -> None:
    if listener.fileno() >= 0:  # closed meanwhile
        loop.add_reader(listener, reader)
