"""What a registry has under a name (GET /distribution/{name}/json), asked of a registry of ours.

With the real registry, the daemon and docker-py: tests/root/test_registry_data.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minidock.api.render import image as render
from minidock.image import inspection, reference
from minidock.image.model import RegistryConfig
from minidock.wire.errors import Error, Forbidden, NotFound, ServerError, Unauthorized
from tests.support.images import file, tar
from tests.support.registries import INDEX, MANIFEST, QUICK, FakeRegistry, Reply, fake_registry, refusal


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        yield found


def asked(fake: FakeRegistry, name: str) -> dict[str, object]:
    """The answer of the API."""
    ref = reference.parse(f"{fake.host}/{name}")
    return render.at_registry(inspection.inspect(ref, RegistryConfig(), None, QUICK))


def test_an_image_says_its_platform_in_its_config(fake: FakeRegistry) -> None:
    descriptor = fake.publish("x", "1", [tar(file("a"))])
    platform = {"architecture": "amd64", "os": "linux"}
    assert asked(fake, "x:1") == {"Descriptor": descriptor, "Platforms": [platform]}
    assert asked(fake, f"x@{descriptor['digest']}")["Descriptor"] == descriptor
    assert len(fake.paths("/blobs/")) == 2, "the config, and no layer"


def test_an_index_lists_them(fake: FakeRegistry) -> None:
    platforms = [
        {"architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"]},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {"architecture": "unknown", "os": "unknown"},
    ]
    one = {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1}
    index = {"schemaVersion": 2, "manifests": [one | {"platform": platform} for platform in platforms]}
    descriptor = fake.add_manifest("x", "many", index, INDEX)
    assert asked(fake, "x:many") == {"Descriptor": descriptor, "Platforms": platforms}
    assert not fake.paths("/blobs/")


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply(401), Unauthorized, "it answered 401"),
        (
            refusal(401, "UNAUTHORIZED", "authentication required"),
            Unauthorized,
            "unauthorized: authentication required",
        ),
        (Reply(403), Forbidden, "it answered 403"),
        (refusal(401, "DENIED", "requested access to it"), Forbidden, "denied: requested access to it"),
        (refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"), NotFound, "manifest unknown: manifest unknown"),
        (Reply(500), ServerError, "it answered 500"),
    ],
)
def test_a_no_has_its_own_status(fake: FakeRegistry, reply: Reply, error: type[Error], says: str) -> None:
    """Not that of a pull, where 401 and 403 are 404. Seen to fail with the errors of a pull let through."""
    fake.hook = lambda request: reply if "/manifests/" in request.path else None
    with pytest.raises(error) as caught:
        asked(fake, "x:1")
    assert type(caught.value) is error and caught.value.message.endswith(says)
