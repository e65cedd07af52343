"""Indexes, of which this machine's image is chosen, and manifests that are not what they seem."""

from __future__ import annotations

import json
import random

import pytest

from minidock.image import manifest
from minidock.image.manifest import Platform
from minidock.wire.errors import Error, InvalidArgument, NotFound
from tests.support.images import digest, file, tar
from tests.support.registries import INDEX, fake_registry


def entry(architecture: str, variant: str = "", system: str = "linux") -> dict[str, object]:
    platform = {"os": system, "architecture": architecture, "variant": variant}
    return {
        "mediaType": "",
        "digest": digest(f"{architecture}{variant}{system}".encode()),
        "size": 1,
        "platform": platform,
    }


@pytest.mark.parametrize(
    ("platform", "here"),
    [("", True), ("linux", True), ("linux/amd64", True), ("Linux/x86_64", True), ("linux/amd64/v2", True)]
    + [("amd64", True), ("linux/arm64", False), ("arm64", False), ("windows", False), ("windows/amd64", False)],
)
def test_platforms_that_fit(platform: str, here: bool) -> None:
    assert manifest.fits(platform, "amd64") is here


def chosen(platform: Platform, *entries: dict[str, object]) -> str:
    found = manifest.parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), INDEX)
    assert isinstance(found, tuple)
    choice = manifest.choose(found, platform)
    return f"{choice.platform.architecture}/{choice.platform.variant}"


AMD, ARM64, ARM7 = Platform("amd64", ("",)), Platform("arm64", ("v8", "")), Platform("arm", ("v7", "v6", "v5", ""))


def test_the_image_for_this_machine_is_chosen() -> None:
    all_of_them = [
        entry("arm64", "v8"),
        entry("arm", "v6"),
        entry("arm", "v7"),
        entry("amd64"),
        entry("unknown", "", "unknown"),
    ]
    assert chosen(AMD, *all_of_them) == "amd64/"
    assert chosen(ARM64, *all_of_them) == "arm64/v8"
    assert chosen(ARM7, *all_of_them) == "arm/v7"
    assert chosen(ARM7, entry("arm", "v5"), entry("arm", "v6")) == "arm/v6"
    assert chosen(ARM64, entry("arm64")) == "arm64/"
    assert chosen(AMD, entry("", "", ""), entry("amd64")) == "amd64/", "a signature, say, is there for no platform"
    assert chosen(AMD, entry("", "", "")) == "/"
    with pytest.raises(NotFound, match=r"no matching manifest for linux/arm64/v8 in the manifest list entries"):
        chosen(ARM64, entry("amd64"), entry("arm64", "", "windows"))


def test_garbage_for_a_manifest_is_an_error_and_never_another_exception() -> None:
    """CVE-2021-21285: a manifest that ends the daemon. 3000 documents with parts replaced by something else.

    The variants take a field for text, or for a list, as it comes: a TypeError.
    """
    with fake_registry() as fake:
        fake.publish("x", "1", [tar(file("a", b"A"))])
        documents = [json.loads(fake.manifests["x:1"][1]), {"schemaVersion": 2, "manifests": [entry("amd64")]}]
    odd: list[object] = [
        None,
        True,
        -1,
        0,
        2**70,
        1e400,
        "",
        "x",
        "sha256:" + "a" * 64,
        "\ud800",
        [],
        [[]],
        {},
        {"a": 1},
        [{}],
        [None],
    ]
    generator = random.Random(5)
    outcomes = {True: 0, False: 0}

    def spoil(value: object) -> object:
        if generator.random() < 0.12:
            return generator.choice(odd)
        if isinstance(value, dict):
            return {key: spoil(inner) for key, inner in value.items() if generator.random() > 0.03}
        return [spoil(inner) for inner in value] if isinstance(value, list) else value

    for number in range(3000):
        try:
            found = manifest.parse(json.dumps(spoil(documents[number % 2])).encode(), generator.choice(["", INDEX]))
            if isinstance(found, tuple):
                manifest.choose(found, AMD)
            outcomes[True] += 1
        except Error as error:
            assert error.status < 500 or error.status == 501
            outcomes[False] += 1
    assert min(outcomes.values()) > 100, f"some must pass and some not: {outcomes}"


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{", b"[" * 100_000, b"\xff", b'{"schemaVersion":2}', b'{"layers":[]}']
)
def test_no_manifest_at_all(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        manifest.parse(data)
