"""`docker pull`: from Debian's docker-registry into the store and into a running daemon; and what a bad pull leaves.

The real registry is filled by skopeo. For faults a registry of ours misbehaves: after each of them nothing is left in
the folders, and the same pull works once the registry behaves. The client alone: unit/test_registry.py.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minidock.image.progress import Abandoned, ProgressLine
from minidock.wire.errors import Error, NotFound
from tests.support import images as made
from tests.support import registries, sockets
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.figures import Figure
from tests.support.images import NOTHING, Images, file, tar
from tests.support.registries import (
    BASE,
    BUSYBOX,
    INDEX,
    QUICK,
    TOP,
    FakeRegistry,
    Reply,
    Request,
    refusal,
)
from tests.support.wait import eventually

BUILD = Path(__file__).parents[2] / "rootfs/build"
ALPINE = f"docker-archive:{BUILD}/alpine-3.23.tar:alpine:3.23"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registries.real_registry(tmp_path_factory.mktemp("registry"), registries.free_port()) as host:
        registries.fill(host, ALPINE, "alpine:3.23")
        registries.fill(host, BUSYBOX, "tools/busybox:latest")
        yield host


# -- the real registry


@pytest.mark.registry
def test_alpine_comes_as_it_went(images: Images, real: str, tmp_path: Path) -> None:
    """Registry → minidock: the same image id as in the archive it came from, the same files, the registry's digest."""
    image = images.pull(f"{real}/alpine:3.23")
    (archived,) = images.load((BUILD / "alpine-3.23.tar").read_bytes())
    assert archived.id == image.id
    inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{real}/alpine:3.23"]
    told = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    assert image.digests == (f"{real}/alpine@{told['Digest']}",)
    root = images.store.layers_dir / images.store.lowers(image)[0]
    assert (root / "etc/alpine-release").read_text().startswith("3.23")
    assert (root / "bin/sh").readlink() == Path("/bin/busybox")


@pytest.mark.registry
def test_the_progress_is_dockers(images: Images, real: str) -> None:
    image = images.pull(f"{real}/alpine:3.23")
    digest = image.digests[0].partition("@")[2]
    assert images.statuses() == [
        "Pulling from alpine",
        "Pulling fs layer",
        "Verifying Checksum",
        "Download complete",
        "Pull complete",
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {real}/alpine:3.23",
    ]
    assert images.lines[0].id == "3.23" and len(images.lines[1].id) == 12
    moving = {line.status for line in images.lines if line.current is not None}
    assert moving == {"Downloading", "Extracting"} and all(line.total for line in images.lines if line.current)
    images.lines.clear()
    images.pull(f"{real}/alpine:3.23")
    assert images.statuses() == [
        "Pulling from alpine",
        f"Digest: {digest}",
        f"Status: Image is up to date for {real}/alpine:3.23",
    ]


@pytest.mark.registry
def test_by_digest_there_is_no_tag(images: Images, real: str) -> None:
    tagged = images.pull(f"{real}/tools/busybox")
    images.store.remove(f"{real}/tools/busybox", False, lambda _: [])
    assert images.left() == NOTHING, "with the last tag go the digests, and with them the image"
    image = images.pull(tagged.digests[0])
    assert image.tags == () and image.digests == tagged.digests
    assert images.store.resolve(tagged.digests[0]).id == tagged.id


@pytest.mark.registry
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("alpine:nosuch", "manifest for {}/alpine:nosuch not found: manifest unknown: manifest unknown"),
        ("nosuch", "manifest for {}/nosuch:latest not found: manifest unknown: manifest unknown"),
    ],
)
def test_what_is_not_there(images: Images, real: str, name: str, says: str) -> None:
    with pytest.raises(NotFound) as caught:
        images.pull(f"{real}/{name}")
    assert caught.value.message == says.format(real)
    assert images.lines == [], "nothing was said yet, so that the API can answer with a status"


# -- whole pulls from a registry of ours


