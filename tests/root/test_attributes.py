"""Extended attributes of files: what comes in with an archive or an image is kept, what leaves has capabilities alone.

As dockerd 20.10 does it, but for what docs/docker-differences.md says.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.images import file, tar

pytestmark = pytest.mark.overlay

CAPABILITY, ACL, NOTE, TRUSTED = "security.capability", "system.posix_acl_access", "user.note", "trusted.note"
VALUES = {
    CAPABILITY: struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0),
    ACL: struct.pack("<I", 2)
    + b"".join(
        struct.pack("<HHi", *entry) for entry in ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 6, -1), (32, 0, -1))
    ),
    NOTE: b"n",
    TRUSTED: b"t",
}
HEADERS = {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in VALUES.items()}
TAKEN = {CAPABILITY, ACL, NOTE}


def give(path: Path) -> None:
    path.write_text("x")
    for name, value in VALUES.items():
        os.setxattr(path, name, value)


def told(archive: bytes, name: str) -> set[str]:
    """The attributes of one file of a tar."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {key.removeprefix("SCHILY.xattr.") for key in opened.getmember(name).pax_headers if "xattr" in key}


class Boxes:
    """Containers that run; their files are looked at from the host."""

    def __init__(self, minidock: Cli) -> None:
        self._cli = minidock
        self.idents: list[str] = []

    def start(self, image: str) -> Path:
        """The root directory of a new one."""
        self.idents.append(self._cli.ok("run", "-d", "--network", "none", image, "sleep", "1000"))
        return Path(f"/proc/{self._cli.ok('inspect', '-f', '{{.State.Pid}}', self.idents[-1])}/root")


@pytest.fixture
def boxes(minidock: Cli) -> Iterator[Boxes]:
    boxes = Boxes(minidock)
    yield boxes
    minidock.ok("rm", "-f", *boxes.idents)
    minidock("rmi", "x:commit", "x:build")
    minidock.ok("image", "prune", "-f")


def test_in_and_out_of_a_container(boxes: Boxes, minidock: Cli, tmp_path: Path) -> None:
    root = boxes.start("busybox")
    (ident,) = boxes.idents
    minidock.ok("cp", "-", f"{ident}:/", stdin=tar(file("came", b"x", pax_headers=HEADERS)))
    assert set(os.listxattr(root / "came")) == TAKEN
    give(root / "made")
    minidock.ok("export", "-o", str(tmp_path / "exported"), ident)
    minidock.ok("cp", f"{ident}:/made", str(tmp_path / "copied"))
    minidock.ok("commit", ident, "x:commit")
    for name in ("came", "made"):
        assert told((tmp_path / "exported").read_bytes(), name) == {CAPABILITY}
        assert os.listxattr(boxes.start("x:commit") / name) == [CAPABILITY]
    assert set(os.listxattr(tmp_path / "copied")) - {"security.selinux"} == {CAPABILITY}


def test_builds(boxes: Boxes, minidock: Cli, tmp_path: Path) -> None:
    """ADD unpacks all, as cp does, but a step's layer is made as commit makes it."""
    (tmp_path / "a.tar").write_bytes(tar(file("added", b"x", pax_headers=HEADERS)))
    give(tmp_path / "copied")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nADD a.tar /\nCOPY copied /\n")
    minidock.ok("build", "--network", "none", "-t", "x:build", str(tmp_path))
    root = boxes.start("x:build")
    assert [os.listxattr(root / name) for name in ("added", "copied")] == [[CAPABILITY]] * 2
