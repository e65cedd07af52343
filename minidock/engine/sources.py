"""A look at the host's paths that a container is to be given, before anything else of the daemon touches them.

A path may lie on a file system whose server has gone away; whoever asks for it then waits, perhaps for ever, and the
daemon would wait with all its clients. So the first to ask is one of a few threads that have nothing else to do, and
the request is refused when no answer comes. (At the start it is a step of the plan that waits: csrc/report.c.)

Serves engine.py. Read next: mounts.py.
"""

from __future__ import annotations

import asyncio
import os

from minidock.engine.config import HostConfig
from minidock.linux.pool import pool
from minidock.wire.errors import Unavailable

LIMIT = 10.0  # seconds
MOST = 4  # threads; one that waits for ever is lost until its file system answers


class Sources:
    """The threads."""

    def __init__(self) -> None:
        self._threads = pool(MOST, "sources")

    async def look(self, host: HostConfig) -> None:
        """Whether the sources of its bind mounts can be looked at. Raises Unavailable, which names one that can't."""
        paths = [text.split(":")[0] for text in host.binds or ()]
        paths += [mount.source for mount in host.mounts or () if mount.type == "bind"]
        left = [path for path in dict.fromkeys(paths) if path.startswith("/")]
        if not left:
            return
        try:
            async with asyncio.timeout(LIMIT):
                await asyncio.get_running_loop().run_in_executor(self._threads, _look_at_all, left)
        except TimeoutError:
            raise Unavailable(
                f"look at {left[0] if left else paths[-1]}: no answer within {LIMIT:.0f} s",
                "does a network or FUSE file system not answer?",
            ) from None


def _look_at_all(left: list[str]) -> None:
    """Takes out of the list what has been looked at."""
    while left:
        os.path.lexists(left[0])
        left.pop(0)
