"""`docker commit`: files, whiteouts and configuration of a container in an image that runs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from minidock.image.commit import CommitRequest
from minidock.image.unpack import OPAQUE_ATTRIBUTE
from minidock.wire.errors import InvalidArgument
from tests.support import images as made
from tests.support.daemon import Daemon
from tests.support.images import Images, directory, docker_archive, file, tar, tree

pytestmark = pytest.mark.overlay
BASE = tar(directory("d"), file("d/gone", b"1"), file("d/kept", b"2"), directory("o"), file("o/below", b"3"))
NOTHING = CommitRequest({})


def test_the_layer_is_the_upper_directory(images: Images, tmp_path: Path) -> None:
    """All kinds of files, a whiteout and an opaque directory come back as they were, through tar and gzip."""
    (base,) = images.load(docker_archive([BASE], ["x:1"]))
    upper = tmp_path / "upper"
    for name in ("", "d", "o", "etc"):
        (upper / name).mkdir()
    os.mknod(upper / "d/gone", stat.S_IFCHR, 0)
    os.setxattr(upper / "o", OPAQUE_ATTRIBUTE, b"y")
    (upper / "o/new").write_bytes(b"n" * 300_000)
    os.link(upper / "o/new", upper / "o/same")
    os.chown(upper / "o/new", 12, 34)
    (upper / "o/new").chmod(0o4755)
    (upper / ("l" * 200)).symlink_to("/no/where")
    os.mkfifo(upper / "pipe")
    places = [upper / "etc/hosts", upper / ".dockerenv"]
    for place in places:
        place.touch()
    image = images.store.commit(base, upper, "y:2", CommitRequest({}, ["ENV a=b"], "me", "why", "sh -c x", "c"))
    for place in places:
        place.unlink()
    top = images.store.layers_dir / images.store.lowers(image)[0]
    assert tree(top) == tree(upper) and os.getxattr(top / "o", OPAQUE_ATTRIBUTE) == b"y"
    assert (top / "o/new").stat().st_ino == (top / "o/same").stat().st_ino
    assert image.tags == ("y:2",) and image.diff_ids[:-1] == base.diff_ids and image.config.env == ("a=b",)
    assert (image.author, image.comment) == ("me", "why")
    assert [step.created_by for step in image.history] == ["", "sh -c x"], "one step a layer, told or not"
    archive = b"".join(images.store.save(["y:2"]))
    with made.images(tmp_path / "other") as other:
        assert other.load(archive)[0].id == image.id


def test_a_bad_change_leaves_nothing(images: Images, tmp_path: Path) -> None:
    (base,) = images.load(docker_archive([BASE], ["x:1"]))
    before = images.left()
    (tmp_path / "upper").mkdir()
    with pytest.raises(InvalidArgument, match="not a valid change command"):
        images.store.commit(base, tmp_path / "upper", None, CommitRequest({}, ["RUN x"]))
    with pytest.raises(InvalidArgument):
        images.store.commit(base, tmp_path / "upper", "UPPER", NOTHING)
    assert images.left() == before


@pytest.mark.docker_cli
def test_the_commands(daemon: Daemon) -> None:
    """A running container, by minidock and by docker: the image runs what the container ran, on the changed files."""
    minidock, docker = daemon.cli, daemon.docker
    script = "rm /bin/vi; echo new >/made; echo up; sleep 1000"
    minidock.ok("run", "-d", "--name", "worker", "--network", "none", "-e", "A=1", "busybox", "sh", "-c", script)
    while "up" not in minidock.ok("logs", "worker"):
        pass
    try:
        ident = minidock.ok("commit", "-a", "me", "-m", "why", "-c", 'CMD ["cat", "/made"]', "worker", "kept:1")
        assert minidock.ok("run", "--rm", "--network", "none", "kept:1") == "new"
        assert minidock("run", "--rm", "--network", "none", "kept:1", "test", "-e", "/bin/vi").code == 1
        assert minidock.ok("inspect", "-f", "{{.Id}} {{.Author}} {{.Comment}}", "kept:1") == f"{ident} me why"
        assert "A=1" in json.loads(minidock.ok("inspect", "kept:1"))[0]["Config"]["Env"]
        assert docker.ok("history", "--format", "{{.Comment}}", "kept:1").splitlines()[0] == "why"
        assert docker.ok("commit", "-p=false", "worker", "kept:2").startswith("sha256:")
        assert docker.ok("run", "--rm", "--network", "none", "kept:2", "cat", "/made") == "new"
        missing = minidock("commit", "nosuch")
        assert missing.code == 1 and "No such container: nosuch" in missing.err
    finally:
        minidock("rm", "-f", "worker")
        minidock("rmi", "kept:1", "kept:2")
