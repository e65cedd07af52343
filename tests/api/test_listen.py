"""Listening sockets: who can reach them, from the first moment on, and whose they are."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minidock.api import listen
from minidock.wire.errors import Conflict, Forbidden, InvalidArgument, Unavailable


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def test_mode_and_group(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    group = str(os.getgid())
    with listen.open_unix(path, group) as sock:
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o660
        assert (status.st_uid, status.st_gid) == (os.geteuid(), int(group))
        assert not sock.getblocking() and not os.get_inheritable(sock.fileno())
        assert connects(path)
    assert os.listdir(tmp_path) == ["api.sock"]


def test_it_is_never_reachable_more_widely(tmp_path: Path) -> None:
    """Bound at its own path with a umask of 022, as a naive server does, it is 0755 for a moment; this sees that."""
    path, seen, stop = tmp_path / "api.sock", set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            for entry in os.scandir(tmp_path):
                try:
                    seen.add(stat.S_IMODE(entry.stat().st_mode))
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    before = os.umask(0o022)
    try:
        for _ in range(200):
            listen.open_unix(path, "").close()
    finally:
        os.umask(before)
        stop.set()
        watcher.join()
    assert 0o660 in seen and seen <= {0o600, 0o660}


def test_the_umask_is_put_back(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        listen.open_unix(tmp_path / "api.sock", "").close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_stale_socket_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    listen.open_unix(path, "").close()
    assert path.exists() and not connects(path)
    with listen.open_unix(path, "") as first:
        inode = path.stat().st_ino
        with pytest.raises(Conflict, match="another daemon listens"):
            listen.open_unix(path, "")
        assert path.stat().st_ino == inode and connects(path)
        assert first.fileno() >= 0
    assert os.listdir(tmp_path) == ["api.sock"]


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(Conflict, match="no socket"):
        listen.open_unix(path, "")
    assert path.read_text() == "precious" and os.listdir(tmp_path) == ["api.sock"]


def test_two_daemons_at_once_do_not_share_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the rename there is time for all of them; without the lock each one wins."""
    path, chmod = tmp_path / "api.sock", os.chmod
    results: list[socket.socket | None] = []

    def slowly(path: Path, mode: int) -> None:
        time.sleep(0.05)
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", slowly)

    def start() -> None:
        try:
            results.append(listen.open_unix(path, ""))
        except Conflict:
            results.append(None)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [sock for sock in results if sock]
    assert len(winners) == 1 and len(results) == 8
    winners[0].close()


def test_an_unknown_group_leaves_the_socket_to_root(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "api.sock"
    with listen.open_unix(path, "no-such-group"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert "group no-such-group does not exist" in caplog.text and "groupadd" in caplog.text


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [("x" * 108, InvalidArgument, "shorter"), ("missing/api.sock", Unavailable, "no such file or directory")],
)
def test_paths_that_can_not_be(tmp_path: Path, name: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        listen.open_unix(tmp_path / name, "")


@pytest.mark.parametrize(
    ("host", "allowed", "error", "text"),
    [
        ("tcp://0.0.0.0:2375", True, Forbidden, "--tlsverify"),
        ("tcp://10.0.0.1:2375", True, Forbidden, "root"),
        ("tcp://:2375", True, Forbidden, "root"),
        ("tcp://[::]:2375", True, Forbidden, "root"),
        ("tcp://127.0.0.1:0", False, Forbidden, "--allow-insecure-tcp"),
        ("tcp://127.0.0.1", True, InvalidArgument, "invalid -H"),
        ("tcp://127.0.0.1:99999", True, InvalidArgument, "invalid -H"),
        ("http://127.0.0.1:1", True, InvalidArgument, "invalid -H"),
        ("fd://", True, InvalidArgument, "invalid -H"),
    ],
)
def test_tcp_is_refused(host: str, allowed: bool, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        listen.open_tcp(host, allowed)


def test_loopback_tcp_by_explicit_wish() -> None:
    with listen.open_tcp("tcp://127.0.0.1:0", True) as sock:
        assert sock.getsockname()[0] == "127.0.0.1" and not sock.getblocking()
        with pytest.raises(Unavailable, match="address already in use"):
            listen.open_tcp(f"tcp://127.0.0.1:{sock.getsockname()[1]}", True)


ACTIVATED = """
import os, socket, sys
from minidock.api import listen
sockets = listen.inherited()
assert len(sockets) == 1 and sockets[0].fileno() == 3 and not sockets[0].getblocking(), sockets
assert not os.get_inheritable(3) and "LISTEN_FDS" not in os.environ
assert listen.inherited() == []
print(sockets[0].getsockname())
"""


def test_sockets_from_systemd(tmp_path: Path) -> None:
    path = tmp_path / "activated.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        start = f'exec 3<&{sock.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        done = subprocess.run(
            ["bash", "-c", start, "sh", sys.executable, "-c", ACTIVATED],
            capture_output=True, text=True, pass_fds=[sock.fileno()], timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, str(path)), done.stderr


def test_sockets_for_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert listen.inherited() == []


def test_what_is_no_listening_socket_is_refused_by_name(tmp_path: Path) -> None:
    """A daemon that was given a file, a datagram socket, one that does not listen, or nothing: which, and what to do.

    Seen to fail where the socket module's own error came through: a bare errno 88.
    """
    program = f"{ACTIVATED.splitlines()[2]}\nlisten.inherited()"
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        for given in ("/dev/null", f"&{idle.fileno()}", f"&{datagrams.fileno()}", "&-"):
            start = f'exec 3<{given}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            done = subprocess.run(
                ["bash", "-c", start, "sh", sys.executable, "-c", program],
                capture_output=True, text=True, pass_fds=[idle.fileno(), datagrams.fileno()], timeout=30,
            )  # fmt: skip
            last = done.stderr.splitlines()[-1]
            assert "InvalidArgument" in last and "file descriptor 3" in last and "ListenStream=" in last, (given, last)
