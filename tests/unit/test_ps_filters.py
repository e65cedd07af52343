"""Filters of the list of containers that are more than a comparison: ports and their ranges."""

from __future__ import annotations

import pytest

from minidock.api.ps import _port_fits, _ports
from minidock.wire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("value", "ports", "fits"),
    [
        ("80", ["80/tcp"], True),
        ("80", ["80"], True),
        ("80/udp", ["80/tcp"], False),
        ("8000-8010", ["8005/tcp"], True),
        ("8005", ["8000-8010/tcp"], True),
        ("8000-8010/udp", ["8011/udp", "53/udp"], False),
        ("80", [], False),
    ],
)
def test_a_port_lies_in_what_is_asked_for(value: str, ports: list[str], fits: bool) -> None:
    assert _port_fits([_ports("publish", value)], ports) is fits
    assert _port_fits([], ports), "nothing asked for, everything fits"


@pytest.mark.parametrize("value", ["", "http", "90-80", "80/icmp", "-1"])
def test_what_is_no_port_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'publish="):
        _ports("publish", value)
