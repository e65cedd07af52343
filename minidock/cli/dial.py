"""`minidock system dial-stdio`: standard input and output joined to the daemon's socket.

What `minidock -H ssh://…` runs at the other end, as docker's client runs `docker system dial-stdio`; hidden, since
nobody types it. The end of standard input is a half-close, as on the socket itself; the end of the socket is the end of
the command. See: docker/cli, cli/command/system/dial_stdio.go. Read next: ../client/ssh.py, who calls this.
"""

from __future__ import annotations

import os
from _socket import SHUT_WR
from contextlib import suppress
from select import POLLERR, POLLHUP, POLLIN, poll

from minidock.cli.verb import client, verb
from minidock.client.connection import Connection, Socket

_PIECE = 1 << 16
_GONE = POLLHUP | POLLERR


@verb("dial-stdio", hidden=True)
def dial_stdio_command() -> None:
    """Proxy the stdio stream to the daemon connection"""
    connection = Connection(client().endpoint)
    with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked has gone
        _join(connection.socket)


def _join(sock: Socket) -> None:
    """Copies both ways until the daemon has ended the connection, or nobody reads what it says."""
    waiting = poll()
    waiting.register(0, POLLIN)
    waiting.register(1, 0)
    waiting.register(sock, POLLIN)
    while True:
        ready = dict(waiting.poll())
        if ready.get(0):
            data = os.read(0, _PIECE)
            with suppress(BrokenPipeError):  # the daemon takes no more, but may have an answer
                sock.sendall(data) if data else sock.shutdown(SHUT_WR)
            if not data:
                waiting.unregister(0)
        if ready.get(sock.fileno()):
            data = sock.recv(_PIECE)
            if not data:
                return
            _write(data)
        elif ready.get(1, 0) & _GONE:
            return


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
