"""The cgroups of one daemon: made, limited, frozen, killed, removed.

    <cgroup2 mount>/
      minidock-1a2b3c4d/        base: ours alone, one per data root; holds no process itself
        monitors/               all monitors (they must survive a kill of their container, so they are beside it)
        3f2a…/                  a container; what is below it is the container's own business
        daemon/                 the daemon, only where systemd delegated the base to it
        team/web/3f2a…/         a container with --cgroup-parent team/web (parents.py)

Two rules of cgroup v2 shape this. A controller is available in a cgroup only if each cgroup above hands it on in its
cgroup.subtree_control ("top-down"). And a cgroup that hands controllers on can't hold processes, the real root excepted
("no processes in inner nodes"). Outside of the base nothing is written but the subtree_control of the cgroups above it.

Container ids are checked before they become a path (CVE-2022-0492), and so is --cgroup-parent.
Serves the engine. See: cgroup-v2.rst, "Organizing Processes and Threads". Read next: parents.py, limits.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minidock.cgroup import limits as limits_module
from minidock.cgroup import parents
from minidock.cgroup.find import Cgroup2, own_cgroup
from minidock.cgroup.limits import Limits, Setting
from minidock.cgroup.stats import Stats, read_counter, read_stats
from minidock.linux.reason import reason
from minidock.wire.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    ServerError,
    Unavailable,
)
from minidock.wire.names import is_id

FREEZE_TIME = 10.0
"""Seconds: a process in uninterruptible sleep (a hung network file system) can't be frozen."""

REMOVE_TIME = 5.0
"""Seconds that killed processes get to be gone."""


