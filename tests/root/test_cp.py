"""cp, both ways, by our client, the docker CLI and docker-py; and what a hostile container can do about it: nothing.

Variant that it was seen to fail on: look-ups below the root's fd, but without RESOLVE_IN_ROOT (row 13 of
docs/security.md).
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine import roots
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]


@pytest.fixture(params=["running", "stopped", "created"])
def box(minidock: Cli, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container with a volume and a read-only bind, in each state that cp knows."""
    flags = ["--name", "box", "--network", "none", "-v", "boxdata:/vol", "busybox"]
    if request.param == "running":
        minidock.ok("run", "-d", *flags, "sleep", "1000")
    elif request.param == "stopped":
        minidock.ok("run", *flags, "true")
    else:
        minidock.ok("create", *flags, "true")
    yield "box"
    minidock.ok("rm", "-f", "box")
    host = minidock.program[minidock.program.index("-H") + 1]
    Cli(["docker", "-H", host], minidock.env).ok("volume", "rm", "boxdata")


NET_RAW = bytes.fromhex("0100000200200000" + "00" * 12)  # struct vfs_cap_data, as setcap(8) writes it


def make_tree(at: Path) -> Path:
    tree = at / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "file").write_text("file\n")
    (tree / "deep/er/big").write_bytes(os.urandom(700_000))
    (tree / "link").symlink_to("file")
    os.link(tree / "file", tree / "hard")
    (tree / "deep/run.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "deep/run.sh").chmod(0o755)
    os.setxattr(tree / "deep/run.sh", "security.capability", NET_RAW)
    return tree


def capability(path: Path) -> bytes | None:
    name = "security.capability"
    return os.getxattr(path, name) if name in os.listxattr(path) else None


def same(one: Path, other: Path) -> None:
    for path in sorted(one.rglob("*")):
        twin = other / path.relative_to(one)
        assert path.is_symlink() == twin.is_symlink() and path.is_dir() == twin.is_dir(), twin
        assert path.lstat().st_mode == twin.lstat().st_mode
        if path.is_symlink():
            assert os.readlink(path) == os.readlink(twin)
        elif path.is_file():
            assert path.read_bytes() == twin.read_bytes() and capability(path) == capability(twin)
    assert os.path.samefile(other / "file", other / "hard")


@pytest.mark.parametrize("client", ["minidock", pytest.param("docker", marks=pytest.mark.docker_cli)])
def test_there_and_back(daemon: Any, box: str, tmp_path: Path, client: str) -> None:
    cli: Cli = daemon.cli if client == "minidock" else daemon.docker
    tree = make_tree(tmp_path)
    cli.ok("cp", str(tree), f"{box}:/vol")  # into a directory that is there: a volume
    cli.ok("cp", str(tree), f"{box}:/new")  # as one that is not
    cli.ok("cp", f"{tree}/.", f"{box}:/new")  # what is in it
    cli.ok("cp", str(tree / "file"), f"{box}:/new/renamed")
    cli.ok("cp", f"{box}:/vol/tree", str(tmp_path / "one"))
    same(tree, tmp_path / "one")
    device = tmp_path / "device"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    refused = cli("cp", f"{box}:/vol/tree/file", str(device))
    assert refused.code == 1 and "must be a directory or a regular file" in refused.err and device.is_char_device()
    (tmp_path / "two").mkdir()
    cli.ok("cp", f"{box}:/new", str(tmp_path / "two"))
    same(tree, tmp_path / "two/new")
    cli.ok("cp", f"{box}:/new/.", str(tmp_path / "two"))
    same(tree, tmp_path / "two")
    assert (tmp_path / "two/renamed").read_text() == "file\n"
    cli.ok("cp", f"{box}:/new/link", str(tmp_path / "link"))
    assert os.readlink(tmp_path / "link") == "file"
    cli.ok("cp", "-L", f"{box}:/new/link", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == "file\n"
    for source, target in (
        (f"{box}:/nosuch", tmp_path),
        (tmp_path / "nosuch", f"{box}:/"),
        (tree, f"{box}:/new/file"),
        (tree / "file", f"{box}:/nosuch/"),
        (tree / "file", f"{box}:/no/such"),
        (f"{box}:/new/file/", tmp_path),
    ):
        assert cli("cp", str(source), str(target)).code == 1, (source, target)


def test_what_was_copied_is_there_when_it_runs(minidock: Cli, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("for the volume")
    minidock.ok("cp", str(tmp_path / "f"), "box:/vol/f")
    minidock.ok("cp", str(tmp_path / "f"), "box:/etc/motd")
    assert minidock.ok("run", "--rm", "-v", "boxdata:/v", "busybox", "cat", "/v/f") == "for the volume"
    if minidock.ok("inspect", "-f", "{{.State.Running}}", "box") == "true":
        assert minidock.ok("exec", "box", "cat", "/etc/motd") == "for the volume"
    assert "A /etc/motd" in minidock.ok("diff", "box").splitlines()
    assert "/vol/f" not in minidock.ok("diff", "box")


def test_a_tar_on_stdin_and_stdout(minidock: Cli, box: str) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("d/x")
        entry.size, entry.uid, entry.gid = 3, 1234, 55
        tar.addfile(entry, io.BytesIO(b"abc"))
    minidock.ok("cp", "-", "box:/tmp", stdin=data.getvalue())
    with minidock.start("cp", "box:/tmp/d", "-") as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=io.BytesIO(process.stdout.read())) as tar:
            assert tar.getnames() == ["d", "d/x"]
            assert (tar.getmember("d/x").uid, tar.getmember("d/x").gid) == (1234, 55)
    assert minidock("cp", "-", "box:/etc/passwd", stdin=data.getvalue()).code == 1


def test_docker_py(docker_api: Any, minidock: Cli, box: str) -> None:
    container = docker_api.containers.get("box")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("py")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    assert container.put_archive("/tmp", data.getvalue())
    pieces, stat = container.get_archive("/tmp/py")
    assert (stat["name"], stat["size"], stat["mode"], stat["linkTarget"]) == ("py", 2, 0o644, "")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        content = tar.extractfile("py")
        assert content is not None and content.read() == b"hi"
    assert container.get_archive("/tmp")[1]["mode"] == 0o777 | 1 << 31 | 1 << 20


HOSTILE = """
ln -s {host} /abs; ln -s ../../../../../../../..{host} /rel; ln -s /proc/1/root{host} /magic
ln -s /proc/self/cwd/../../../..{host} /cwd; mkdir /plain; ln -s {host} /plain/inner; ln -s {host}/secret /file
"""


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_links_lead_nowhere_but_into_the_container(minidock: Cli, tmp_path: Path, state: str) -> None:
    """On a host that followed them, each of these would read or write ``host``."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("secret")
    (tmp_path / "f").write_text("written")
    script = HOSTILE.format(host=host)
    detached = ["-d"] if state == "running" else []
    tail = "touch /ready; sleep 1000" if detached else ""
    minidock.ok("run", *detached, "--name", "evil", "--network", "none", "busybox", "sh", "-c", script + tail)
    try:
        if detached:
            eventually(lambda: minidock("exec", "evil", "ls", "/ready").code == 0, "the links")
        for link in ("abs", "rel", "magic", "cwd", "plain/inner"):
            assert minidock("cp", f"evil:/{link}/secret", str(tmp_path / "got")).code == 1
            minidock("cp", str(tmp_path / "f"), f"evil:/{link}/f")
            minidock("cp", str(tmp_path / "f"), f"evil:/{link}")
        assert minidock("cp", "-L", "evil:/file", str(tmp_path / "got")).code == 1
        minidock("cp", str(tmp_path / "f"), "evil:/file")
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name in ("abs/g", "plain/inner/g", "../../../g", f"../..{host}/g"):
                entry = tarfile.TarInfo(name)
                entry.size = 1
                tar.addfile(entry, io.BytesIO(b"g"))
        minidock("cp", "-", "evil:/", stdin=data.getvalue())
        assert sorted(path.name for path in host.iterdir()) == ["secret"]
        assert (host / "secret").read_text() == "secret" and not (tmp_path / "got").exists()
    finally:
        minidock.ok("rm", "-f", "evil")


def test_a_directory_swapped_for_a_link_all_the_time(minidock: Cli, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (tmp_path / "f").write_text("written")
    script = f"while :; do mkdir /d; mv /d /e; ln -s {host} /d; rm /d; rm -r /e; done"
    minidock.ok("run", "-d", "--name", "racer", "--network", "none", "busybox", "sh", "-c", script)
    try:
        for _ in range(30):
            minidock("cp", str(tmp_path / "f"), "racer:/d/f")
        assert list(host.iterdir()) == []
        assert minidock.ok("inspect", "-f", "{{.State.Status}}", "racer") == "running"
    finally:
        minidock.ok("rm", "-f", "racer")


def test_archive_mode_gives_files_to_the_user(minidock: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    minidock.ok(
        "create", "--name", "owned", "-u", "1234:77", "--network", "none", "busybox", "stat", "-c", "%u:%g", "/tmp/f"
    )
    minidock.ok("cp", "-a", str(tmp_path / "f"), "owned:/tmp/f")
    assert minidock.ok("start", "-a", "owned") == "1234:77"
    minidock.ok("rm", "owned")


def test_read_only_stays_so(minidock: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    flags = ("--read-only", "-v", f"{tmp_path}:/ro:ro", "-v", f"{tmp_path}:/rw", "busybox", "true")
    minidock.ok("create", "--name", "readonly", "--network", "none", *flags)
    assert minidock("cp", str(tmp_path / "f"), "readonly:/g").code == 1
    assert minidock("cp", str(tmp_path / "f"), "readonly:/ro/g").code == 1
    minidock.ok("cp", str(tmp_path / "f"), "readonly:/rw/g")
    assert (tmp_path / "g").read_text() == "x"
    minidock.ok("rm", "readonly")


def test_clients_that_stall_keep_nobody_waiting(daemon: Daemon, minidock: Cli) -> None:
    """As many as may be at work, and one more, read nothing of a file that a container has.

    Seen to fail where a client that stalls keeps its place, and where it keeps one of as many threads.
    """
    minidock.ok("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000")
    minidock.ok("exec", "box", "truncate", "-s", "64M", "/big")
    with contextlib.ExitStack() as stalled:
        for _ in range(roots.MOST + 1):
            client = stalled.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(daemon.socket))
            client.sendall(b"GET /containers/box/archive?path=/big HTTP/1.1\r\nHost: d\r\n\r\n")
        assert "box" not in minidock.ok("cp", "box:/etc/hostname", "-")
    minidock.ok("rm", "-f", "box")
