"""poll(2) on one descriptor: is it ready, now or within a time?

select(2) has no room for descriptors from 1024 on, which a daemon of many containers and clients has: Python's raises
ValueError for them. Serves the engine (whether a process has ended, by its pidfd) and runtime/monitor.py.
"""

from __future__ import annotations

import select

READABLE, WRITABLE = select.POLLIN, select.POLLOUT


def ready(fd: int, event: int, seconds: float = 0.0) -> bool:
    """Whether the event comes within so many seconds; an error or a hang-up counts as one."""
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(seconds * 1000))
