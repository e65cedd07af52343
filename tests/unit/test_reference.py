"""References: what people write, what it means, what is refused. The tables are distribution/reference's own cases."""

from __future__ import annotations

import pytest

from minidock.image import reference
from minidock.wire.errors import InvalidArgument

SHA = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.23", "docker.io/library/alpine:3.23", "alpine:3.23"),
        ("library/alpine:3.23", "docker.io/library/alpine:3.23", "alpine:3.23"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alice/tool", "docker.io/alice/tool:latest", "alice/tool:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("Registry/x", "Registry/x:latest", "Registry/x:latest"),
        ("ghcr.io/a/b__c-d.e", "ghcr.io/a/b__c-d.e:latest", "ghcr.io/a/b__c-d.e:latest"),
        (f"alpine@{SHA}", f"docker.io/library/alpine@{SHA}", f"alpine@{SHA}"),
        (f"alpine:3.23@{SHA}", f"docker.io/library/alpine:3.23@{SHA}", f"alpine:3.23@{SHA}"),
    ],
)
def test_a_name_is_understood_as_docker_does(text: str, canonical: str, familiar: str) -> None:
    found = reference.parse(text).with_default_tag()
    assert str(found) == canonical
    assert found.familiar() == familiar
    assert reference.parse(canonical) == found, "what is kept reads as what it was"
    assert reference.parse(familiar) == found


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", "a//b", "/a", "a/", "-a", "a-", "a..b", "a___b", "a:b c", "a@sha256:12", f"a@{SHA}@{SHA}", "a b"]
    + ["a:" + "t" * 129, "a\n", "a:b\n", "ä", "x.y:port/a", "../a", "a/../b", f"a@sha256:{'AB' * 32}", "a\0b", "a:-t"],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        reference.parse(text)


def test_capitals_and_ids_get_their_own_texts() -> None:
    with pytest.raises(InvalidArgument, match=r"repository name \(library/Alpine\) must be lowercase"):
        reference.parse("Alpine:3")
    with pytest.raises(InvalidArgument, match="cannot specify 64-byte hexadecimal strings"):
        reference.parse("ab" * 32)
    with pytest.raises(InvalidArgument, match="must not be more than 255 characters"):
        reference.parse("a/" * 130 + "a")
