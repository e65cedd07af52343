"""`docker load`, import, tag and rmi on the store itself: foreign archives, Docker's rules for names, nothing left.

Archives come from tests/support/images.py, from rootfs/ and from skopeo, an independent writer of both formats.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.db import Database
from minidock.image.digest import chain_ids
from minidock.image.model import Image, Removed
from minidock.image.removal import User
from minidock.wire.errors import Ambiguous, Conflict, InvalidArgument, NotFound
from tests.support import images as made
from tests.support.images import NOTHING, Images, directory, docker_archive, file, gz, symlink, tar

BUILD = Path(__file__).parents[2] / "rootfs/build"
BASE = tar(directory("etc"), file("etc/name", b"base"))
TOP = tar(file("top", b"top"))


def nobody(_: str) -> list[User]:
    return []


def container(_: str) -> list[User]:
    return [User("d" * 64, running=False), User("c" * 64, running=True)]


def stopped(_: str) -> list[User]:
    return [User("c" * 64, running=False)]


# -- load


@pytest.mark.parametrize("pack", [lambda data: data, gz], ids=["plain", "gzip"])
def test_an_archive_of_docker_save(images: Images, pack: Callable[[bytes], bytes]) -> None:
    (image,) = images.load(pack(docker_archive([BASE, TOP], ["x:1", "127.0.0.1:5000/y:2"])))
    assert image.tags == ("127.0.0.1:5000/y:2", "x:1") and image.size == len(b"base") + len(b"top")
    assert image.id == made.digest(made.image_config([BASE, TOP])) and image.created == "2026-01-02T03:04:05Z"
    top, base = images.store.lowers(image)
    assert (images.store.layers_dir / top / "top").read_bytes() == b"top"
    assert (images.store.layers_dir / base / "etc/name").read_bytes() == b"base"
    assert [line.stream for line in images.lines if line.stream] == [
        "Loaded image: x:1\n",
        "Loaded image: 127.0.0.1:5000/y:2\n",
    ]


def test_an_archive_without_names_tells_the_id(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], []))
    assert image.tags == () and images.lines[-1].stream == f"Loaded image ID: {image.id}\n"


def test_layers_that_are_gzip_inside(images: Images) -> None:
    config = made.image_config([BASE])
    (image,) = images.load(docker_archive([gz(BASE)], ["x:1"], config))
    assert (images.store.layers_dir / images.store.lowers(image)[0] / "etc/name").exists()


def test_a_layer_that_is_a_link_in_the_archive(images: Images) -> None:
    """Old `docker save` writes a layer that two images share once, and a symlink."""
    data = tar(
        file("c.json", made.image_config([BASE])),
        file("one/layer.tar", BASE),
        symlink("two/layer.tar", "../one/layer.tar"),
        file("manifest.json", json.dumps([{"Config": "c.json", "Layers": ["two/layer.tar"]}]).encode()),
    )
    assert len(images.load(data)) == 1


def test_a_shared_layer_is_there_once_and_goes_with_the_last_image(images: Images) -> None:
    images.load(docker_archive([BASE], ["base:1"]))
    images.load(docker_archive([BASE, TOP], ["top:1"]))
    assert len(images.left()["layers"]) == 2
    images.store.remove("base:1", False, nobody)
    assert len(images.left()["layers"]) == 2, "top still stands on it"
    images.store.remove("top:1", False, nobody)
    assert images.left() == NOTHING


def test_a_name_moves_to_what_is_loaded(images: Images) -> None:
    (old,) = images.load(docker_archive([BASE], ["x:1"]))
    (new,) = images.load(docker_archive([TOP], ["x:1"]))
    assert images.store.resolve("x:1").id == new.id
    assert images.store.resolve(old.id).tags == ()
    assert any("renaming the old one with ID" in line.stream for line in images.lines)


@pytest.mark.parametrize("name", ["alpine-3.23", "busybox"])
def test_our_own_archives_by_either_table(images: Images, tmp_path: Path, name: str) -> None:
    """As docker archive, and as OCI layout (the same file without manifest.json): the same image."""
    (image,) = images.load((BUILD / f"{name}.tar").read_bytes())
    (tmp_path / "x").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "x", "-xf", BUILD / f"{name}.tar"], check=True)
    (tmp_path / "x/manifest.json").unlink()
    packed = subprocess.run(["tar", "-C", tmp_path / "x", "-cf", "-", "."], check=True, capture_output=True).stdout
    (again,) = images.load(packed)
    assert again.id == image.id and again.tags == image.tags
    assert any(tag.endswith(":latest") for tag in again.tags)


@pytest.mark.registry
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_archives_that_skopeo_wrote(images: Images, tmp_path: Path, form: str) -> None:
    source, target = f"docker-archive:{BUILD}/busybox.tar:busybox:latest", f"{form}:{tmp_path}/out.tar:busy:9"
    subprocess.run(["skopeo", "copy", "-q", source, target], check=True)
    (image,) = images.load((tmp_path / "out.tar").read_bytes())
    assert image.tags == ("busy:9",) and image.config.cmd == ("/bin/sh",)
    assert os.access(images.store.layers_dir / images.store.lowers(image)[0] / "bin/busybox", os.X_OK)


CONFIG = made.image_config([BASE])
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither a docker archive nor an OCI layout"),
    "no tar": (b"hello", "read archive"),
    "no tables": (tar(file("x")), "neither a docker archive nor an OCI layout"),
    "cut": (docker_archive([BASE], ["x:1"])[:4000], "read archive"),
    "table is no JSON": (tar(file("manifest.json", b"{")), "not JSON"),
    "table is no list": (tar(file("manifest.json", b"{}")), "not a list"),
    "table of numbers": (tar(file("manifest.json", b"[1]")), "not an object"),
    "config outside": (docker_archive([BASE], ["x:1"], Config="../../../etc/passwd"), "is not in it"),
    "config absolute": (docker_archive([BASE], ["x:1"], Config="/etc/passwd"), "is not in it"),
    "layer outside": (docker_archive([BASE], ["x:1"], Layers=["/etc/passwd"]), "is not in it"),
    "layer is a link out": (
        tar(
            file("config.json", CONFIG),
            symlink("0/layer.tar", "/etc/passwd"),
            file("manifest.json", b'[{"Config":"config.json","Layers":["0/layer.tar"]}]'),
        ),
        "is not in it",
    ),
    "link to itself": (
        tar(symlink("a", "b"), symlink("b", "a"), file("manifest.json", b'[{"Config":"a","Layers":[]}]')),
        "is not in it",
    ),
    "another layer": (docker_archive([TOP], ["x:1"], CONFIG), "its diff id is"),
    "a layer too few": (docker_archive([BASE], ["x:1"], made.image_config([BASE, TOP])), "1 layers, but"),
    "a bad name": (docker_archive([BASE], ["../x:1"]), "invalid reference format"),
    "a name in capitals": (docker_archive([BASE], ["X:1"]), "must be lowercase"),
    "a digest for a name": (docker_archive([BASE], ["x@sha256:" + "a" * 64]), "names a digest"),
    "an id for a name": (docker_archive([BASE], ["a" * 64]), "64-byte hexadecimal"),
    "a hostile config": (docker_archive([BASE], ["x:1"], made.image_config([BASE], User="a\nb")), "field User"),
    "a layer that climbs": (docker_archive([tar(file("../x"))], ["x:1"]), "leads out of the root"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_archive_is_one_clear_error_and_leaves_nothing(images: Images, name: str) -> None:
    """CVE-2014-9358. The variants open what is no member, or where a member's link leads, as a path of the host."""
    data, says = HOSTILE[name]
    with pytest.raises(InvalidArgument, match=says) as caught:
        images.load(data)
    assert "\n" not in str(caught.value)
    assert images.left() == NOTHING and images.store.list() == []


