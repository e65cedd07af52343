"""Images and files under ``minidockd --userns-remap``: built, committed, imported, loaded, copied.

On the disk owners are those inside, so that any daemon and any map can use them; see docs/userns-remap.md. What a
container of the host's root sees of the same image is the control in each.
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
from tests.support.daemon import Daemon, Session
from tests.support.mapped import FIRST, mapping_daemon

pytestmark = pytest.mark.userns_remap

DOCKERFILE = r"""
FROM busybox
COPY file /copied
COPY --chown=5:6 file /chowned
ADD tar /added
RUN touch /run && chown 9:10 /run && mkdir /work && chown 1000:1000 /work && cat /proc/self/uid_map
USER 1000:1000
WORKDIR /work
RUN touch mine && stat -c %u:%g mine
USER 0
VOLUME /data
RUN test -d /data
"""
OWNERS = {
    "copied": "0:0",
    "chowned": "5:6",
    "added/f": "77:78",
    "run": "9:10",
    "work": "1000:1000",
    "work/mine": "1000:1000",
}


@pytest.fixture(scope="module")
def daemon(daemons: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with mapping_daemon(daemons, tmp_path_factory.mktemp("probe")) as daemon:
        yield daemon


def add(archive: tarfile.TarFile, name: str, uid: int, gid: int, **pax: str) -> None:
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.pax_headers = uid, gid, pax
    archive.addfile(info)


def tar_of(name: str, uid: int, gid: int, **pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, name, uid, gid, **pax)
    return buffer.getvalue()


def seen(minidock: Cli, image: str, *options: str) -> dict[str, str]:
    out = minidock.ok("run", "--rm", "-w", "/", *options, image, "stat", "-c", "%n %u:%g", *OWNERS)
    return dict(line.split() for line in out.splitlines())


def on_the_disk(daemon: Daemon) -> set[int]:
    """The owners of all files in all layers."""
    files = [path.lstat() for path in (daemon.data_root / "layers").glob("*/diff/**/*")]
    return {status.st_uid for status in files} | {status.st_gid for status in files}


def test_what_is_built_committed_and_moved_has_owners_as_inside(daemon: Daemon, minidock: Cli, tmp_path: Path) -> None:
    """The variant takes the upper directory, or a step's user, as the host has it: 101000 in a layer, or EACCES."""
    (tmp_path / "file").write_text("x\n")
    os.chown(tmp_path / "file", 1234, 1234)
    (tmp_path / "tar").write_bytes(tar_of("f", 77, 78))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    said = minidock.ok("build", "-t", "built", str(tmp_path), timeout=300)
    assert f"0     {FIRST}" in said and "1000:1000" in said
    assert minidock.ok("build", "-t", "again", str(tmp_path)).count("Using cache") == 10
    name = minidock.ok("run", "-d", "built", "sh", "-c", "touch /more; chown 33:34 /more; sleep 1000")
    minidock.ok("commit", name, "committed")
    minidock.ok("export", "-o", str(tmp_path / "rootfs"), name)
    minidock.ok("rm", "-f", "-v", name)
    minidock.ok("import", str(tmp_path / "rootfs"), "imported")
    minidock.ok("save", "-o", str(tmp_path / "saved"), "committed")
    minidock.ok("rmi", "committed")
    minidock.ok("load", "-i", str(tmp_path / "saved"))
    for image in ("built", "committed", "imported"):
        assert seen(minidock, image) == OWNERS == seen(minidock, image, "--userns", "host"), image
    assert minidock.ok("run", "--rm", "committed", "stat", "-c", "%u:%g", "/more") == "33:34"
    assert max(on_the_disk(daemon)) < FIRST
    minidock.ok("rmi", "built", "again", "committed", "imported")


def acl(user: int) -> bytes:
    """acl(5) of a file: user::rw- user:USER:r-- group::r-- mask::rw- other::---"""
    entries = ((1, 6, -1), (2, 4, user), (4, 4, -1), (16, 6, -1), (32, 0, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def test_access_control_lists_name_users_as_inside(daemon: Daemon, minidock: Cli, tmp_path: Path) -> None:
    """Of `cp`, into a container that runs and one that doesn't, and of a layer. The variant hands the numbers to the
    kernel as they come: EINVAL where the container runs, for user 1000 has no number in it."""
    attribute = "system.posix_acl_access"
    listed = {f"SCHILY.xattr.{attribute}": acl(1000).decode("utf-8", "surrogateescape")}
    made = minidock.ok("create", "busybox")
    minidock.ok("export", "-o", str(rootfs := tmp_path / "rootfs"), made)
    minidock.ok("rm", made)
    with tarfile.open(rootfs, "a", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "layered", 5, 5, **listed)
    minidock.ok("import", str(rootfs), "listed")
    box = minidock.ok("run", "-d", "listed", "sleep", "1000")
    minidock.ok("cp", "-", f"{box}:/", stdin=tar_of("running", 5, 5, **listed))
    far = {f"SCHILY.xattr.{attribute}": acl(70000).decode("utf-8", "surrogateescape")}
    refused = minidock("cp", "-", f"{box}:/", stdin=tar_of("far", 5, 5, **far))
    assert refused.code == 1 and "user 70000 does not exist in the container's user namespace" in refused.err
    minidock.ok("stop", "-t", "0", box)
    minidock.ok("cp", "-", f"{box}:/", stdin=tar_of("stopped", 5, 5, **listed))
    upper = daemon.data_root / "containers" / box / "upper"
    assert [os.getxattr(upper / name, attribute) for name in ("running", "stopped")] == [acl(1000)] * 2
    minidock.ok("start", box)
    root = Path(f"/proc/{minidock.ok('inspect', '--format', '{{.State.Pid}}', box)}/root")
    assert [os.getxattr(root / name, attribute) for name in ("running", "stopped")] == [acl(FIRST + 1000)] * 2
    for user, code in (("1000", 0), ("1001", 1)):
        assert minidock("exec", "-u", user, box, "cat", "/running", "/stopped", "/layered").code == code
    minidock.ok("rm", "-f", box)
    minidock.ok("rmi", "listed")