def test_an_index_leads_to_the_image_for_this_machine(images: Images, fake: FakeRegistry) -> None:
    own = made.digest(fake.manifests["x:1"][1])
    other = fake.publish("x", "other", [TOP])
    from minidock.image.manifest import host_platform

    here = {"os": "linux", "architecture": host_platform().architecture, "variant": host_platform().variants[0]}
    entries = [
        other | {"platform": {"os": "linux", "architecture": "mips"}},
        {"mediaType": registries.MANIFEST, "digest": own, "size": 1, "platform": here},
    ]
    index = fake.add_manifest("x", "many", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    image = images.pull(f"{fake.host}/x:many")
    assert image.diff_ids == (made.digest(BASE), made.digest(TOP))
    assert image.digests == (f"{fake.host}/x@{index['digest']}",), "it is known by the digest of the index"
    nothing_here = {"schemaVersion": 2, "manifests": entries[:1]}
    fake.add_manifest("x", "foreign", nothing_here, INDEX)
    with pytest.raises(NotFound, match="no matching manifest for linux/"):
        images.pull(f"{fake.host}/x:foreign")


def test_layers_that_are_there_are_not_fetched_again(images: Images, fake: FakeRegistry) -> None:
    images.pull(f"{fake.host}/x:1")
    fake.publish("y", "1", [BASE, tar(file("another"))])
    fake.requests.clear()
    images.lines.clear()
    images.pull(f"{fake.host}/y:1")
    assert len(fake.paths("/blobs/")) == 2, "the config and the layer on top"
    assert images.statuses()[1] == "Already exists"


def test_a_newer_image_takes_the_tag(images: Images, fake: FakeRegistry) -> None:
    old = images.pull(f"{fake.host}/x:1")
    fake.publish("x", "1", [BASE])
    new = images.pull(f"{fake.host}/x:1")
    assert new.id != old.id and images.store.resolve(f"{fake.host}/x:1").id == new.id
    assert images.store.resolve(old.id).tags == ()
    assert images.statuses()[-1].startswith("Status: Downloaded newer image")


def test_fifty_pulls_at_once_are_one_download(images: Images, fake: FakeRegistry) -> None:
    gate = threading.Event()

    def slowly(request: Request) -> Reply | None:
        if "/blobs/" in request.path:
            gate.wait(5)
        return None

    fake.hook = slowly
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(images.pull, f"{fake.host}/x:1") for _ in range(50)]
        threading.Timer(0.3, gate.set).start()
        assert len({future.result(30).id for future in futures}) == 1
    assert len(fake.paths("/blobs/")) == 3 and len(fake.paths("/manifests/")) == 1
    assert images.statuses().count("Pull complete") == 2 * 50, "everybody saw it"


def test_two_images_with_a_layer_in_common_fetch_it_once(images: Images, fake: FakeRegistry) -> None:
    shared = made.digest(made.gz(BASE))
    fake.publish("y", "1", [BASE, tar(file("y"))])
    fake.publish("z", "1", [tar(file("z")), BASE])  # the same blob at another place: another directory, one download
    gate = threading.Event()
    fake.hook = lambda request: None if not request.path.endswith(shared) or gate.wait(5) else None
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(images.pull, f"{fake.host}/{name}:1") for name in "xyz"]
        threading.Timer(0.3, gate.set).start()
        found = [future.result(30) for future in futures]
    assert len(fake.paths(shared)) == 1
    assert all((images.store.layers_dir / lower).exists() for image in found for lower in images.store.lowers(image))


def test_many_pulls_and_removals_at_once_lose_nothing(images: Images, fake: FakeRegistry) -> None:
    """Pulls of overlapping images against `rmi` of the same: each pulled image is whole when its pull returns."""
    for number in range(4):
        fake.publish(f"n{number}", "1", [BASE, TOP, tar(file(str(number)))][: 2 + number % 2])

    def round_(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(12):
            name = f"{fake.host}/n{generator.randrange(4)}:1"
            if generator.random() < 0.6:
                image = images.pull(name)
                if any(name in other.tags for other in images.store.list()):
                    assert image.diff_ids
            else:
                with contextlib.suppress(NotFound):
                    images.store.remove(name, True, lambda _: [])

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(round_, seed) for seed in range(4)]:
            try:
                future.result(60)
            except NotFound as error:  # removed by another between the end of the pull and the look at it
                assert "No such image" in error.message
    for image in images.store.list():
        assert all((images.store.layers_dir / lower).exists() for lower in images.store.lowers(image))
        images.store.remove(image.id, True, lambda _: [])
    assert images.left() == NOTHING


# -- faults


def blob_of(fake: FakeRegistry, number: int) -> str:
    return str(json.loads(fake.manifests["x:1"][1])["layers"][number]["digest"])


def instead(path: str, reply: Callable[[FakeRegistry], Reply]) -> Callable[[FakeRegistry], None]:
    def install(fake: FakeRegistry) -> None:
        answer = reply(fake)
        fake.hook = lambda request: answer if path in request.path else None

    return install


