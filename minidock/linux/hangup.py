"""Hang-ups: told that the other end of a socket is gone, without reading from the socket.

A loop's reader hears of input and of the end alike, so whoever leaves early input in the kernel's buffer must stop
listening and never hears of the end. An epoll object that asks for no input hears of the end alone; its own fd is
readable then, and that is what the loop watches. Serves engine/attach.py (clients that wait for a start) and
api/connection.py (clients that only watch).
See: epoll_ctl(2), EPOLLRDHUP and EPOLLHUP.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable


class HangUp:
    """Calls ``gone`` when the other end has closed its socket; with ``half`` also when it only sends no more.

    It goes on calling until it is closed. Close it before the socket is closed or given away.
    """

    def __init__(self, sock: socket.socket, gone: Callable[[], object], half: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        # EPOLLHUP (both directions are shut) and EPOLLERR are told without being asked for.
        self._epoll.register(sock, select.EPOLLRDHUP if half else 0)
        self._loop.add_reader(self._epoll, gone)

    def close(self) -> None:
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll)
            self._epoll.close()
