"""Prune, disk usage, events and list filters of a real daemon, as docker-py and our client see them."""

from __future__ import annotations

import io
import tarfile
import time
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon

pytestmark = [pytest.mark.overlay]


def test_prune_takes_what_does_not_run(minidock: Cli, docker_api: Any) -> None:
    run = ("run", "-d", "--network", "none")
    minidock.ok(*run, "--name", "runs", "busybox", "sleep", "1000")
    minidock.ok(*run, "--name", "kept", "--label", "keep", "busybox", "true")
    gone = minidock.ok(*run, "--name", "gone", "busybox", "sh", "-c", "head -c 5000 /dev/zero >/file")
    minidock.ok("wait", "kept", "gone")
    assert docker_api.containers.prune({"until": "1h"}) == {"ContainersDeleted": None, "SpaceReclaimed": 0}
    shown = minidock.ok("container", "prune", "-f", "--filter", "label!=keep")
    assert shown == f"Deleted Containers:\n{gone}\n\nTotal reclaimed space: 5kB"
    assert sorted(minidock.ok("ps", "-a", "--format", "{{.Names}}").split()) == ["kept", "runs"]
    with pytest.raises(Exception, match="invalid filter 'foo'"):
        docker_api.containers.prune({"foo": "bar"})
    minidock.ok("rm", "-f", "runs", "kept")


def test_an_image_goes_when_nobody_uses_it_and_gives_back_its_own_layers(minidock: Cli, docker_api: Any) -> None:
    minidock.ok("import", "-c", "LABEL scrap=1", "-", "scrap:1", stdin=_archive())
    minidock.ok("create", "--name", "user", "scrap:1", "true")
    wanted = {"dangling": False, "label": "scrap"}
    assert docker_api.images.prune(wanted)["ImagesDeleted"] is None, "a container has it"
    minidock.ok("rm", "user")
    assert docker_api.images.prune({"label": "scrap"})["ImagesDeleted"] is None, "it has a name"
    done = docker_api.images.prune(wanted)
    assert done["SpaceReclaimed"] == 3000 and {"Untagged": "scrap:1"} in done["ImagesDeleted"]
    assert "busybox" in minidock.ok("images")


def test_a_stopped_container_outlives_its_image(fresh_daemon: Daemon) -> None:
    """What dockerd 20.10 does: refused without force; then the image is gone, and the container can all that it could.

    Seen to fail on an rmi that deletes the layers too, and on a daemon whose next start collects them.
    """
    minidock = fresh_daemon.cli
    ident = minidock.ok("inspect", "busybox", "--format", "{{.Id}}")
    user = minidock.ok("run", "-d", "--network", "none", "--name", "user", "busybox", "sh", "-c", "echo here >>/file")
    minidock.ok("wait", "user")
    refused = minidock("rmi", "busybox")
    assert refused.code == 1 and (
        f'conflict: unable to remove repository reference "busybox" (must force) - container {user[:12]} is using its '
        f"referenced image {ident[7:19]}" in refused.err
    )
    assert minidock.ok("rmi", "-f", "busybox").splitlines() == ["Untagged: busybox:latest", f"Deleted: {ident}"]
    assert minidock.ok("images", "-q") == "" and minidock("inspect", "--type", "image", ident).code == 1
    assert minidock.ok("ps", "-a", "--format", "{{.Image}}") == ident[7:19]
    fresh_daemon.kill()
    fresh_daemon.start()
    minidock.ok("start", "user")
    minidock.ok("wait", "user")
    assert minidock.ok("cp", "user:/file", "-")
    assert "A /file" in minidock.ok("diff", "user")
    assert minidock("run", "--rm", ident, "true").code == 125, "for others it is gone"
    minidock.ok("commit", "user", "saved:1")
    minidock.ok("rm", "user")
    assert minidock.ok("run", "--rm", "--network", "none", "saved:1", "cat", "/file") == "here\nhere"
    minidock.ok("rmi", "saved:1")
    assert not list((fresh_daemon.data_root / "layers").iterdir()), "with the last container goes what was kept for it"
    fresh_daemon.load("busybox")  # the ledger misses it


def _archive() -> bytes:
    """A root directory of one file of 3000 bytes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = 3000
        archive.addfile(member, io.BytesIO(bytes(3000)))
    return data.getvalue()


def test_df_counts_a_shared_layer_once(minidock: Cli, docker_api: Any) -> None:
    minidock.ok("create", "--name", "made", "-v", "data:/data", "busybox", "true")
    found = docker_api.df()
    [busybox] = [image for image in found["Images"] if "busybox:latest" in image["RepoTags"]]
    assert busybox["Containers"] == 1 and found["LayersSize"] >= busybox["Size"] > 0
    [volume] = found["Volumes"]
    assert (volume["Name"], volume["UsageData"]["RefCount"]) == ("data", 1)
    assert found["Containers"][0].get("SizeRw", 0) == 0
    assert "Local Volumes   1         1" in minidock.ok("system", "df")
    minidock.ok("rm", "made")
    docker_api.volumes.get("data").remove()


def test_events_are_replayed(minidock: Cli) -> None:
    since = str(time.time())
    minidock.ok("run", "--rm", "--name", "short", "--network", "none", "busybox", "true")
    flags = ("--since", since, "--until", str(time.time()), "--filter", "container=short")
    actions = minidock.ok("events", *flags, "--format", "{{.Action}}").split()
    assert actions == ["create", "attach", "start", "die", "destroy"]
    assert "name=short" in minidock.ok("events", *flags)


def test_list_filters(minidock: Cli, docker_api: Any) -> None:
    def names(**filters: Any) -> list[str]:
        return sorted(one.name for one in docker_api.containers.list(all=True, filters=filters))

    first = minidock.ok("create", "--name", "first", "--label", "a=b", "-v", "/tmp:/host", "busybox", "true")
    minidock("run", "--name", "second", "--network", "none", "busybox", "sh", "-c", "exit 3")
    minidock.ok("run", "-d", "--name", "third", "--network", "none", "busybox", "sleep", "1000")
    assert names(id=first[:12]) == names(name="^/first$") == names(label="a=b") == ["first"]
    assert names(status="created") == names(volume="/host") == names(before="second") == ["first"]
    assert names(exited=3) == names(status="exited") == ["second"] and names(since="second") == ["third"]
    assert names(ancestor="busybox", health="none") == ["first", "second", "third"]
    assert names(network="none") == ["second", "third"] and names(status="restarting") == []
    minidock.ok("rm", "-f", "first", "second", "third")
