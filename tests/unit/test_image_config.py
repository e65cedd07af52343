"""Image configs and chain ids: strangers' JSON read strictly (security.md, row 21), and digests by known vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minidock.image import config, digest, imports
from minidock.wire.errors import InvalidArgument
from tests.support.images import image_config


def parsed(**inner: Any) -> config.ParsedConfig:
    return config.parse(image_config([], **inner))


def test_chain_ids_are_those_of_the_image_spec() -> None:
    """chain(n) is the digest of "chain(n-1) diff(n)", by sha256sum: `printf '%s %s' A B | sha256sum`."""
    diffs = ["sha256:" + character * 64 for character in "abc"]
    first, second, third = digest.chain_ids(diffs)
    assert first == diffs[0]
    assert second == "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"
    assert third == digest.of(f"{second} {diffs[2]}".encode())
    assert digest.of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "text",
    ["sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha512:" + "a" * 64, "../../x", "", None, 5]
    + ["sha256:" + "a" * 64 + more for more in ("/../../x", "\n", "a")],
)
def test_only_a_digest_becomes_a_path(text: object) -> None:
    """CVE-2024-3727. The variants: no look at the form at all, and one that forgets the text's end."""
    with pytest.raises(InvalidArgument):
        digest.check(text)


def test_a_full_config_is_read() -> None:
    found = parsed(
        Env=["PATH=/bin", "EMPTY="],
        Cmd=["sh", "-c", "echo hi"],
        Entrypoint="/init",
        User="1000:1000",
        WorkingDir="/srv",
        Labels={"a": "b\nc"},
        ExposedPorts={"80/tcp": {}, "53/udp": {}},
        Volumes={"/data/": {}},
        StopSignal="SIGQUIT",
        Shell=None,
        Healthcheck={"Test": ["CMD", "true"]},
    ).config
    assert found.env == ("PATH=/bin", "EMPTY=") and found.cmd == ("sh", "-c", "echo hi")
    assert found.entrypoint == ("/init",) and found.user == "1000:1000" and found.working_dir == "/srv"
    assert found.labels == {"a": "b\nc"} and found.exposed_ports == ("80/tcp", "53/udp")
    assert found.volumes == ("/data",) and found.stop_signal == "SIGQUIT" and found.shell == ()
    assert found.healthcheck == {"Test": ["CMD", "true"]}


def test_a_variable_without_a_value_does_not_ask_for_the_hosts() -> None:
    """CVE-2026-57231 and its kind: `Env: ["HOME", "*"]` made a runtime hand over its own environment."""
    assert parsed(Env=["HOME", "*", "A=1"]).config.env == ("A=1",)


@pytest.mark.parametrize(
    "inner",
    [
        {"Env": "PATH=/bin"},
        {"Env": [1]},
        {"Env": ["=x"]},
        {"Env": ["A\nB=x"]},
        {"Env": ["A=x\0"]},
        {"Env": ["HOME=/\nroot::0:0"]},
        {"Cmd": {"a": 1}},
        {"Cmd": ["a\0b"]},
        {"User": "root\nx"},
        {"User": 0},
        {"WorkingDir": "/a\rb"},
        {"Volumes": {"/": {}}},
        {"Volumes": {"data": {}}},
        {"Volumes": {"/a/../../b": {}}},
        {"Volumes": ["/a"]},
        {"Volumes": {"/\ud800": {}}},
        {"ExposedPorts": {"80; rm": {}}},
        {"Labels": {"a": 1}},
        {"StopSignal": "TERM\n"},
        {"Healthcheck": []},
        {"Cmd": ["\ud800"]},
        {"Labels": {"a": "\udfff"}},
    ],
)
def test_a_hostile_field_is_refused(inner: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="read image config"):
        parsed(**inner)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff{}", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1' + b"0" * 5000 + b"}"]
    + [json.dumps({"rootfs": {"diff_ids": ["sha256:../../etc"]}}).encode(), b'{"rootfs": []}', b'{"os": "windows"}']
    + [json.dumps({"rootfs": {"diff_ids": ["sha256:" + "a" * 64] * 501}}).encode(), b" " * (config.MAX_CONFIG + 1)],
)
def test_what_is_no_config_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        config.parse(data)


def test_change_instructions_make_the_config() -> None:
    changes = ['CMD ["a", "b"]', "ENTRYPOINT run it", "ENV A=1 B='x y'", "env A 2", "EXPOSE 80 53/udp", "USER bob"]
    changes += ["LABEL k=v", "VOLUME /data", "WORKDIR /a", "WORKDIR b", "STOPSIGNAL SIGINT", "ONBUILD RUN x"]
    found = config.parse(imports.new_config(digest.of(b""), "hello", changes))
    assert found.comment == "hello"
    inner = found.config
    assert inner.cmd == ("a", "b") and inner.entrypoint == ("/bin/sh", "-c", "run it")
    assert inner.env == ("A=2", "B=x y") and set(inner.exposed_ports) == {"80/tcp", "53/udp"}
    assert inner.labels == {"k": "v"} and inner.volumes == ("/data",) and inner.working_dir == "/a/b"
    assert inner.user == "bob" and inner.stop_signal == "SIGINT" and inner.on_build == ("RUN x",)


@pytest.mark.parametrize(
    "change", ["RUN true", "FROM x", "", "CMD", "CMD [1]", 'SHELL ["a"]', "ENV =x", "ENV A='", "FOO bar"]
)
def test_a_bad_change_is_refused(change: str) -> None:
    with pytest.raises(InvalidArgument):
        imports.new_config(digest.of(b""), "", [change])
