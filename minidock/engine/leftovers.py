"""Leftovers: what exists on the machine in this instance's name and belongs to no container, network or volume.

One search serves two: ``minidock doctor --leaks`` shows what it finds, and the next start of the daemon takes exactly
that away (restore.py). It looks at the kernel and the disk, and holds each thing against the database: cgroups, links
on our bridges, address leases, directories of containers, volumes and monitors, and the trash.

While the daemon serves, a container that is just being started, ended or removed has things that its row does not tell
of yet; ``busy`` names those, and they are passed over. Everything blocks; changes nothing until ``take`` is called.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minidock.engine.networking.endpoints import Endpoints
from minidock.engine.parts import Parts
from minidock.network import user, veth
from minidock.network.leases import READY
from minidock.wire.errors import Unavailable


@dataclass(frozen=True)
class Leftover:
    """``kind`` and ``name`` as a person would look for it, why nobody owns it, and how to be rid of it."""

    kind: str
    name: str
    why: str
    take: Callable[[], object]


def busy(parts: Parts) -> set[str]:
    """The containers that are on their way from one state to another."""
    found = set()
    for container in parts.containers.all():
        live = parts.containers.live(container)
        if live.lock.locked() or (live.letting_go and not live.letting_go.done()):
            found.add(container.id)
    return found


def find(parts: Parts, endpoints: Endpoints, alive: set[str]) -> list[Leftover]:
    """All of it. ``alive``: the ids of containers that may have processes, cgroups, links and leases."""
    return [
        *_cgroups(parts, alive),
        *_leases(parts, endpoints, alive),
        *_links(parts),
        *_directories(parts),
        *_trash(parts),
    ]


def monitors(parts: Parts, known: set[str]) -> Iterator[Leftover]:
    """Monitors' directories that are none of ``known`` (containers that run, execs): for the report only, since
    restore asks each monitor whether it still has something to supervise. One with an end that is not on record stays.
    """
    for entry in _entries(parts.settings.exec_root / "monitors"):
        if entry.name not in known | parts.containers.unwritten:
            yield Leftover("monitor", entry.name[:12], "neither a running container nor an exec has it", lambda: None)


def look(parts: Parts, endpoints: Endpoints, alive: set[str]) -> list[Leftover]:
    """For the report: all of it, and ports that are published for nobody, whose tables a start makes anew anyway."""
    return [*find(parts, endpoints, alive), *_ports(parts)]


def _ports(parts: Parts) -> Iterator[Leftover]:
    with suppress(OSError, Unavailable):  # without nft there are none
        for name in parts.ports.strays(parts.settings.instance):
            yield Leftover("port", name, "no running container publishes it", lambda: None)


def _cgroups(parts: Parts, alive: set[str]) -> Iterator[Leftover]:
    def take(ident: str) -> None:
        parts.cgroups.kill(ident)
        parts.cgroups.remove(ident)

    for ident in sorted(parts.cgroups.list() - alive):
        yield Leftover("cgroup", ident[:12], "no running container has it", functools.partial(take, ident))


def _leases(parts: Parts, endpoints: Endpoints, alive: set[str]) -> Iterator[Leftover]:
    found: dict[str, list[str]] = {}
    for row in parts.db.query("SELECT container, address FROM leases"):
        found.setdefault(row["container"], []).append(row["address"])
    for ident in sorted(found.keys() - alive):
        name = f"{', '.join(found[ident])} of {ident[:12]}"
        why = "the daemon that held it ready is gone" if ident.startswith(READY) else "that container does not run"
        yield Leftover("lease", name, why, functools.partial(endpoints.release, ident))


def _links(parts: Parts) -> Iterator[Leftover]:
    """Order: after the leases, which take the links that they name along."""
    if parts.bridge is None:
        return
    bridges = {row["bridge"] for row in parts.db.query("SELECT bridge FROM networks")}
    ports = {veth.port_name(row["endpoint"]) for row in parts.db.query("SELECT endpoint FROM leases")}
    for name in user.stale(parts.bridge.mark, bridges, ports):
        yield Leftover("link", name, "no endpoint has it", functools.partial(user.take, name, parts.bridge.mark))


def _directories(parts: Parts) -> Iterator[Leftover]:
    known = parts.containers.known_ids()
    for entry in _entries(parts.settings.data_root / "containers"):
        if entry.name not in known:
            take = functools.partial(parts.trash.take, entry)
            yield Leftover("directory", f"containers/{entry.name[:12]}", "no container has it", take)
    for entry in parts.volumes.empty_strays():
        yield Leftover("directory", f"volumes/{entry.name}", "no volume has it, and it is empty", _Remover(entry))


@dataclass(frozen=True)
class _Remover:
    """rmdir of a volume's directory and of what is expected in it; deletes no data."""

    path: Path

    def __call__(self) -> None:
        for path in (self.path / "_data", self.path):
            if path.is_dir():
                path.rmdir()


def _trash(parts: Parts) -> Iterator[Leftover]:
    """What is in the trash is on its way out; it is a leftover if nobody is at it any more."""
    for entry in parts.trash.stuck():
        yield Leftover("trash", entry.name, "it could not be deleted", functools.partial(parts.trash.take, entry))


def _entries(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        yield from sorted(Path(entry.path) for entry in entries)
