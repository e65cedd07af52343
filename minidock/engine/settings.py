"""What the daemon was told at its start: roots, bridge, registries. Immutable; made by daemon.py.

Paths that several modules must agree on are derived here, and so is the instance, which names the kernel objects of
this daemon and keeps two daemons on one machine apart. Read next: daemon.py.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minidock.linux.idmap import IdMap


@dataclass(frozen=True)
class Settings:
    """One daemon instance. Two of them run side by side if their roots and bridges differ.

    ``remap``: the numbers that users of containers have on the host (``--userns-remap``).
    ``cgroup_parent``: that of containers which ask for none.
    """

    data_root: Path
    exec_root: Path
    bridge: str = "minidock0"
    bip: str = ""
    group: str = "minidock"
    mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    ready_sandboxes: int = 0
    ipv6: bool = False
    fixed_cidr_v6: str = ""
    address_pools: tuple[str, ...] = ()
    no_new_privileges: bool = False
    cgroup_parent: str = ""
    remap: IdMap | None = None

    @cached_property
    def instance(self) -> str:
        """Eight digits that name this data root; part of the names of its kernel objects."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.data_root))).hexdigest()[:8]

    def container_directory(self, ident: str) -> Path:
        """Where a container's durable files are."""
        return self.data_root / "containers" / ident

    def monitor_directory(self, ident: str) -> Path:
        """Where the monitor of a container or an exec has its socket and leaves its exit record."""
        return self.exec_root / "monitors" / ident