def test_one_bad_image_takes_the_good_one_with_it(images: Images) -> None:
    lines = [{"Config": "a", "RepoTags": ["x:1"], "Layers": ["0"]}, {"Config": "b", "Layers": ["1"]}]
    parts = [file("a", CONFIG), file("b", made.image_config([TOP])), file("0", BASE)]
    table = file("manifest.json", json.dumps(lines).encode())
    with pytest.raises(InvalidArgument):
        images.load(tar(*parts, file("1", TOP[:600]), table))
    assert images.left() == NOTHING and images.store.list() == []
    assert len(images.load(tar(*parts, file("1", TOP), table))) == 2


OCI = "application/vnd.oci.image."


def layout(manifest: dict[str, object] | None = None, **index: object) -> bytes:
    """An OCI layout with one image of one layer; fields of its manifest and of its index line may be replaced."""
    blobs = [CONFIG, BASE]

    def described(kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": OCI + kind, "digest": made.digest(data), "size": len(data)}

    value = {"schemaVersion": 2, "config": described("config.v1+json", CONFIG)}
    value["layers"] = [described("layer.v1.tar", BASE)]
    blobs.append(json.dumps(value | (manifest or {})).encode())
    line = described("manifest.v1+json", blobs[-1]) | {
        "annotations": {"io.containerd.image.name": "docker.io/library/x:1"}
    }
    table = json.dumps({"schemaVersion": 2, "manifests": [line | index]}).encode()
    return tar(*(file("blobs/sha256/" + made.digest(b)[7:], b) for b in blobs), file("index.json", table))


def test_an_oci_layout(images: Images) -> None:
    (image,) = images.load(layout())
    assert image.tags == ("x:1",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (layout(digest="sha256:" + "0" * 64), "is not in it"),
        (layout(digest="sha256:../../../../etc/passwd"), "invalid digest"),
        (layout(digest="sha512:" + "0" * 128), "invalid digest"),
        (layout(size=3), "digest and size"),
        (layout(size=-1), "field size"),
        (layout(size=True), "field size"),
        (layout(size=1 << 70), "field size"),
        (layout({"manifests": []}), "both a manifest and an index"),
        (layout({"layers": "x"}), "field layers"),
        (layout({"layers": []}), "0 layers, but"),
        (layout({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}), "invalid digest|no image"),
        (layout({"schemaVersion": 1}, mediaType=""), "no longer in use"),
        (layout(annotations={"io.containerd.image.name": "../../x"}), "invalid reference format"),
        (layout(annotations=[1]), "not an object"),
    ],
)
def test_a_bad_oci_layout_leaves_nothing(images: Images, data: bytes, says: str) -> None:
    with pytest.raises(Exception, match=says):
        images.load(data)
    assert images.left() == NOTHING


