"""`docker pull` beyond the plain case: downloads that break off, zstd, and an image of more than a hundred layers.

The plain case and a registry's faults: test_pull.py.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest
import zstandard

from minidock.image import decompress
from minidock.wire.errors import Error
from tests.support import images as made
from tests.support import registries
from tests.support.daemon import Daemon
from tests.support.figures import Figure
from tests.support.images import Images, file, tar
from tests.support.registries import BASE, BUSYBOX, QUICK, FakeRegistry, Reply, Request

BUILD = Path(__file__).parents[2] / "rootfs/build"


# -- downloads that break off, and zstd


@pytest.mark.slow
def test_a_download_goes_on_where_it_broke_off(images: Images, fake: FakeRegistry, figure: Figure) -> None:
    """Each answer is cut short; as long as something comes, there are more attempts than the allowed ones in a row.

    Seen to fail where each attempt begins anew (it gave up), and where what comes is put in the wrong place.
    """
    layer = os.urandom(900_000)
    fake.publish("big", "1", [tar(file("big", layer))])
    ranges: list[str] = []

    def hook(request: Request) -> Reply | None:
        blob = fake.blobs.get(request.path.rpartition("/")[2], b"")
        if len(blob) < 500_000:
            return None
        ranges.append(request.headers.get("range", ""))
        start = int(ranges[-1].removeprefix("bytes=").removesuffix("-") or 0)
        headers = {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"} if start else {}
        return Reply(206 if start else 200, blob[start:], headers, cut=200_000)

    fake.hook = hook
    image = images.pull(f"{fake.host}/big:1")
    assert (images.store.layers_dir / images.store.lowers(image)[0] / "big").read_bytes() == layer
    assert len(ranges) >= 5 > QUICK.attempts and ranges[0] == "" and ranges[1] == "bytes=200000-"
    figure("registry: each answer is cut short", "resumed, every byte right", f"{len(ranges)} pieces, none twice")


@pytest.mark.parametrize("status", [200, 206, 416])
def test_a_registry_that_knows_no_ranges(images: Images, fake: FakeRegistry, status: int) -> None:
    """All of it at once, a range that was not asked for, or a refusal: then from the beginning."""
    done: set[str] = set()

    def hook(request: Request) -> Reply | None:
        last = request.path.rpartition("/")[2]
        if not fake.blobs.get(last, b"").startswith(b"\x1f\x8b"):
            return None
        if last not in done:
            done.add(last)
            return Reply(body=fake.blobs[last], cut=len(fake.blobs[last]) // 2)
        if "range" in request.headers and status != 200:
            return Reply(status, fake.blobs[last], {"Content-Range": "bytes 0-9/10"})
        return None

    fake.hook = hook
    assert images.pull(f"{fake.host}/x:1").size == 101_000


def test_zstd_layers(images: Images, fake: FakeRegistry) -> None:
    """Pulled, and sent on as they came."""
    kind = "application/vnd.oci.image."
    config = {"mediaType": kind + "config.v1+json", **fake.add_blob(made.image_config([BASE]))}
    layer = {"mediaType": kind + "layer.v1.tar+zstd", **fake.add_blob(zstandard.compress(BASE))}
    digest = fake.add_manifest("z", "1", {"schemaVersion": 2, "config": config, "layers": [layer]})["digest"]
    image = images.pull(f"{fake.host}/z:1")
    assert (images.store.layers_dir / images.store.lowers(image)[0] / "base").read_bytes() == b"B" * 100_000
    assert digest.encode() in b"".join(images.store.save([image.tags[0]]))


# -- all tags of a repository


def paged(fake: FakeRegistry, pages: dict[str, tuple[list[str], str]]) -> None:
    """`pages`: query → the tags of that page, and the link to the next."""

    def hook(request: Request) -> Reply | None:
        path, _, query = request.path.partition("?")
        if path != "/v2/x/tags/list" or query not in pages:
            return None
        tags, link = pages[query]
        headers = {"Link": f'<{link}>; rel="next"'} if link else {}
        return Reply(body=json.dumps({"name": "x", "tags": tags}).encode(), headers=headers)

    fake.hook = hook


def test_all_tags_come_in_pages(images: Images, fake: FakeRegistry) -> None:
    """Each tag reports itself, the end is told once; what is in the list and can be no tag is left out."""
    for tag in ("2", "3"):
        fake.publish("x", tag, [BASE, tar(file("own", tag.encode()))])
    paged(fake, {"": (["1", "2"], "/v2/x/tags/list?last=2&n=2"), "last=2&n=2": (["3", "../evil"], "")})
    found = images.store.pull_all(f"{fake.host}/x", None, images.say)
    assert sorted(name for image in found for name in image.tags) == [f"{fake.host}/x:{tag}" for tag in "123"]
    assert [line.id for line in images.lines if line.status == "Pulling from x"] == ["1", "2", "3"]
    ends = [line for line in images.statuses() if line.startswith("Status")]
    assert ends == [f"Status: Downloaded newer image for {fake.host}/x"]
    images.lines.clear()
    images.store.pull_all(f"{fake.host}/x", None, images.say)
    assert images.statuses()[-1] == f"Status: Image is up to date for {fake.host}/x"


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        ({"": ([], "")}, "repository .*/x not found: it has no tags"),
        ({"": (["1"], "http://127.0.0.1:1/v2/x/tags/list")}, "the next page of its list is on another host"),
        ({"": (["1"] * 9_000, "?last=1"), "last=1": (["1"] * 9_000, "")}, "more than 10000 tags"),
        ({}, "not found: manifest unknown"),
    ],
)
def test_a_list_of_tags_that_is_none(
    images: Images, fake: FakeRegistry, pages: dict[str, tuple[list[str], str]], says: str
) -> None:
    paged(fake, pages)
    with pytest.raises(Error, match=says):
        images.store.pull_all(f"{fake.host}/x", None, images.say)
    assert images.left() == made.NOTHING


@pytest.mark.registry
@pytest.mark.docker_cli
def test_pull_and_push_of_all_tags(fresh_daemon: Daemon, tmp_path: Path) -> None:
    """The flag -a of both clients, there and back again; a repository's name alone means all to the API only."""
    enter = fresh_daemon.netns.enter
    with registries.real_registry(tmp_path / "registry", 5000, enter) as host:
        for tag in ("1", "2"):
            registries.fill(host, BUSYBOX, f"all:{tag}", enter)
        for cli in (fresh_daemon.cli, fresh_daemon.docker):
            assert cli.ok("pull", "-a", f"{host}/all").endswith(f"{host}/all")
            assert sorted(cli.ok("images", "--format", "{{.Tag}}", f"{host}/all").split()) == ["1", "2"]
            told = cli.ok("push", "-a", f"{host}/all")
            assert "1: digest: sha256:" in told and "2: digest: sha256:" in told
            assert "tag can't be used with --all-tags/-a" in cli("pull", "-a", f"{host}/all:1").err
            assert f"{host}/all:latest not found" in cli("pull", f"{host}/all").err
            cli.ok("rmi", f"{host}/all:1", f"{host}/all:2")


