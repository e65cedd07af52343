"""The cgroups above a container's own: how controllers come down through them, and `--cgroup-parent`, which names one.

    run --cgroup-parent team/web      <base>/team/web/<id>     below the daemon's base, so ours: made for the first
                                                               container in it, removed with the last
    run --cgroup-parent /ci.slice     <mount>/ci.slice/<id>    somebody else's, who made it, limits all that is in it
                                                               and removes it; it has to be there

Docker makes what is missing in both, and leaves it behind. A cgroup outside of the base is not ours to make: one that a
misspelt name made would have no limits, which is what it was named for.

No name leads up ("..") or into a container, and none of the base's own cgroups is a parent (CVE-2022-0492 is what a
cgroup path from outside can do). Serves tree.py. See: cgroup-v2.rst, "Top-down Constraint", "No Internal Process
Constraint"; moby daemon/oci_linux.go, WithCgroups. Read next: tree.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from minidock.linux.reason import reason
from minidock.wire.errors import InvalidArgument, Unavailable
from minidock.wire.names import is_id

CONTROLLERS = ("cpuset", "cpu", "hugetlb", "io", "memory", "pids")
"""What is handed down to containers, where the machine has it."""

OURS = ("monitors", "daemon")
"""Cgroups in the base that hold no container."""


def hand_down(directory: Path) -> dict[str, str]:
    """Adds to subtree_control what is available and not yet handed on; returns what is refused, with the reason.

    One by one: one refusal must not cost the others. Nothing is tried on an inner node with processes in it. The
    kernel would refuse memory and io there, but take cpu, cpuset and pids, and turn all cgroups below into "domain
    invalid" ones, which no container can enter. The real root is exempt from the rule; it alone has no cgroup.type.
    """
    available = (directory / "cgroup.controllers").read_text().split()
    active = (directory / "cgroup.subtree_control").read_text().split()
    wanted = [name for name in CONTROLLERS if name in available and name not in active]
    if wanted and (directory / "cgroup.type").exists() and (directory / "cgroup.procs").read_text():
        return dict.fromkeys(wanted, f"{directory} can't hand it on, processes are in it")
    refused = {}
    for name in wanted:
        try:
            (directory / "cgroup.subtree_control").write_text(f"+{name}")
        except OSError as error:
            refused[name] = f"{directory} can't hand it on: {reason(error)}"
    return refused


def downwards(top: Path, directory: Path) -> list[Path]:
    """The cgroups from ``top`` down to ``directory``, both included."""
    return [*reversed([parent for parent in directory.parents if parent.is_relative_to(top)]), directory]


def resolve(parent: str, base: Path, mount: Path) -> Path:
    """The directory that a --cgroup-parent means. Raises InvalidArgument; looks at nothing but the text."""
    parts = [part for part in parent.split("/") if part]
    if not parent.isprintable() or {".", ".."} & set(parts) or len(parent) > 1024 or any(len(p) > 255 for p in parts):
        raise InvalidArgument(f"invalid cgroup parent {parent!r}", "a path of names, such as team/web or /ci.slice")
    directory = (mount if parent.startswith("/") else base).joinpath(*parts)
    if directory.is_relative_to(base):
        below = directory.relative_to(base).parts
        if any(is_id(part) for part in below) or below[:1] in [(name,) for name in OURS]:
            raise InvalidArgument(f"invalid cgroup parent {parent!r}: it is not for containers", "choose another name")
    return directory


def make(directory: Path, base: Path, mount: Path) -> dict[str, str]:
    """Makes it if it is below the base, and hands controllers down to it; returns what was refused on the way."""
    if directory.is_relative_to(base):
        for path in downwards(base, directory):
            path.mkdir(exist_ok=True)
    if not (directory / "cgroup.controllers").is_file():
        raise InvalidArgument(
            f"cgroup parent {directory}: it does not exist",
            "make it first, or name one without a slash in front: minidock makes that, below its own cgroup",
        )
    refused: dict[str, str] = {}
    try:
        for path in downwards(mount, directory):
            refused |= hand_down(path)
    except OSError as error:
        raise Unavailable(f"cgroup parent {directory}: {reason(error)}") from error
    return refused


def prune(directory: Path, base: Path) -> None:
    """Removes a cgroup below the base and those above it, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        while directory != base and directory.is_relative_to(base):
            directory.rmdir()
            directory = directory.parent


def groups(base: Path) -> Iterator[Path]:
    """The cgroups below the base that --cgroup-parent made, those at the bottom first."""
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(base) as entries:  # it may go as we look
        found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    for path in found:
        if not is_id(path.name) and path.name not in OURS:
            yield from groups(path)
            yield path
