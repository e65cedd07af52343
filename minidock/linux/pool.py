"""Pools of threads whose members have names that the kernel knows, too: ``slow_3``.

``top -H`` and ``ps -T`` show them, and the leak ledger of the tests can tell a pool's thread, which stays, from one
that somebody has started and forgotten: that one has the name of the thread it was started from.

Serves daemon.py and the engine. See: prctl(2), PR_SET_NAME (15 characters).
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import prctl


def pool(most: int, name: str) -> ThreadPoolExecutor:
    """An executor of at most so many threads."""
    return ThreadPoolExecutor(most, name, _take_name)


def _take_name() -> None:
    prctl.set_name(threading.current_thread().name)
