"""`docker save`: what skopeo and our own load make of it, digests unchanged; and what it holds, image by image."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from minidock.wire.errors import InvalidArgument, NotFound
from tests.support import images as made
from tests.support.daemon import Daemon
from tests.support.images import NOTHING, Images, docker_archive, file, gz, tar
from tests.support.registries import fake_registry

BASE = tar(file("base", b"B" * 1000))
TOP = tar(file("top", b"top"))


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened if one.isfile()}  # type: ignore[union-attr]


def skopeo(*arguments: str) -> str:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True).stdout


def test_several_images_and_tags_in_one_archive(images: Images, tmp_path: Path) -> None:
    """The layer that two images share is in it once; a load elsewhere gives the same images, names and bytes."""
    images.load(docker_archive([BASE, TOP], ["x:1", "x:2"]))
    images.load(docker_archive([BASE], ["y:latest"]))
    archive = b"".join(images.store.save(["x", "y"]))
    assert archive == b"".join(images.store.save(["x:1", "x:2", "y"])), "the same each time, whatever the names"
    found = members(archive)
    table = json.loads(found["manifest.json"])
    assert [line["RepoTags"] for line in table] == [["x:1", "x:2"], ["y:latest"]]
    assert table[0]["Layers"][0] == table[1]["Layers"][0] and found[table[1]["Layers"][0]] == BASE
    assert len(found) == 2 + 2 + 2 + 3, "configs, manifests, layers, and three tables"
    with made.images(tmp_path / "other") as other:
        assert [image.tags for image in other.load(archive)] == [("x:1", "x:2"), ("y:latest",)]
        assert {image.id for image in other.store.list()} == {image.id for image in images.store.list()}
        assert b"".join(other.store.save(["x", "y"])) == archive


def test_by_id_there_are_no_names(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1"]))
    (line,) = json.loads(members(b"".join(images.store.save([image.id])))["manifest.json"])
    assert line["RepoTags"] is None
    with pytest.raises(NotFound, match="No such image: nosuch:latest"):
        images.store.save(["x:1", "nosuch"])
    with pytest.raises(InvalidArgument):
        images.store.save([])


def test_what_is_removed_meanwhile_is_still_whole(images: Images) -> None:
    images.load(docker_archive([BASE, TOP], ["x:1"]))
    pieces = images.store.save(["x:1"])
    begun = next(pieces)
    images.store.remove("x:1", True, lambda _: [])
    assert BASE in members(begun + b"".join(pieces)).values()
    assert images.left() == NOTHING


def test_a_pulled_image_keeps_its_manifest(images: Images, tmp_path: Path) -> None:
    with fake_registry() as registry:
        descriptor = registry.publish("x", "1", [BASE, TOP])
        images.pull(f"{registry.host}/x:1")
        archive = b"".join(images.store.save([f"{registry.host}/x:1"]))
        found = members(archive)
        (entry,) = json.loads(found["index.json"])["manifests"]
        assert entry["digest"] == descriptor["digest"] and gz(TOP) in found.values()
        assert entry["annotations"]["io.containerd.image.name"] == f"{registry.host}/x:1"
        with made.images(tmp_path / "other") as other:
            other.load(archive)
            assert b"".join(other.store.save([f"{registry.host}/x:1"])) == archive


@pytest.mark.registry
def test_skopeo_reads_both_forms(images: Images, tmp_path: Path) -> None:
    (image,) = images.load(docker_archive([BASE, TOP], ["x:1"]))
    saved = tmp_path / "x.tar"
    saved.write_bytes(b"".join(images.store.save(["x:1"])))
    for source in (f"docker-archive:{saved}:x:1", f"oci-archive:{saved}:1"):
        assert json.loads(skopeo("inspect", "--raw", "--config", source)) == json.loads(made.image_config([BASE, TOP]))
        copied = tmp_path / source.partition(":")[0]
        skopeo("copy", "-q", source, f"dir:{copied}")
        assert json.loads((copied / "manifest.json").read_bytes())["config"]["digest"] == image.id
    told = json.loads(skopeo("inspect", f"oci-archive:{saved}:1"))
    (entry,) = json.loads(members(saved.read_bytes())["index.json"])["manifests"]
    assert told["Digest"] == entry["digest"]


@pytest.mark.docker_cli
def test_the_commands(daemon: Daemon, tmp_path: Path) -> None:
    """minidock writes it to a file, docker to standard output: the same bytes; what is not there leaves no file."""
    target = tmp_path / "both.tar"
    assert daemon.cli.ok("save", "-o", str(target), "busybox", "alpine") == ""
    command = [*daemon.docker.program, "save", "busybox", "alpine"]
    assert (
        subprocess.run(command, env=dict(daemon.docker.env), check=True, capture_output=True).stdout
        == target.read_bytes()
    )
    assert "Loaded image: busybox:latest" in daemon.cli.ok("load", "-i", str(target))
    missing = daemon.cli("save", "-o", str(tmp_path / "none.tar"), "nosuch")
    assert missing.code == 1 and "No such image: nosuch:latest" in missing.err
    assert [path.name for path in tmp_path.iterdir()] == ["both.tar"]