class CgroupTree:
    """The verbs. ``base`` is relative to the mount (find.choose_base); call ``setup`` once before all else.

    No state but what ``setup`` found out and ``place`` was told: every verb looks at the kernel, so threads and
    restarts need no care.
    """

    def __init__(self, base: Path, mount: Cgroup2) -> None:
        self.mount = mount
        self.base = mount.mount / base
        self.monitors = self.base / "monitors"
        self._refused: dict[str, str] = {}
        self._files: frozenset[str] = frozenset()
        self._parents: dict[str, Path] = {}  # of containers with --cgroup-parent
        self._making = threading.Lock()  # a parent is not to go between its own making and that of what it is for

    def setup(self) -> None:
        """Makes base and monitors and hands the controllers down, as far as the machine lets us; idempotent."""
        try:
            self.base.mkdir(exist_ok=True)
            self.monitors.mkdir(exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"make cgroup {self.base}: {reason(error)}",
                "the daemon must be root and own this cgroup",
            ) from error
        self._leave_base()
        self._refused = {}
        for directory in parents.downwards(self.mount.mount, self.base):
            self._refused |= parents.hand_down(directory)
        # monitors/ is a sibling of the containers: a limit's file exists in theirs if it exists there.
        self._files = frozenset(os.listdir(self.monitors))
        for directory in [*parents.groups(self.base)]:  # empty ones that a crash left
            parents.prune(directory, self.base)

    def close(self) -> None:
        """At the daemon's end: what ``setup`` made goes, unless containers run on in it."""
        with contextlib.suppress(OSError):  # EBUSY, ENOTEMPTY
            self.monitors.rmdir()
            self.base.rmdir()

    def _leave_base(self) -> None:
        """A daemon that finds itself in the base moves to base/daemon: inner nodes hold no processes."""
        own = own_cgroup(self.mount)
        if own is not None and self.mount.mount / own == self.base:
            (self.base / "daemon").mkdir(exist_ok=True)
            (self.base / "daemon" / "cgroup.procs").write_text("0")

    # ---- a container's cgroup ---------------------------------------------------------------------------------------

    def path(self, container_id: str, parent: str = "") -> Path:
        """The directory of a container's cgroup, whether or not it exists; ``parent``: of one that nobody placed."""
        if not is_id(container_id):
            raise InvalidArgument(f"invalid container id {container_id!r}")
        if parent:
            return parents.resolve(parent, self.base, self.mount.mount) / container_id
        return self._parents.get(container_id, self.base) / container_id

    def place(self, container_id: str, parent: str) -> None:
        """Tells which --cgroup-parent a container has: before all else that is done with it. Makes nothing."""
        if parent:
            self._parents[container_id] = parents.resolve(parent, self.base, self.mount.mount)

    def check(self, limits: Limits, parent: str = "") -> list[str]:
        """What would be answered to these limits: the warnings, or InvalidArgument. Touches nothing."""
        parents.resolve(parent, self.base, self.mount.mount)
        limits_module.check(limits, os.cpu_count() or 1)
        limits_module.check_page_sizes(limits.hugepages, self._files)
        for what, wanted, kind in (("CPUs", limits.cpuset_cpus, "cpus"), ("memory nodes", limits.cpuset_mems, "mems")):
            if self._has(f"cpuset.{kind}"):
                available = (self.base / f"cpuset.{kind}.effective").read_text()
                limits_module.check_available(what, wanted, available)
        return limits_module.warnings(limits, self._has, self._why)

    def create(self, container_id: str, limits: Limits) -> tuple[Path, list[str]]:
        """A fresh cgroup with its limits: counters at zero, no process. Raises Conflict if processes are in it.

        Order: before clone3, which puts the container's first process into it (CLONE_INTO_CGROUP), so that no
        instruction of the container runs without limits.
        """
        path, found = self.path(container_id), self.check(limits)
        if path.exists():
            self._refuse_populated(path)
            self._remove(path)
        with self._making:
            apart = path.parent != self.base
            refused = parents.make(path.parent, self.base, self.mount.mount) if apart else self._refused
            path.mkdir()
        try:
            self._write(path, limits, refused)
        except BaseException:
            self.remove(container_id)
            raise
        return path, found

    def update(self, container_id: str, limits: Limits) -> list[str]:
        """Changes the limits of a live container to what ``limits`` names; returns the warnings."""
        path, found = self._existing(container_id), self.check(limits)
        self._write(path, limits, self._refused)
        return found

    def _refuse_populated(self, path: Path) -> None:
        if read_counter(path / "cgroup.events", "populated"):
            raise Conflict(
                f"create cgroup {path}: processes are in it",
                "remove the container with force first",
            )

    def _write(self, path: Path, limits: Limits, refused: dict[str, str]) -> None:
        """What nobody has here was warned about. What only this container's parent does not hand on is an error."""
        for setting in limits_module.settings(limits):
            if not self._has(setting.file):
                continue
            if not (path / setting.file).exists():
                why = refused.get(setting.file.partition(".")[0], f"{path.parent} has it not")
                raise Unavailable(f"write {setting.value} to {setting.file}: {why}", "choose another --cgroup-parent")
            _write_setting(path, setting)

    def _has(self, file: str) -> bool:
        return file in self._files

    def _why(self, file: str) -> str:
        """Why a file is missing: no controller, one that was refused, or a kernel built without this part of it."""
        controller = file.partition(".")[0]
        if controller in self._refused:
            return f"{controller} controller: {self._refused[controller]}"
        if controller in self.mount.controllers:
            return f"no {file} in cgroup v2 at {self.base}"
        return f"no {controller} controller in cgroup v2 at {self.mount.mount}"

    def _existing(self, container_id: str) -> Path:
        path = self.path(container_id)
        if not path.is_dir():
            raise NotFound(f"No cgroup of container {container_id[:12]}: it is not running")
        return path

    # ---- what is in it ----------------------------------------------------------------------------------------------

    def pids(self, container_id: str) -> list[int]:
        """All processes of a container, those in cgroups that it made for itself included."""
        found: list[int] = []
        waiting = [str(self._existing(container_id))]
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
                found += map(int, Path(directory, "cgroup.procs").read_text().split())
            except OSError as error:
                # ENOENT, ENODEV: removed as we look. EOPNOTSUPP: threaded, its processes are listed further up.
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
        return sorted(found)

    def stats(self, container_id: str) -> Stats:
        """The counters. Without a pids controller processes are counted one by one."""
        stats = read_stats(self._existing(container_id))
        return stats if stats.pids_current is not None else replace(stats, pids_current=len(self.pids(container_id)))

    def oom_killed(self, container_id: str) -> bool:
        """Whether the kernel killed a process of the container for its memory limit."""
        return read_counter(self.path(container_id) / "memory.events", "oom_kill") > 0

    # ---- life and death ---------------------------------------------------------------------------------------------

    def kill(self, container_id: str) -> None:
        """SIGKILL to every process, those that are being forked included; no process can run away from it.

        Why: signalling pids one by one races with fork. Look: cat cgroup.events, populated goes to 0.
        """
        path = self.path(container_id)
        with _vanishing(path):
            try:
                (path / "cgroup.kill").write_text("1")
            except FileNotFoundError:
                if path.exists():
                    raise Unavailable("kill by cgroup: no cgroup.kill", "Linux 5.15 or later is needed") from None

    def freeze(self, container_id: str) -> None:
        """Stops every process and waits until they all stand still. Raises ServerError, thawed, if one won't."""
        path = self._existing(container_id)
        (path / "cgroup.freeze").write_text("1")
        if not _wait_for_event(path, "frozen", 1, FREEZE_TIME):
            (path / "cgroup.freeze").write_text("0")
            raise ServerError(f"freeze cgroup {path}: a process does not stop (state D in ps?)")

    def frozen(self, container_id: str) -> bool:
        """Whether every process of it stands still."""
        return read_counter(self.path(container_id) / "cgroup.events", "frozen") == 1

    def thaw(self, container_id: str) -> None:
        """Lets a frozen container run on."""
        path = self._existing(container_id)
        (path / "cgroup.freeze").write_text("0")
        if not _wait_for_event(path, "frozen", 0, FREEZE_TIME):
            raise ServerError(f"thaw cgroup {path}: it stays frozen")

    def remove(self, container_id: str) -> None:
        """Removes the cgroup and what the container made below it; one that does not exist is fine.

        Waits for processes that are dying, and raises Conflict if some are still there after that: kill first.
        """
        self._remove(path := self.path(container_id))
        if self._parents.pop(container_id, None):
            with self._making:
                parents.prune(path.parent, self.base)

    def _remove(self, path: Path) -> None:
        if not path.exists():
            return
        if not _wait_for_event(path, "populated", 0, REMOVE_TIME):
            raise Conflict(f"remove cgroup {path}: processes are in it", "kill the container first")
        deadline = time.monotonic() + REMOVE_TIME
        while path.exists():
            try:
                _remove_below(path)
                path.rmdir()
            except OSError as error:  # somebody else removes it, too: once more, with what is left
                if error.errno not in (errno.ENOENT, errno.ENODEV) or time.monotonic() > deadline:
                    raise

    def list(self) -> set[str]:
        """The ids that have a cgroup, whether or not anyone knows them. (Last, for its name hides the type's.)"""
        for group in parents.groups(self.base):
            with contextlib.suppress(FileNotFoundError):
                self._parents |= {name: group for name in os.listdir(group) if is_id(name)}
        apart = {ident for ident, parent in self._parents.copy().items() if (parent / ident).exists()}
        return apart | {entry.name for entry in os.scandir(self.base) if is_id(entry.name)}


