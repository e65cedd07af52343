"""prune, system df, events, and the verbs by their nouns: what is asked, what is printed, what is not done unasked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fake_daemon import Exchange, FakeDaemon
from tests.unit.conftest import ID, Minidock

EVENT = {
    "Type": "container",
    "Action": "start",
    "Actor": {"ID": ID, "Attributes": {"name": "web", "image": "busybox"}},
    "timeNano": 1795301130000000004,
}


@pytest.fixture
def wasteful(fake: FakeDaemon) -> FakeDaemon:
    """A daemon that prunes what it is told to."""
    fake.on("POST", "/containers/prune", {"ContainersDeleted": [ID], "SpaceReclaimed": 17})
    fake.on("POST", "/networks/prune", {"NetworksDeleted": None})
    deleted = [{"Untagged": "x:1"}, {"Deleted": "sha256:1"}]
    fake.on("POST", "/images/prune", {"ImagesDeleted": deleted, "SpaceReclaimed": 1000})
    return fake


@pytest.mark.parametrize("noun", ["container", "image", "system"])
def test_nothing_goes_before_the_user_agrees(wasteful: FakeDaemon, minidock: Minidock, noun: str) -> None:
    result = minidock(noun, "prune", stdin="n\n")
    assert result.exit_code == 1 and wasteful.requests == []
    assert "WARNING! This will remove" in result.stdout and f"{noun} prune has been cancelled" in result.stderr
    assert minidock(noun, "prune", stdin="y\n").exit_code == 0 and wasteful.requests


def test_container_prune(wasteful: FakeDaemon, minidock: Minidock) -> None:
    result = minidock("container", "prune", "-f", "--filter", "until=24h", "--filter", "label!=keep")
    assert result.stdout == f"Deleted Containers:\n{ID}\n\nTotal reclaimed space: 17B\n"
    [request] = wasteful.requests
    assert json.loads(request.query["filters"][0]) == {"until": {"24h": True}, "label!": {"keep": True}}


def test_image_prune_takes_named_ones_only_with_a(wasteful: FakeDaemon, minidock: Minidock) -> None:
    assert minidock("image", "prune", "-f").stdout.startswith("Deleted Images:\nuntagged: x:1\ndeleted: sha256:1\n")
    minidock("image", "prune", "-af")
    dangling = [json.loads(request.query["filters"][0])["dangling"] for request in wasteful.requests]
    assert dangling == [{"true": True}, {"false": True}]


def test_system_prune_adds_up(wasteful: FakeDaemon, minidock: Minidock) -> None:
    assert minidock("system", "prune", "--force").stdout.endswith("Total reclaimed space: 1.02kB\n")
    assert [r.path for r in wasteful.requests] == ["/containers/prune", "/networks/prune", "/images/prune"]


def test_system_prune_takes_volumes_when_asked(wasteful: FakeDaemon, minidock: Minidock) -> None:
    wasteful.on("POST", "/volumes/prune", {"VolumesDeleted": ["a"], "SpaceReclaimed": 3})
    said = minidock("system", "prune", "--volumes", stdin="y\n").stdout
    assert "  - all anonymous volumes not used" in said and "Deleted Volumes:\na\n" in said
    assert said.endswith("Total reclaimed space: 1.02kB\n") and "/volumes/prune" in [r.path for r in wasteful.requests]


def df() -> dict[str, Any]:
    image = {"Id": ID, "RepoTags": ["busybox:latest"], "Created": 1, "Size": 3000, "SharedSize": 1000, "Containers": 1}
    unused = {**image, "RepoTags": ["old:1"], "Containers": 0}
    containers = [
        {"Id": ID, "Names": ["/a"], "State": "running", "SizeRw": 10},
        {"Id": ID, "Names": ["/b"], "State": "exited", "SizeRw": 30},
    ]
    volumes = [{"Name": "data", "UsageData": {"Size": 500, "RefCount": 0}}]
    return {
        "LayersSize": 5000,
        "Images": [image, unused],
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [],
    }


DF = """\
TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images          2         1         5kB       3kB (60%)
Containers      2         1         40B       30B (75%)
Local Volumes   1         0         500B      500B (100%)
Build Cache     0         0         0B        0B
"""


def test_df_is_docker_s_table(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/system/df", df())
    assert minidock("system", "df").stdout == DF
    assert minidock("system", "df", "--format", "{{.Type}}={{.Size}}").stdout.splitlines()[0] == "Images=5kB"
    shown = minidock("system", "df", "-v").stdout
    assert "Images space usage:" in shown and "old" in shown and "VOLUME NAME   LINKS     SIZE" in shown


def test_events(fake: FakeDaemon, minidock: Minidock, monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(exchange: Exchange) -> None:
        exchange.chunks([json.dumps(EVENT).encode() + b"\n"])

    fake.on("GET", "/events", stream)
    shown = minidock("events", "--since", "10m", "--until", "0s", "--filter", "type=container").stdout
    assert shown.endswith(f".000000004Z container start {ID} (image=busybox, name=web)\n")
    assert fake.requests[0].query == {"since": ["10m"], "until": ["0s"], "filters": ['{"type":{"container":true}}']}
    assert json.loads(minidock("events", "--format", "json").stdout) == EVENT
    assert minidock("events", "--format", "{{.Type}} {{.Action}}").stdout == "container start\n"


@pytest.mark.parametrize(
    ("noun", "flat"),
    [
        (["container", "ls", "-q"], ["ps", "-q"]),
        (["container", "list", "-q"], ["ps", "-q"]),
        (["container", "rm", "-f", "a"], ["rm", "-f", "a"]),
        (["image", "ls", "-q"], ["images", "-q"]),
        (["image", "rm", "x"], ["rmi", "x"]),
        (["system", "info", "-f", "json"], ["info", "-f", "json"]),
    ],
)
def test_a_verb_by_its_noun_is_the_flat_one(
    fake: FakeDaemon, minidock: Minidock, noun: list[str], flat: list[str]
) -> None:
    fake.on("GET", "/(containers|images)/json", [])
    fake.on("DELETE", "/containers/a", None, 204)
    fake.on("DELETE", "/images/x", [{"Untagged": "x:latest"}])
    fake.on("GET", "/info", {"ID": "1"})
    first, second = minidock(*noun), minidock(*flat)
    assert (first.exit_code, first.output) == (second.exit_code, second.output) == (0, second.output)
    assert fake.seen()[0] == fake.seen()[1]


def test_every_noun_lists_its_verbs(minidock: Minidock) -> None:
    for noun, verbs in (
        ("container", "attach ls prune rename wait"),
        ("image", "import ls prune rm"),
        ("system", "df"),
    ):
        page = minidock(noun, "--help").stdout
        assert page.startswith(f"Usage:  minidock {noun} COMMAND") and all(
            f"\n  {verb} " in page for verb in verbs.split()
        )
        assert minidock(noun).stdout == page
    assert "unknown command: minidock container nosuch" in minidock("container", "nosuch").stderr