def lie_about_the_diff_id(fake: FakeRegistry) -> None:
    """All digests are right, but the layer is not the tar that the config promises."""
    value = json.loads(fake.manifests["x:1"][1])
    value["layers"][1] |= fake.add_blob(made.gz(tar(file("other"))))
    fake.add_manifest("x", "1", value)


def hostile_layer(fake: FakeRegistry) -> None:
    fake.publish("x", "1", [BASE, tar(file("../../../x"))])


def of_layer(reply: Callable[[bytes], Reply]) -> Callable[[FakeRegistry], None]:
    """Another answer in place of the upper layer, made of what it is."""

    def install(fake: FakeRegistry) -> None:
        blob = blob_of(fake, 1)
        answer = reply(fake.blobs[blob])
        fake.hook = lambda request: answer if request.path.endswith(blob) else None

    return install


# By fault: what the registry does, and what the error must say.
FAULTS: dict[str, tuple[Callable[[FakeRegistry], None], str]] = {
    "wrong bytes": (instead("/blobs/", lambda fake: Reply(body=b"wrong")), "verification failed for digest"),
    "a layer of wrong bytes": (of_layer(lambda data: Reply(body=bytes(len(data)))), "verification failed for digest"),
    "a layer cut short": (of_layer(lambda data: Reply(body=data, cut=50)), "the connection broke off"),
    "a layer missing": (of_layer(lambda _: refusal(404, "BLOB_UNKNOWN", "blob unknown")), "blob unknown"),
    "500": (instead("/blobs/", lambda fake: Reply(500)), "it answered 500"),
    "502": (instead("/manifests/", lambda fake: Reply(502)), "it answered 502"),
    "429": (instead("/blobs/", lambda fake: Reply(429, headers={"Retry-After": "1000"})), "it answered 429"),
    "a manifest that stalls": (instead("/manifests/", lambda fake: Reply(body=b"x" * 100, drip=5)), "timed out"),
    "a blob that stalls": (instead("/blobs/", lambda fake: Reply(body=b"x" * 100, drip=5)), "timed out"),
    "no gzip": (lie_about_the_diff_id, "its diff id is"),
    "hostile layer": (hostile_layer, "leads out of the root"),
    "denied": (instead("/manifests/", lambda fake: Reply(403)), "denied"),
    "garbage for a manifest": (instead("/manifests/", lambda fake: Reply(body=b"\xff\xfe")), "not JSON"),
    "redirected to nowhere": (
        instead("/blobs/", lambda fake: Reply(307, headers={"Location": "http://127.0.0.1:1/"})),
        "connection refused",
    ),
    "redirected in a circle": (
        instead("/blobs/", lambda fake: Reply(307, headers={"Location": f"http://{fake.host}/v2/x/blobs/again"})),
        "redirect",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_pull_leaves_nothing_and_can_be_repeated(
    images: Images, fake: FakeRegistry, fault: str, figure: Figure
) -> None:
    """The right error after few requests; no blob, no layer, no half of either; and then the same pull works.

    Seen to fail where a failure is tried again without end, where a digest is not compared, and where nothing is
    collected after a pull that failed.
    """
    kept, blobs = dict(fake.manifests), dict(fake.blobs)
    install, words = FAULTS[fault]
    install(fake)
    with pytest.raises(Error) as caught:
        images.pull(f"{fake.host}/x:1")
    asked = len(fake.requests)
    assert "\n" not in str(caught.value) and words in str(caught.value)
    assert asked <= 2 + 4 * QUICK.attempts  # the door, and manifest, config, two layers; each redirect counts
    assert images.left() == NOTHING and images.store.list() == []
    fake.manifests, fake.blobs, fake.hook = kept, blobs, lambda request: None
    assert images.pull(f"{fake.host}/x:1").tags
    figure(f"registry: {fault}", "the right error, few requests", f"{asked} requests: {words}")


def test_a_failed_pull_keeps_what_others_have(images: Images, fake: FakeRegistry) -> None:
    fake.publish("base", "1", [BASE])
    images.pull(f"{fake.host}/base:1")
    before = images.left()
    fake.blobs.pop(blob_of(fake, 1))
    with pytest.raises(Error):
        images.pull(f"{fake.host}/x:1")
    assert images.left() == before


def drips(fake: FakeRegistry) -> None:
    """x:1 is an image that takes minutes to come."""
    fake.publish("x", "1", [tar(file("slow", random.Random(1).randbytes(100_000)))])
    blob = blob_of(fake, 0)
    fake.hook = lambda request: Reply(body=fake.blobs[blob], drip=0.002) if request.path.endswith(blob) else None


def test_a_pull_that_nobody_waits_for_ends(images: Images, fake: FakeRegistry) -> None:
    """Of two who wait for it one may go. Nothing of it is left, and the next one is whole.

    Seen to fail with the first one's leaving taken for the end.
    """
    heard, left = [0, 0], [threading.Event(), threading.Event()]
    drips(fake)

    def client(number: int) -> None:
        def hear(line: ProgressLine) -> None:
            if left[number].is_set():
                raise Abandoned
            heard[number] += line.status == "Downloading"

        images.store.pull(f"{fake.host}/x:1", None, hear)

    with ThreadPoolExecutor(2) as pool:
        futures = []
        for number in range(2):
            futures.append(pool.submit(client, number))
            eventually(lambda: heard[number], "the download to be heard of")  # noqa: B023 - at once
        left[0].set()
        before = heard[1]
        eventually(lambda: heard[1] > before + 2, "it to go on for the other")
        left[1].set()
        for future in futures:
            with pytest.raises(Abandoned):
                future.result(20)
    assert images.left() == NOTHING and images.store.list() == []
    fake.hook = lambda request: None
    assert images.pull(f"{fake.host}/x:1").tags


# -- the whole way: client, daemon, registry


@pytest.fixture
def near(fresh_daemon: Daemon, tmp_path: Path) -> Iterator[str]:
    """A registry on the loopback of the daemon's own network."""
    enter = fresh_daemon.netns.enter
    with registries.real_registry(tmp_path / "registry", 5000, enter) as host:
        registries.fill(host, BUSYBOX, "tools/busybox:1", enter)
        yield host


@pytest.mark.registry
@pytest.mark.overlay
def test_the_client_pulls_runs_and_removes(fresh_daemon: Daemon, near: str) -> None:
    minidock: Cli = fresh_daemon.cli
    out = minidock.ok("pull", f"{near}/tools/busybox:1")
    assert f"Status: Downloaded newer image for {near}/tools/busybox:1" in out
    assert (
        minidock.ok("run", "--rm", "--network", "none", f"{near}/tools/busybox:1", "echo", "pulled").strip() == "pulled"
    )
    assert "Image is up to date" in minidock.ok("pull", f"{near}/tools/busybox:1")
    assert f"{near}/tools/busybox" in minidock.ok("images")
    assert f"Untagged: {near}/tools/busybox:1" in minidock.ok("rmi", f"{near}/tools/busybox:1")


@pytest.mark.registry
@pytest.mark.overlay
def test_run_pulls_what_is_missing(fresh_daemon: Daemon, near: str) -> None:
    done = fresh_daemon.cli("run", "--rm", "--network", "none", f"{near}/tools/busybox:1", "echo", "here")
    assert done.out.strip() == "here" and "Unable to find image" in done.err
    fresh_daemon.cli.ok("rmi", f"{near}/tools/busybox:1")


@pytest.mark.parametrize("asked", ["pull", "build"])
def test_a_client_that_goes_takes_its_pull_along(fresh_daemon: Daemon, asked: str) -> None:
    """Seen to fail where the threads are not told that it went: such a download takes minutes."""
    work = fresh_daemon.data_root / "tmp"
    with contextlib.closing(sockets.within(fresh_daemon.netns.path, FakeRegistry)) as registry:
        drips(registry)
        command = ["pull", f"{registry.host}/x:1"] if asked == "pull" else ["build", "-"]
        with fresh_daemon.cli.start(*command) as client:
            assert client.stdin
            client.stdin.write(f"FROM {registry.host}/x:1\n".encode())
            client.stdin.close()
            eventually(lambda: any(work.glob("blob-*")), "the download to have begun")
        eventually(lambda: not any(work.iterdir()), "the download to be over", timeout=20)


@pytest.mark.registry
@pytest.mark.docker_cli
def test_the_real_docker_cli_pulls(fresh_daemon: Daemon, near: str) -> None:
    docker = fresh_daemon.docker
    out = docker.ok("pull", f"{near}/tools/busybox:1")
    assert f"Status: Downloaded newer image for {near}/tools/busybox:1" in out
    missing = docker("pull", f"{near}/tools/busybox:nosuch")
    assert missing.code == 1 and "not found: manifest unknown" in missing.err
    unreachable = docker("pull", "127.0.0.1:1/x")
    assert unreachable.code == 1 and "reach 127.0.0.1:1: connection refused" in unreachable.err
    docker.ok("rmi", f"{near}/tools/busybox:1")
