"""Registry → minidock → registry → skopeo, with equal digests all the way, and the image runs.

A real Alpine, and an image of five layers of small files: 900 of them, and 9000 of 20 kB with MINIDOCK_TEST_SLOW=1.
Seen to fail on a push that makes a manifest of its own, and on an unpacker that leaves out the last file of a layer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import many_files, registries
from tests.support.daemon import ARCHIVES, Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.registry, pytest.mark.overlay, pytest.mark.time_limit(240)]

Scale = Callable[[int, int], int]


@pytest.fixture
def shelves(fresh_daemon: Daemon, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two registries on the loopback of the daemon's network; the second one is empty."""
    enter = fresh_daemon.netns.enter
    with (
        registries.real_registry(tmp_path / "first", 5000, enter) as first,
        registries.real_registry(tmp_path / "second", 5001, enter) as second,
    ):
        yield first, second


def there_and_back(daemon: Daemon, shelves: tuple[str, str], source: str, folder: Path) -> str:
    """The name of the image, which is in the daemon and in the second registry."""
    first, second = (f"{host}/some/image:1" for host in shelves)
    registries.fill(shelves[0], source, "some/image:1", daemon.netns.enter)
    daemon.cli.ok("pull", "-q", first, timeout=120)
    daemon.cli.ok("tag", first, second)
    daemon.cli.ok("push", "-q", second, timeout=120)
    told = [_skopeo(daemon, "inspect", "--tls-verify=false", "--raw", f"docker://{name}") for name in (first, second)]
    assert told[0] == told[1], "the manifests are the same bytes"
    for name, copy in ((first, "a"), (second, "b")):
        _skopeo(daemon, "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{folder}/{copy}")
    found = many_files.blobs(folder / "b")
    assert found == many_files.blobs(folder / "a")
    manifest: dict[str, Any] = json.loads(told[0])
    assert {layer["digest"] for layer in manifest["layers"]} < found
    return second


def test_alpine(fresh_daemon: Daemon, shelves: tuple[str, str], tmp_path: Path) -> None:
    name = there_and_back(fresh_daemon, shelves, f"docker-archive:{ARCHIVES['alpine']}:alpine:3.23", tmp_path)
    run = ("run", "--rm", "--network", "none", name)
    assert fresh_daemon.cli.ok(*run, "cat", "/etc/alpine-release").startswith("3.23")
    fresh_daemon.cli.ok("rmi", name, name.replace(":5001/", ":5000/"))


@pytest.mark.slow
def test_five_layers_of_small_files(
    fresh_daemon: Daemon, shelves: tuple[str, str], tmp_path: Path, scale: Scale
) -> None:
    files, size = scale(900, 9000), scale(2000, 20_000)
    archive = many_files.write(tmp_path, files, size, "many:1")
    name = there_and_back(fresh_daemon, shelves, f"docker-archive:{archive}:many:1", tmp_path)
    run = ("run", "--rm", "--network", "none", name, "sh", "-c")
    assert fresh_daemon.cli.ok(*run, "find /many -type f | wc -l; ls / | grep -c ^bin") == f"{files}\n1"
    fresh_daemon.cli.ok("rmi", name, name.replace(":5001/", ":5000/"))
    trash = fresh_daemon.data_root / "trash"
    eventually(lambda: not any(trash.iterdir()), "the layers' files to be deleted", timeout=120)


def _skopeo(daemon: Daemon, *arguments: str) -> str:
    command = [*daemon.netns.enter, "skopeo", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