def test_a_blob_that_is_not_what_its_name_says(images: Images) -> None:
    good = layout()
    assert images.load(good)
    images.store.remove("x:1", False, nobody)
    with pytest.raises(InvalidArgument, match="digest and size"):
        images.load(good.replace(b"2026-01-02T03:04:05Z", b"2027-01-02T03:04:05Z"))
    assert images.left() == NOTHING


FULL_DISK = """
import io, subprocess, sys
from pathlib import Path
from minidock.wire.errors import ServerError
from tests.support import images as made

root, archive = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root], check=True)
with made.images(root) as images:
    for megabytes in (6, 13):  # full while the archive is copied, full while its layer is unpacked
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", root], check=True)
        try:
            images.load(archive)
        except ServerError as error:
            assert "no space left on device" in error.message, error
            print(error.message.split()[0])
        assert images.left() == made.NOTHING
        subprocess.run(f"rm -rf {root}/trash/*", shell=True, check=True)
    subprocess.run(["mount", "-o", "remount,size=100m", root], check=True)
    print(*images.load(archive)[0].tags)
"""


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A small tmpfs in a mount namespace of its own; with more room the same archive loads.

    Seen to fail where what was half unpacked is left in tmp/.
    """
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(BUILD / "alpine-3.23.tar")]
    done = subprocess.run(
        ["unshare", "-m", *command], cwd=BUILD.parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["store", "unpack", "alpine:3.23", "alpine:latest"]


# -- import, tag, resolve


def test_import_makes_an_image_of_a_root_directory(images: Images) -> None:
    image = images.store.import_rootfs(io.BytesIO(gz(BASE)), "mine:2", "hello", ['CMD ["/bin/true"]'])
    assert image.tags == ("mine:2",) and image.comment == "hello" and image.config.cmd == ("/bin/true",)
    assert image.diff_ids == (made.digest(BASE),), "the diff id is of the tar, not of the gzip around it"
    with pytest.raises(InvalidArgument, match="not a valid change command"):
        images.store.import_rootfs(io.BytesIO(BASE), "other:1", "", ["RUN x"])
    assert images.store.remove("mine:2", False, nobody)
    assert images.left() == NOTHING


def test_an_image_is_found_by_all_its_names(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1"]))
    images.store.tag("x:1", "y")
    digits = image.id.removeprefix("sha256:")
    for name in (
        "x:1",
        "docker.io/library/x:1",
        "y",
        "y:latest",
        image.id,
        digits,
        digits[:12],
        digits[:3],
        image.id[:20],
    ):
        assert images.store.resolve(name).id == image.id
    for name, says in (
        ("x", "No such image: x:latest"),
        ("f" * 64, "No such image: f"),
        ("sha256:ff00ff", "No such image"),
    ):
        with pytest.raises(NotFound, match=says):
            images.store.resolve(name)
    with pytest.raises(InvalidArgument, match="must be lowercase"):
        images.store.resolve("X")


def test_a_prefix_of_two_images_is_ambiguous(images: Images) -> None:
    found: dict[str, str] = {}
    for number in range(40):
        layer = tar(file(str(number)))
        (image,) = images.load(docker_archive([layer]))
        first = image.id.removeprefix("sha256:")[0]
        if first in found:
            with pytest.raises(Ambiguous, match="multiple IDs found with provided prefix"):
                images.store.resolve(first)
            return
        found[first] = image.id
    raise AssertionError("40 ids with 16 first digits, and no two alike")


@pytest.mark.parametrize("target", ["X", "a:b:c", "", "a@sha256:" + "a" * 64, "sha256:x", "a" * 64])
def test_a_bad_tag_is_refused(images: Images, target: str) -> None:
    images.load(docker_archive([BASE], ["x:1"]))
    with pytest.raises(InvalidArgument):
        images.store.tag("x:1", target)


# -- rmi


def deleted(image: Image) -> list[Removed]:
    """What is told when an image and its layers go: the layers from the top, by chain id, as dockerd tells it."""
    return [Removed(deleted=one) for one in (image.id, *reversed(chain_ids(image.diff_ids)))]


def test_the_last_name_takes_the_image_along(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1", "y:1"]))
    assert images.store.remove("x:1", False, nobody) == [Removed(untagged="x:1")]
    assert images.store.remove("y:1", False, nobody) == [Removed(untagged="y:1"), *deleted(image)]
    assert images.left() == NOTHING
    with pytest.raises(NotFound):
        images.store.resolve(image.id)


def test_by_id_an_image_with_several_names_goes_only_by_force(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1", "y:1"]))
    with pytest.raises(
        Conflict, match=r"unable to delete [0-9a-f]{12} \(must be forced\) - image is referenced in mult"
    ):
        images.store.remove(image.id, False, nobody)
    assert set(images.store.remove(image.id[7:19], True, nobody)) == {
        Removed(untagged="x:1"),
        Removed(untagged="y:1"),
        *deleted(image),
    }


def test_by_id_one_name_goes_without_force(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1"]))
    assert images.store.remove(image.id, False, nobody) == [Removed(untagged="x:1"), *deleted(image)]


def test_an_image_that_a_running_container_uses_stays(images: Images) -> None:
    (image,) = images.load(docker_archive([BASE], ["x:1"]))
    with pytest.raises(Conflict, match=r'remove repository reference "x:1" \(must force\) - container c{12} is using'):
        images.store.remove("x:1", False, container)
    for force in (False, True):
        with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container c{12}"):
            images.store.remove(image.id, force, container)
    assert images.store.resolve("x:1").id == image.id, "a refusal changes nothing"
    assert images.store.remove("x:1", True, container) == [Removed(untagged="x:1")]
    kept = images.store.resolve(image.id)
    assert kept.tags == () and (images.store.layers_dir / images.store.lowers(kept)[0] / "etc/name").exists()
    images.store.remove(image.id, False, nobody)
    assert images.left() == NOTHING


def test_for_stopped_containers_an_image_stays_when_it_is_gone_for_all_others(images: Images) -> None:
    """By force only, as dockerd does; the same image loaded again is one of everybody's."""
    (image,) = images.load(docker_archive([BASE], ["x:1"]))
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container c{12}"):
        images.store.remove(image.id, False, stopped)
    assert images.store.remove("x:1", True, stopped) == [Removed(untagged="x:1"), Removed(deleted=image.id)]
    with pytest.raises(NotFound):
        images.store.resolve(image.id[7:19])
    assert images.store.list() == [] and images.store.of_container(image.id).config == image.config
    images.store.release(stopped)
    assert images.left()["layers"], "it has a user still"
    images.load(docker_archive([BASE], ["x:1"]))
    images.store.release(nobody)
    assert images.store.resolve("x:1").id == image.id
    images.store.remove(image.id, True, stopped)
    images.store.release(nobody)
    assert images.left() == NOTHING
    with pytest.raises(NotFound):
        images.store.of_container(image.id)