@contextlib.contextmanager
def _vanishing(path: Path) -> Iterator[None]:
    """Lets pass that the cgroup goes away while we work on it: whoever removed it has done what we were about to do.

    What was open of a removed cgroup answers ENODEV, its path ENOENT.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV) or path.exists():
            raise


def _write_setting(path: Path, setting: Setting) -> None:
    """One limit into its file; the kernel's refusal becomes a message that names both."""
    try:
        (path / setting.file).write_text(setting.value)
    except OSError as error:
        text = f"write {setting.value} to {setting.file}: {reason(error)}"
        if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENODEV):
            raise InvalidArgument(text) from error
        if error.errno == errno.EBUSY:  # hugetlb
            raise Conflict(text, "the container uses more than that") from error
        if error.errno == errno.EOPNOTSUPP:  # io.weight of a device
            raise Unavailable(text, "write `MAJOR:MINOR enable=1` to io.cost.qos of the root cgroup first") from error
        raise ServerError(text) from error


def _wait_for_event(path: Path, key: str, value: int, seconds: float) -> bool:
    """Waits until cgroup.events says ``key value``; a cgroup that goes away meanwhile counts as yes.

    The kernel marks the file with POLLPRI at each change (cgroup-v2.rst, "[Un]populated Notification"), so this sleeps
    and does not spin. Register first, then read: a change in between is not lost.
    """
    deadline = time.monotonic() + seconds
    try:
        with open(path / "cgroup.events") as file:
            poller = select.poll()
            poller.register(file, select.POLLPRI)
            while f"{key} {value}" not in file.read().splitlines():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poller.poll(left * 1000)
                file.seek(0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
    return True


def _remove_below(path: Path) -> None:
    """Removes all cgroups below, deepest first, in steps of one name and "..".

    A container with a writable cgroup may have nested them deeper than a path can be long (4096 bytes) and than
    Python recurses, and made many; each directory is listed once.
    """
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    waiting, names = [_children(here)], []
    try:
        while waiting:
            if waiting[-1]:
                names.append(waiting[-1].pop())
                here = _step(here, names[-1])
                waiting.append(_children(here))
            else:
                waiting.pop()
                if waiting:
                    here = _step(here, "..")
                    with contextlib.suppress(FileNotFoundError):  # somebody else removes it, too
                        os.rmdir(names.pop(), dir_fd=here)
    finally:
        os.close(here)


def _children(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _step(here: int, name: str) -> int:
    """Opens a neighbour and lets go of ``here``: never more than two fds, however deep."""
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    os.close(here)
    return there
