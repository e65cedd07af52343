"""What the engine is made of, gathered by daemon.py and shared by the modules of the engine.

One object instead of a dozen arguments: whoever needs the database of containers, the images and the cgroups gets them
from here, and nothing in the engine is global. Read next: engine.py, the verbs; daemon.py, where the parts are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from minidock.cgroup.tree import CgroupTree
from minidock.db import Database
from minidock.engine.cancellation import to_its_end
from minidock.engine.containers import Containers
from minidock.engine.events import Events
from minidock.engine.networking.ports import Ports
from minidock.engine.settings import Settings
from minidock.engine.trash import Trash
from minidock.engine.users import Accounts
from minidock.engine.volumes import Volumes
from minidock.image.store import ImageStore
from minidock.linux.pool import pool
from minidock.network.bridge import Bridge
from minidock.wire.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """One of each. ``bridge`` is None, with the reason, where the machine can't have one."""

    settings: Settings
    images: ImageStore
    containers: Containers
    volumes: Volumes
    events: Events
    trash: Trash
    cgroups: CgroupTree
    db: Database
    bridge: Bridge | None
    no_bridge: str
    monitor_binary: int
    ports: Ports
    accounts: Accounts = field(default_factory=Accounts)
    slow_threads: ThreadPoolExecutor = field(default_factory=lambda: pool(64, "slow"))

    async def slowly(self, function: Callable[[], T]) -> T:
        """Runs it in one of the threads whose pace a client or a registry sets, apart from those of the life cycle."""
        return await asyncio.get_running_loop().run_in_executor(self.slow_threads, function)

    async def wholly(self, function: Callable[[], T]) -> T:
        """The same, to its end (cancellation.py)."""
        return await to_its_end(self.slowly(function))

    def the_bridge(self) -> Bridge:
        """The default network. Raises Unavailable with the reason where there is none."""
        if self.bridge is None:
            raise Unavailable(f"network bridge: {self.no_bridge}", "run with --network none or --network host")
        return self.bridge
