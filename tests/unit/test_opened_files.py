"""What the daemon opens of a stranger's files: regular ones. Anything else it does not even touch.

A FIFO stands for all of it, for one can tell: whoever waits to write into it goes on as soon as somebody opens it to
read. The variants open first and look then (a device node that a container made, and may not open itself, is opened by
the daemon, which is no container), or read whatever is there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.engine import users
from minidock.engine.building.copy import is_archive
from minidock.linux import shim
from minidock.wire.errors import ServerError
from tests.support.wait import eventually


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a FIFO below tmp_path that somebody waits at; in the end he must still wait."""
    waiting: list[tuple[Path, threading.Thread]] = []

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        thread = threading.Thread(target=lambda: os.close(os.open(path, os.O_WRONLY)), daemon=True)
        thread.start()
        stack = Path(f"/proc/self/task/{thread.native_id}/stat")
        eventually(lambda: stack.read_text().rpartition(")")[2].split()[0] == "S", "the writer to wait")
        waiting.append((path, thread))
        return path

    yield make
    for path, thread in waiting:
        thread.join(0.05)
        was_let_go = not thread.is_alive()
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        thread.join(10)
        assert not was_let_go, f"{path.name} was opened"


def test_users_are_looked_up_in_regular_files(tmp_path: Path, untouched: Callable[[str], Path]) -> None:
    untouched("etc/passwd")
    (tmp_path / "etc/group").mkdir()
    root = os.open(tmp_path, os.O_PATH)
    try:
        assert users.resolve(root, "0:0").user.uid == 0
        with pytest.raises(ServerError, match="no matching entries"):
            users.resolve(root, "root")
    finally:
        os.close(root)


def test_what_is_added_is_no_archive_unless_it_is_a_file(untouched: Callable[[str], Path]) -> None:
    fd = os.open(untouched("pipe"), os.O_PATH)
    try:
        assert is_archive(fd) is False
    finally:
        os.close(fd)


def test_a_regular_file_is_opened_whatever_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("/file")
    root = os.open(tmp_path, os.O_PATH)
    try:
        with open(shim.open_regular(root, "link")) as file:
            assert file.read() == "text"
        for path, number in (("/", 22), ("nosuch", 2)):
            with pytest.raises(OSError) as caught:
                shim.open_regular(root, path)
            assert caught.value.errno == number
    finally:
        os.close(root)
