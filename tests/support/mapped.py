"""A daemon with --userns-remap for the root tier: root of its containers is 100000 on the host.

Serves tests/root/test_userns*.py. Read next: daemon.py, ../../docs/userns-remap.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import probe
from tests.support.daemon import Daemon, Session

FIRST, COUNT = 100000, 65536
GRANT = f"minidock:{FIRST}:{COUNT}"
REMAP = ("--userns-remap", "default")


@contextmanager
def mapping_daemon(daemons: Session, scratch: Path) -> Iterator[Daemon]:
    """A daemon that maps, with busybox and the probe."""
    daemon = Daemon(daemons)
    try:
        start(daemon)
        daemon.load("busybox")
        daemon.cli.ok("import", "-", "probe", stdin=probe.archive(scratch))
        daemon.cli.ok("run", "--rm", "busybox", "true")
        yield daemon
    finally:
        daemon.close()


def start(daemon: Daemon) -> None:
    """Starts it with the map, the first time or again."""
    daemon.start(*REMAP, prefix=daemon.granting(GRANT))