# -- many layers


@pytest.mark.overlay
def test_an_image_of_120_layers_runs(daemon: Daemon, tmp_path: Path) -> None:
    """More lower directories than a page of mount options has room for; the topmost file wins, the lowest shows."""
    (tmp_path / "box").mkdir()
    subprocess.run(["tar", "-xf", f"{BUILD}/busybox.tar", "-C", f"{tmp_path}/box"], check=True)
    table = json.loads((tmp_path / "box/manifest.json").read_bytes())[0]
    bottom = b"".join(decompress.plain(io.BytesIO((tmp_path / "box" / table["Layers"][0]).read_bytes())))
    layers = [bottom, *(tar(file(f"n{n}", str(n).encode()), file("top", str(n).encode())) for n in range(119))]
    (tmp_path / "many.tar").write_bytes(made.docker_archive(layers, ["many:1"]))
    daemon.cli.ok("load", "-i", str(tmp_path / "many.tar"))
    try:
        run = ("run", "--network", "none", "--name", "many", "many:1", "/bin/sh", "-c")
        assert daemon.cli.ok(*run, "cat /n0 /n118 /top; rm /n5; echo >/new") == "0118118"
        changed = daemon.cli.ok("diff", "many").splitlines()
        assert "D /n5" in changed and "A /new" in changed
        assert daemon.cli.ok("commit", "many", "many:2").startswith("sha256:")
        assert daemon.cli("run", "--rm", "--network", "none", "many:2", "/bin/sh", "-c", "ls /n5").code != 0
    finally:
        daemon.cli("rm", "-f", "many")
        daemon.cli("rmi", "many:1", "many:2")
