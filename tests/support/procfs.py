"""Reading /proc in tests: which processes are ours, and what they hold.

For ledger.py. A process is ours if it descends from a daemon of the session, sits in a cgroup named after one, or
carries the session's folder in its command line, environment, working directory or open files (a monitor has
the folder's control socket open). Everything here copes with processes that end while they are looked at. See: proc(5).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")


@dataclass(frozen=True)
class Process:
    """One line of the ledger; a zombie has no files and no command line any more, and shows as `zombie`."""

    pid: int
    name: str
    zombie: bool

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}{', zombie' if self.zombie else ''})"


def processes_of(base: str, instances: set[str], daemons: set[int]) -> list[Process]:
    """All processes of ours, the daemons themselves among them."""
    found, parents = {}, {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        stat = _read(f"/proc/{pid}/stat")
        if not stat:
            continue
        name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        zombie, parent = rest[0] == "Z", int(rest[1])
        if zombie and parent == 1:
            continue  # it has ended and its files are gone; the rest is the machine's init's to do
        found[pid], parents[pid] = Process(pid, name, zombie), parent
    ours = {pid for pid in found if pid in daemons or _carries(pid, base, instances)} - {os.getpid()}
    return [found[pid] for pid in sorted(found) if pid in ours or _descends(pid, parents, daemons)]


def _descends(pid: int, parents: dict[int, int], ancestors: set[int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid in ancestors:
            return True
    return False


def _carries(pid: int, base: str, instances: set[str]) -> bool:
    cgroup = _read(f"/proc/{pid}/cgroup")
    if any(f"minidock-{instance}" in cgroup for instance in instances):
        return True
    if base in _read(f"/proc/{pid}/cmdline") or base in _read(f"/proc/{pid}/environ"):
        return True
    links = [_link(f"/proc/{pid}/{name}") for name in ("cwd", "root")]
    return any(link.startswith(base) for link in links + _fd_links(pid))


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie: when its parent or the machine's init reaps it is their affair."""
    stat = _read(f"/proc/{pid}/stat")
    return bool(stat) and stat[stat.rindex(")") + 2] not in "ZX"


def namespaces(process: Process) -> list[str]:
    """`net:[4026532001] held by NAME (pid N)`, of the process itself and of the namespace files that it has open."""
    own = [_link(f"/proc/{process.pid}/ns/{name}") for name in NAMESPACES]
    opened = [
        link for link in _fd_links(process.pid) if re.fullmatch(r"[a-z_]+:\[\d+\]", link) and "socket" not in link
    ]
    held = [link for link in opened if not link.startswith("pipe")]
    return [f"{link} held by {process}" for link in sorted(set(filter(None, own + held)))]


def mount_tables() -> dict[str, list[str]]:
    """The lines of mountinfo of each mount namespace that some process is in, by the namespace's inode."""
    tables: dict[str, list[str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        inode = _link(f"/proc/{pid}/ns/mnt").removeprefix("mnt:[").removesuffix("]")
        if inode and inode not in tables:
            tables[inode] = _read(f"/proc/{pid}/mountinfo").splitlines()
    return tables


def open_files(pid: int) -> Counter[str]:
    """The open files of a process by kind: a path, `socket`, `pipe`, `anon_inode:[pidfd]`; numbers taken out."""
    return Counter(re.sub(r":\[\d+\]$", "", link) for link in _fd_links(pid))


def threads(pid: int) -> list[str]:
    try:
        return [_read(f"/proc/{pid}/task/{tid}/comm").strip() for tid in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _fd_links(pid: int) -> list[str]:
    try:
        return [link for fd in os.listdir(f"/proc/{pid}/fd") if (link := _link(f"/proc/{pid}/fd/{fd}"))]
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
