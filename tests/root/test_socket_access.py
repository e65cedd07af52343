"""Who may speak to the daemon: members of the socket's group, and nobody else."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.api import listen

NOBODY, GROUP = 65534, 54321


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that everybody may enter, as /run is."""
    with tempfile.TemporaryDirectory(prefix="minidock-access-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def connect(path: Path, user: int, group: int) -> int:
    """The errno that a process of that user and group gets. A fork, since nobody may not read our Python."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        os._exit(socket.socket(socket.AF_UNIX).connect_ex(str(path)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_only_the_group_may_connect(directory: Path) -> None:
    path = directory / "api.sock"
    with listen.open_unix(path, str(GROUP)):
        assert connect(path, user=NOBODY, group=NOBODY) == errno.EACCES
        assert connect(path, user=NOBODY, group=GROUP) == 0
        assert (path.stat().st_uid, path.stat().st_gid) == (0, GROUP)
