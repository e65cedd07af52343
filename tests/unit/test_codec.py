"""Bodies into typed data: what is refused, with the place named, and that nothing is lost on the way back."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.engine.codec import decode, encode
from minidock.engine.config import Config, HostConfig, PortBinding
from minidock.engine.model import Definition, MountPoint, State, Status
from minidock.wire.errors import InvalidArgument


def test_docker_keys_become_fields() -> None:
    body = {"Image": "alpine", "Cmd": ["sh"], "Tty": True, "Env": ["A=1"], "Labels": {"a": "b"}, "StopTimeout": 5}
    config = decode(Config, body)
    assert (config.image, config.cmd, config.tty, config.env) == ("alpine", ("sh",), True, ("A=1",))
    assert (config.labels, config.stop_timeout) == ({"a": "b"}, 5)


def test_the_irregular_keys() -> None:
    host = decode(
        HostConfig, {"UTSMode": "host", "ContainerIDFile": "/x", "BlkioDeviceReadIOps": [], "IOMaximumIOps": 1}
    )
    assert (host.uts_mode, host.container_id_file, host.io_maximum_iops) == ("host", "/x", 1)
    assert encode(host)["UTSMode"] == "host"


def test_unknown_keys_are_ignored_and_null_means_default() -> None:
    assert decode(Config, {"Nonsense": 1, "Cmd": None, "Labels": None}) == Config()


def test_a_null_in_a_map_is_what_go_makes_of_it() -> None:
    """Found by the fuzz: a label of null was kept, and shown, as null."""
    assert decode(Config, {"Labels": {"a": None}}).labels == {"a": ""}
    assert decode(HostConfig, {"PortBindings": {"80/tcp": None}}).port_bindings == {"80/tcp": None}


def test_a_bare_string_is_a_list_of_one() -> None:
    assert decode(Config, {"Cmd": "sh"}).cmd == ("sh",)


def test_nested_data() -> None:
    host = decode(HostConfig, {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "Memory": 1 << 40})
    assert host.port_bindings == {"80/tcp": (PortBinding("", "8080"),)}
    assert host.memory == 1 << 40


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"Cmd": 1}, "Cmd"),
        ({"Cmd": [1]}, r"Cmd\[0\]"),
        ({"Tty": "yes"}, "Tty"),
        ({"Tty": 1}, "Tty"),
        ({"StopTimeout": True}, "StopTimeout"),
        ({"StopTimeout": 1.5}, "StopTimeout"),
        ({"StopTimeout": 1 << 63}, "StopTimeout"),
        ({"Image": "a\0b"}, "Image"),
        ({"Image": "\ud800"}, "Image"),
        ({"Labels": []}, "Labels"),
        ({"Labels": {"a": 1}}, r"Labels\.a"),
        ([], "body"),
    ],
)
def test_a_wrong_type_is_refused_by_name(body: Any, where: str) -> None:
    with pytest.raises(InvalidArgument, match=where):
        decode(Config, body)


def test_a_record_survives_the_database() -> None:
    definition = Definition(
        "sha256:1", Config(image="a"), HostConfig(binds=("/a:/b",)), (MountPoint("bind", "/a", "/b"),)
    )
    assert decode(Definition, encode(definition)) == definition
    state = State(Status.EXITED, exit_code=3, finished_at=5)
    assert decode(State, encode(state)) == state


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Status"):
        decode(State, {"Status": "confused"})
