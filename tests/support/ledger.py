"""The leak ledger: what exists of ours on the machine before a test and after it; any difference fails the test.

Wrapped around every root test by ../conftest.py, and around each fresh daemon. An entry is a line that names the thing
as a person would look for it, kept in groups (mounts, namespaces, links, rules, cgroups, processes, objects, leases,
keys, the daemon's fds and threads). Sandboxes that the daemon holds ready for containers to come are no leak but come
and go at any time: their leases, cables and fds are left out, and there may be no more of them than it is to hold.
What goes away a moment after the API has answered (trash, dying processes) gets a deadline: the ledger is taken again
until it agrees or the time is over. Read next: daemon.py, procfs.py.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections import Counter
from pathlib import Path

from tests.support import procfs
from tests.support.daemon import Daemon, Session

Ledger = dict[str, Counter[str]]

DEADLINE = 10.0
# The daemon's pools and how many threads each may have (see daemon.py, engine/parts.py and others); they
# come when they are needed and stay, each with a name of its own. Any other thread has to be gone again.
POOLS = {"minidockd": 32, "slow": 64, "trash": 1, "sources": 4}
# As many sandboxes as a daemon holds ready (its --ready-sandboxes), one that is just made, one just given.
MOST_READY = 3 + 2
# Groups in which a test may not take away either: the bridge, an image, a volume that others use. In the rest what is
# gone was on its way out when the ledger was opened.
LASTING = ("links", "rules", "objects", "leases")
# Folders whose entries are one object each; below them is that object's content, which comes and goes with it.
OBJECT_FOLDERS = (
    ("data_root", ("containers", "layers", "content/sha256", "volumes")),
    ("exec_root", ("monitors", "execs")),
)
PASSING_FOLDERS = (("data_root", ("tmp", "trash")), ("tmp", ("",)))


def take(session: Session) -> Ledger:
    """What exists now: of the session's daemons, and of anything that carries their paths or names."""
    daemons = {daemon.pid for daemon in session.daemons if daemon.process}
    found = procfs.processes_of(str(session.base), session.instances, daemons)
    processes = [process for process in found if process.pid not in daemons]  # a daemon may be another one by now
    ledger: Ledger = {
        "mounts": _mounts(str(session.base)),
        "processes": Counter(str(process) for process in processes),
        "namespaces": Counter(name for process in processes for name in procfs.namespaces(process)),
        "cgroups": _cgroups(session),
        "loop devices": _loops(str(session.base)),
        "keys": _keys(session),
    }
    for daemon in session.daemons:
        ledger |= {f"{group} of daemon {daemon.base.name}": found for group, found in _daemon_groups(daemon).items()}
    return ledger


def differences(before: Ledger, after: Ledger) -> list[str]:
    """One line for each thing too many or too few, empty if nothing leaked."""
    lines = []
    for group in sorted(before.keys() | after.keys()):
        old, new = before.get(group, Counter()), after.get(group, Counter())
        if group.startswith("threads"):
            old, new = _beside_pools(old), _beside_pools(new)
        lines += [f"{group}: left behind: {name}{_times(n)}" for name, n in sorted((new - old).items())]
        if group.startswith(LASTING):
            lines += [f"{group}: gone: {name}{_times(n)}" for name, n in sorted((old - new).items())]
    return lines


def _beside_pools(threads: Counter[str]) -> Counter[str]:
    """The threads that are in no pool. One that a pool's thread started has its name, so a second one is none."""
    found = {name: re.fullmatch(r"(\w+)_(\d+)", name) for name in threads}
    return threads - Counter(name for name, match in found.items() if match and int(match[2]) < POOLS.get(match[1], 0))


def settle(session: Session, before: Ledger, deadline: float = DEADLINE) -> list[str]:
    """The differences that are still there when the deadline is over; returns at once where there are none."""
    end = time.monotonic() + deadline
    pause = 0.01
    while True:
        lines = differences(before, take(session))
        if not lines or time.monotonic() > end:
            return lines
        time.sleep(pause)
        pause = min(pause * 2, 0.25)


def _times(n: int) -> str:
    return "" if n == 1 else f" ({n} times)"


# -- the groups -------------------------------------------------------------------------------------------------------


def _daemon_groups(daemon: Daemon) -> dict[str, Counter[str]]:
    links = Counter(daemon.netns.links())
    fds = procfs.open_files(daemon.pid) if daemon.process else Counter()
    leases = _leases(daemon)  # behind links and fds, as they are made: what has a cable or an fd has a lease by now
    ready = [endpoint for _, container, endpoint in leases if container.startswith("ready-")]
    groups = {
        "links": links - Counter(f"md{endpoint[:11]}" for endpoint in ready),
        "rules": Counter(line.strip() for line in daemon.netns.run("nft", "-s", "list", "ruleset").splitlines()),
        "objects": _files(daemon, OBJECT_FOLDERS),
        "files": _files(daemon, PASSING_FOLDERS),
        "leases": Counter(
            f"{address} of container {ident[:12]}" for address, ident, _ in leases if "ready-" not in ident
        ),
        "ready sandboxes": Counter({"more than it is to hold": max(0, len(ready) - MOST_READY)}),
    }
    if daemon.process:
        groups["fds"] = fds - Counter({"net": len(ready)})
        groups["threads"] = Counter(procfs.threads(daemon.pid))
    return groups


def _mounts(base: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for namespace, lines in procfs.mount_tables().items():
        for line in lines:
            if base in line:
                fields = line.split()
                kind = fields[fields.index("-") + 1]
                found[f"{kind} on {fields[4]} in mnt:[{namespace}]"] += 1
    return found


def _cgroups(session: Session) -> Counter[str]:
    found: Counter[str] = Counter()
    for daemon in session.daemons:
        for base in daemon.cgroups():
            found.update(folder for folder, _, _ in os.walk(base))
    return found


def _files(daemon: Daemon, places: tuple[tuple[str, tuple[str, ...]], ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    for root, folders in places:
        for folder in folders:
            path: Path = getattr(daemon, root) / folder
            if path.is_dir():
                found.update(str((path / name).relative_to(daemon.base)) for name in os.listdir(path))
    return found


def _leases(daemon: Daemon) -> list[tuple[str, str, str]]:
    """Address, container, endpoint."""
    path = daemon.data_root / "minidock.db"
    if not path.exists():
        return []
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        return database.execute("SELECT address, container, endpoint FROM leases").fetchall()
    finally:
        database.close()


def _loops(base: str) -> Counter[str]:
    backing = [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return Counter(path for path in backing if base in path)


def _keys(session: Session) -> Counter[str]:
    """The session keyrings of our containers: a keyring has a container's id in its name, and our logs have the id."""
    try:
        lines = Path("/proc/keys").read_text().splitlines()
    except OSError:
        return Counter()
    named = [
        (line.split()[0], found[1]) for line in lines if (found := re.search(r"keyring +_ses\.([0-9a-f]{12,})", line))
    ]
    logs = [daemon.log_text() for daemon in session.daemons] if named else []
    return Counter(f"_ses.{ident} (key {serial})" for serial, ident in named if any(ident in log for log in logs))
