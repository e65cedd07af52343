"""diff and export: what a container changed, in docker's words, and all of its files as a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]

SCRIPT = """
echo new >/etc/new; echo more >>/etc/issue; rm /etc/motd; rm -r /etc/apk; mkdir /etc/apk; echo x >/etc/apk/mine
mkdir -p /srv/a/b; ln /etc/new /srv/hard; ln -s /etc/passwd /srv/link; mkfifo /srv/pipe; chmod 4755 /srv/hard
"""


def test_diff_of_a_container_that_ran(minidock: Cli) -> None:
    minidock.ok("run", "--name", "diffed", "--network", "none", "alpine", "sh", "-c", SCRIPT)
    lines = minidock.ok("diff", "diffed").splitlines()
    etc = {"C /etc", "A /etc/new", "C /etc/issue", "D /etc/motd", "C /etc/apk", "A /etc/apk/mine", "D /etc/apk/world"}
    srv = {"C /srv", "A /srv/a", "A /srv/a/b", "A /srv/hard", "A /srv/link", "A /srv/pipe"}
    assert etc | srv <= set(lines)
    assert lines.index("C /srv") < lines.index("A /srv/a") < lines.index("A /srv/a/b")
    assert {line.split("/")[1] for line in lines} == {"etc", "srv"}
    minidock.ok("rm", "diffed")


def test_what_a_start_makes_is_no_change(minidock: Cli, docker_api: Any) -> None:
    ident = minidock.ok("run", "-d", "--network", "none", "busybox", "sleep", "1000")
    try:
        assert minidock.ok("diff", ident) == ""
        assert docker_api.containers.get(ident).diff() is None
        minidock.ok("exec", ident, "touch", "/tmp/f")
        assert docker_api.containers.get(ident).diff() == [{"Path": "/tmp", "Kind": 0}, {"Path": "/tmp/f", "Kind": 1}]
    finally:
        minidock.ok("rm", "-f", ident)


def test_what_tells_programs_that_they_are_in_a_container(minidock: Cli) -> None:
    """As with docker each has an empty file /.dockerenv, which is no change."""
    try:
        said = minidock.ok("run", "--name", "told", "busybox", "stat", "-c", "%a %s %F", "/.dockerenv")
        assert said == "755 0 regular empty file" and minidock.ok("diff", "told") == ""
    finally:
        minidock("rm", "-f", "told")


@pytest.mark.parametrize("running", [False, True])
def test_export_is_the_tree_without_mounts(minidock: Cli, tmp_path: Path, running: bool) -> None:
    (tmp_path / "secret").write_text("the host's")
    command = ["sh", "-c", SCRIPT + ("touch /ready; sleep 1000" if running else "")]
    minidock.ok("run", *(["-d"] if running else []), "--name", "exported", "-v", f"{tmp_path}:/vol", "alpine", *command)
    try:
        if running:
            eventually(lambda: minidock("exec", "exported", "ls", "/ready").code == 0, "the files")
        out = tmp_path / "e.tar"
        minidock.ok("export", "-o", str(out), "exported")
        with tarfile.open(out) as tar:
            found = {entry.name: entry for entry in tar}
            text = tar.extractfile("etc/new")
            assert text is not None and text.read() == b"new\n"
        assert found["srv/hard"].islnk() and found["srv/hard"].linkname == "etc/new"
        assert found["etc/new"].mode == 0o4755
        assert found["srv/link"].linkname == "/etc/passwd" and found["srv/pipe"].isfifo()
        assert "etc/motd" not in found and "vol/secret" not in found and "vol" in found
        assert not [name for name in found if name.startswith(("proc/", "sys/"))]
    finally:
        minidock.ok("rm", "-f", "exported")


def test_an_export_is_an_image_again(minidock: Cli) -> None:
    minidock.ok("create", "--name", "src", "busybox")
    with minidock.start("export", "src") as process:
        assert process.stdout is not None
        tar = process.stdout.read()
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert "bin/busybox" in archive.getnames()
    minidock.ok("import", "-", "again:1", stdin=tar)
    assert minidock.ok("run", "--rm", "--network", "none", "again:1", "echo", "works") == "works"
    minidock.ok("rmi", "again:1")
    minidock.ok("rm", "src")
