"""What a create refuses by looking at the request alone, with dockerd's words where it has some."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from minidock.engine import create, top
from minidock.engine.codec import decode
from minidock.engine.config import HostConfig
from minidock.image import login
from minidock.wire.errors import Error, InvalidArgument

SOUND: dict[str, Any] = {"Runtime": "minidock", "LogConfig": {"Type": "json-file"}, "ShmSize": 64 << 20}


def check(**wish: Any) -> None:
    create.check_host(decode(HostConfig, {**SOUND, **wish}))


def test_what_is_sound_passes() -> None:
    check(ExtraHosts=["a:1.2.3.4", "b:::1", "c:host-gateway"])


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"ExtraHosts": ["foo"]}, InvalidArgument, 'bad format for add-host: "foo"'),
        ({"ExtraHosts": [":1.2.3.4"]}, InvalidArgument, "bad format for add-host"),
        ({"ExtraHosts": ["foo:x"]}, InvalidArgument, 'invalid IP address in add-host: "x"'),
    ],
)
def test_what_is_refused(wish: dict[str, Any], error: type[Error], words: str) -> None:
    with pytest.raises(error, match=words):
        check(**wish)


@pytest.mark.parametrize("arguments", ['"', "-o garbage", "--nosuch", "$(id)", "-o cmd", "''"])
def test_arguments_that_ps_can_not_have(arguments: str) -> None:
    """Found by the fuzz: each was a 500."""
    with pytest.raises(InvalidArgument):
        asyncio.run(top.top(set(), arguments))


@pytest.mark.parametrize("server", ["\u00c9\u00af5", "a b", "-x", "user@host", "http://[::1", "a..b"])
def test_registries_that_can_not_be(server: str) -> None:
    with pytest.raises(InvalidArgument):
        login.host_of(server)


def test_registries_that_can() -> None:
    given = ("", "https://index.docker.io/v1/", "127.0.0.1:5000", "https://reg.example.com/v2/", "[::1]:5000")
    assert [login.host_of(server) for server in given] == [
        "docker.io",
        "docker.io",
        "127.0.0.1:5000",
        "reg.example.com",
        "[::1]:5000",
    ]
