"""Filters of the list of containers that are more than a comparison: ports and their ranges."""

from __future__ import annotations

import json
from typing import cast
from urllib.parse import quote

import pytest

from minidock.api.ps import Selection
from minidock.api.request import Exchange, Request
from minidock.engine.config import Config, HostConfig
from minidock.engine.model import Container, Definition
from minidock.wire.errors import InvalidArgument


def selection(**filters: list[str]) -> Selection:
    query = "all=1&filters=" + quote(json.dumps(filters))
    return Selection(Request(cast(Exchange, None), "GET", "/containers/json", query, {}))


@pytest.mark.parametrize(
    ("value", "ports", "fits"),
    [
        ("80", ["80/tcp"], True),
        ("80", ["80"], True),
        ("80", ["80/TCP"], True),  # seen to fail: one such container, and nobody could use the filter
        ("80/udp", ["80/tcp"], False),
        ("8000-8010", ["8005/tcp"], True),
        ("8005", ["8000-8010/tcp"], True),
        ("8000-8010/udp", ["8011/udp", "53/udp"], False),
        ("80", [], False),
    ],
)
def test_a_port_lies_in_what_is_asked_for(value: str, ports: list[str], fits: bool) -> None:
    one = Container(
        "1" * 64, "web", 1, Definition("i", Config(exposed_ports={port: {} for port in ports}), HostConfig())
    )
    assert selection(expose=[value]).choose([one], None) == ([one] if fits else [])
    assert selection().choose([one], None) == [one], "nothing asked for, everything fits"


@pytest.mark.parametrize("value", ["", "http", "90-80", "80/icmp", "-1"])
def test_what_is_no_port_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'publish="):
        selection(publish=[value])