def test_a_second_name_of_an_image_in_use_can_go(images: Images) -> None:
    images.load(docker_archive([BASE], ["x:1", "y:1"]))
    assert images.store.remove("y:1", False, container) == [Removed(untagged="y:1")]


# -- what a crash leaves


def test_leftovers_of_a_crash_are_collected_at_the_next_start(tmp_path: Path) -> None:
    """A layer and a blob in place without a row: killed between the rename and the commit. And what has rows stays.

    Seen to fail where a start collects nothing.
    """
    with made.images(tmp_path / "data") as images:
        images.load(docker_archive([BASE], ["x:1"]))
        before = images.left()
        (images.store.layers_dir / ("a" * 64) / "diff").mkdir(parents=True)
        (images.root / "content/sha256" / ("b" * 64)).write_bytes(b"left")
    with made.images(tmp_path / "data") as images:
        assert images.left() == before
        assert images.store.resolve("x:1")
    assert not any(name.startswith(("a" * 64, "b" * 64)) for names in before.values() for name in names)


def test_an_image_that_cannot_be_read_is_set_aside_and_nothing_is_deleted(tmp_path: Path) -> None:
    """Seen to fail where its layers count as unused."""
    with made.images(tmp_path / "data") as images:
        (broken,) = images.load(docker_archive([BASE], ["x:1"]))
        images.load(docker_archive([TOP], ["y:1"]))
        before = images.left()
    db = Database(tmp_path / "data/minidock.db")
    db.execute("UPDATE images SET config = ? WHERE id = ?", (b"garbage", broken.id))
    db.close()
    with made.images(tmp_path / "data") as images:
        assert [image.tags for image in images.store.list()] == [("y:1",)]
        images.store.remove("y:1", False, nobody)
        assert images.left() == before, "whose layers they are can't be told"
