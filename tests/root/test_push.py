"""`docker push`: to Debian's docker-registry and to one of ours that wants something.

What left the first registry must be in the second with equal digests, told by skopeo. The faults: tests below "what
goes wrong". Who may push at all: test_login.py.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from minidock.image import upload
from minidock.image.http import Timing
from minidock.image.model import Auth
from minidock.image.progress import Abandoned, ProgressLine
from minidock.wire.errors import Error, InvalidArgument, NotFound, ServerError, Unauthorized
from tests.support import images as made
from tests.support import registries
from tests.support.daemon import Daemon
from tests.support.images import Images, docker_archive, file, gz, tar
from tests.support.registries import FakeRegistry, Reply, Request, fake_registry, refusal

BUILD = Path(__file__).parents[2] / "rootfs/build"
ALPINE = f"docker-archive:{BUILD}/alpine-3.23.tar:alpine:3.23"
BUSYBOX = f"docker-archive:{BUILD}/busybox.tar:busybox:latest"
QUICK = Timing(connect=1, read=2, window=2, window_bytes=100, attempts=3, pause=0.01, longest_pause=0.05)
BASE = tar(file("base", b"B" * 100_000))
TOP = tar(file("top", b"T" * 1000))
ME = Auth("me", "secret")


@pytest.fixture
def images(images: Images) -> Images:
    images.store.pusher().timing = images.store.puller().timing = QUICK
    return images


class Shelf:
    """What a registry that takes uploads holds; the hook of a FakeRegistry, with what it asks for first."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry, self.password, self.fails = registry, "", 0
        self.limit, self.half = 0, b""  # the most bytes of one request, and what has come of an upload in pieces
        registry.hook = self

    def __call__(self, request: Request) -> Reply | None:
        wanted = "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and request.headers.get("authorization") != wanted:
            return refusal(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": 'Basic realm="x"'})
        parts = urlsplit(request.path)
        if request.method == "POST" and parts.path.endswith("/blobs/uploads/"):
            mount = parse_qs(parts.query).get("mount", [""])[0]
            if mount in self.registry.blobs:
                return Reply(201, headers={"Location": "/v2/x"})
            return Reply(202, headers={"Location": parts.path + "one?state=a"})
        if self.limit and len(request.body) > self.limit:
            return Reply(413)
        if request.method == "PATCH":
            assert request.headers["content-range"] == f"{len(self.half)}-{len(self.half) + len(request.body) - 1}"
            self.half += request.body
            return Reply(202, headers={"Location": f"{parts.path}?state=a{len(self.half)}"})
        if request.method == "PUT" and "/uploads/" in parts.path and self.half:
            assert f"state=a{len(self.half)}&" in parts.query and not request.body
            request, self.half = replace(request, body=self.half), b""
        if request.method == "PUT" and "/uploads/" in parts.path:
            self.fails -= 1
            if self.fails >= 0:
                return Reply(503)
            assert "state=a" in parts.query
            self.registry.add_blob(request.body)
            return Reply(201)
        if request.method == "PUT":
            name, _, tag = parts.path.removeprefix("/v2/").partition("/manifests/")
            self.registry.add_manifest(name, tag, json.loads(request.body), request.headers["content-type"])
            return Reply(201, headers={"Docker-Content-Digest": made.digest(request.body)})
        return None


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with fake_registry() as registry:
        yield Shelf(registry)


def pushed(images: Images, name: str, auth: Auth | None = None) -> list[str]:
    """Pushes; the lines, without figures."""
    images.lines.clear()
    images.store.push(name, auth, images.say)
    return [line.status for line in images.lines if line.status and line.current is None]


# -- a real registry


@pytest.mark.registry
def test_from_registry_to_registry_digests_stay(images: Images, tmp_path: Path) -> None:
    with registries.real_registry(tmp_path / "r", registries.free_port()) as host:
        registries.fill(host, ALPINE, "from/alpine:1")
        image = images.pull(f"{host}/from/alpine:1")
        digest = image.digests[0].partition("@")[2]
        images.store.tag(image.id, f"{host}/to/alpine:2")
        assert [line.partition(" from ")[0] for line in pushed(images, f"{host}/to/alpine:2")][1:3] == [
            "Preparing",
            "Mounted",
        ]
        told = json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{host}/to/alpine:2"))
        assert told["Digest"] == digest
        assert f"{host}/to/alpine@{digest}" in images.store.resolve(image.id).digests
        assert images.lines[-1].aux == {"Tag": "2", "Digest": digest, "Size": images.lines[-1].aux["Size"]}
        _skopeo("copy", "--src-tls-verify=false", f"docker://{host}/to/alpine:2", f"dir:{tmp_path}/copy")
        assert made.digest((tmp_path / "copy/manifest.json").read_bytes()) == digest


@pytest.mark.registry
def test_an_image_without_manifest_gets_one(images: Images, tmp_path: Path) -> None:
    """From a docker archive: uploaded layer by layer, and pulled elsewhere it is the same image."""
    with registries.real_registry(tmp_path / "r", registries.free_port()) as host:
        (image,) = images.load(docker_archive([BASE, TOP], [f"{host}/x:1"]))
        assert pushed(images, f"{host}/x:1").count("Pushed") == 2
        assert pushed(images, f"{host}/x:1").count("Layer already exists") == 2
        with made.images(tmp_path / "other") as other:
            assert other.pull(f"{host}/x:1").id == image.id


@pytest.mark.registry
@pytest.mark.docker_cli
@pytest.mark.overlay
def test_the_commands(fresh_daemon: Daemon, tmp_path: Path) -> None:
    """minidock and docker push; what fails is an error with exit code 1, whatever the status of the answer."""
    enter, minidock, docker = fresh_daemon.netns.enter, fresh_daemon.cli, fresh_daemon.docker
    with registries.real_registry(tmp_path / "r", 5000, enter) as host:
        registries.fill(host, BUSYBOX, "a:1", enter)
        minidock.ok("pull", f"{host}/a:1")
        minidock.ok("tag", f"{host}/a:1", f"{host}/b:1")
        minidock.ok("tag", f"{host}/a:1", f"{host}/b:2")
        assert "1: digest: sha256:" in minidock.ok("push", f"{host}/b:1")
        assert "1: digest: sha256:" in minidock.ok("push", "-a", f"{host}/b")
        assert minidock.ok("push", "-q", f"{host}/b:2") == f"{host}/b:2"
        assert "2: digest: sha256:" in docker.ok("push", f"{host}/b:2")
        for client in (minidock, docker):
            missing = client("push", f"{host}/none:1")
            assert missing.code == 1 and f"An image does not exist locally with the name: {host}/none:1" in missing.err
        fresh_daemon.cli.ok("rmi", "-f", f"{host}/a:1", f"{host}/b:1", f"{host}/b:2")


# -- what a registry may want


def test_all_tags_and_a_password(images: Images, shelf: Shelf) -> None:
    host = shelf.registry.host
    shelf.password = "secret"
    images.load(docker_archive([BASE], [f"{host}/x:1", f"{host}/x:2"]))
    with pytest.raises(Unauthorized, match="unauthorized: authentication required"):
        pushed(images, f"{host}/x", Auth("me", "wrong"))
    assert shelf.registry.manifests == {}
    lines = pushed(images, f"{host}/x", ME)
    assert [line.split(":")[0] for line in lines if "digest" in line] == ["1", "2"]
    assert {"x:1", "x:2"} <= shelf.registry.manifests.keys() and BASE in shelf.registry.blobs.values()
    images.store.login(host, ME)
    with pytest.raises(Unauthorized, match="incorrect username or password"):
        images.store.login(f"http://{host}/v1/", Auth("me", "wrong"))


def test_an_upload_that_fails_is_begun_again(images: Images, shelf: Shelf) -> None:
    images.load(docker_archive([BASE], [f"{shelf.registry.host}/x:1"]))
    shelf.fails = 2
    assert "Pushed" in pushed(images, f"{shelf.registry.host}/x:1")
    shelf.registry.blobs.clear()
    shelf.fails = 99
    with pytest.raises(ServerError, match="upload layer .*it answered 503"):
        pushed(images, f"{shelf.registry.host}/x:1")


def test_a_push_that_nobody_waits_for_ends(images: Images, shelf: Shelf) -> None:
    """And the registry gets no manifest. Seen to fail with an upload that tells nobody."""
    images.load(docker_archive([BASE], [f"{shelf.registry.host}/x:1"]))

    def leave(line: ProgressLine) -> None:
        if line.status == "Pushing":
            raise Abandoned

    with pytest.raises(Abandoned):
        images.store.push(f"{shelf.registry.host}/x:1", None, leave)
    assert not shelf.registry.manifests


def test_a_registry_that_wants_pieces(images: Images, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much at once goes in pieces, halved until they fit; each follows the Location of the one before."""
    monkeypatch.setattr(upload, "PIECE", 100_000)
    monkeypatch.setattr(upload, "LEAST_PIECE", 1000)
    shelf.limit = 30_000
    images.load(docker_archive([BASE], [f"{shelf.registry.host}/x:1"]))
    assert "Pushed" in pushed(images, f"{shelf.registry.host}/x:1")
    assert BASE in shelf.registry.blobs.values()
    pieces = [len(request.body) for request in shelf.registry.requests if request.method == "PATCH"]
    assert pieces[:7] == [100_000, 50_000, *[25_000] * 4, len(BASE) - 100_000]
    shelf.registry.blobs.clear()
    shelf.limit = 500
    with pytest.raises(ServerError, match="it answered 413"):
        pushed(images, f"{shelf.registry.host}/x:1")


def test_mounted_from_where_it_came(images: Images, shelf: Shelf) -> None:
    host = shelf.registry.host
    shelf.registry.publish("a", "1", [BASE, TOP])
    image = images.pull(f"{host}/a:1")
    images.store.tag(image.id, f"{host}/b:1")
    shelf.registry.requests.clear()
    asked = shelf.registry.hook
    shelf.registry.hook = lambda r: Reply(404) if r.method == "HEAD" else asked(r)
    assert pushed(images, f"{host}/b:1").count("Mounted from a") == 2
    sent = [r for r in shelf.registry.requests if r.method == "PUT" and "/uploads/" in r.path]
    assert len(sent) == 1, "the config only"
    assert gz(BASE) in shelf.registry.blobs.values()


# -- what goes wrong


def test_what_can_t_be_pushed(images: Images, shelf: Shelf) -> None:
    host = shelf.registry.host
    images.load(docker_archive([BASE], [f"{host}/x:1"]))
    with pytest.raises(NotFound, match="does not exist locally with the name"):
        images.store.push(f"{host}/x:2", None, images.say)
    with pytest.raises(InvalidArgument, match="cannot push a digest reference"):
        images.store.push(f"{host}/x@sha256:{'0' * 64}", None, images.say)
    with pytest.raises(Error, match="reach 127.0.0.1:1: connection refused"):
        images.load(docker_archive([BASE], ["127.0.0.1:1/x:1"]))
        images.store.push("127.0.0.1:1/x:1", None, images.say)


def test_credentials_stay_with_the_registry(images: Images, shelf: Shelf) -> None:
    """An upload that is sent elsewhere goes there without the password (CVE-2020-15157)."""
    host = shelf.registry.host
    images.load(docker_archive([BASE], [f"{host}/x:1"]))
    shelf.password = "secret"
    with fake_registry("127.0.0.2") as other:
        other.hook = lambda request: Reply(201)
        inner = shelf.registry.hook
        elsewhere = {"Location": f"http://{other.host}/put?state=a"}

        def hook(request: Request) -> Reply | None:
            answer = inner(request)
            return Reply(202, headers=elsewhere) if answer and answer.status == 202 else answer

        shelf.registry.hook = hook
        pushed(images, f"{host}/x:1", ME)
        assert {request.body for request in other.requests} >= {BASE}
        assert not any("authorization" in request.headers for request in other.requests)


def _skopeo(*arguments: str) -> str:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True).stdout
