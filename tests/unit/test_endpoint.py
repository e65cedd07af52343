"""Which daemon the client means, by docker's rules, and what an ssh:// address comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.client import ssh
from minidock.client.endpoint import DEFAULT_HOST, Endpoint, Tls, choose
from minidock.wire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("host", "environment", "expected"),
    [
        (None, {}, DEFAULT_HOST),
        (None, {"DOCKER_HOST": "unix:///d"}, "unix:///d"),
        (None, {"DOCKER_HOST": "unix:///d", "MINIDOCK_HOST": "unix:///m"}, "unix:///m"),
        ("unix:///f", {"DOCKER_HOST": "unix:///d", "MINIDOCK_HOST": "unix:///m"}, "unix:///f"),
        (None, {"DOCKER_TLS_VERIFY": ""}, DEFAULT_HOST),
    ],
)
def test_the_nearest_word_counts(host: str | None, environment: dict[str, str], expected: str) -> None:
    assert choose(host, {}, environment) == Endpoint(expected)


def test_certificates_by_flag_variable_and_default(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem", "other.pem"):
        (tmp_path / name).touch()
    here = {"DOCKER_CERT_PATH": str(tmp_path)}
    ca, cert, key, other = (str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem", "other.pem"))
    wanted = Endpoint("tcp://localhost:2376", Tls(True, ca, cert, key))
    assert choose(None, {"tlsverify": True}, here) == wanted
    assert choose(None, {}, {**here, "DOCKER_TLS_VERIFY": "1"}) == wanted
    assert choose(None, {"tlsverify": False}, {**here, "DOCKER_TLS_VERIFY": "1"}) == Endpoint(DEFAULT_HOST)
    assert choose("tcp://x:1", {"tls": True, "tlscert": other}, here) == Endpoint(
        "tcp://x:1", Tls(False, ca, other, key)
    )


def test_files_that_must_be_there(tmp_path: Path) -> None:
    empty = {"DOCKER_CERT_PATH": str(tmp_path)}
    assert choose(None, {"tls": True}, empty).tls == Tls(False, "", "", "")
    with pytest.raises(InvalidArgument, match="ca.pem"):
        choose(None, {"tlsverify": True}, empty)
    with pytest.raises(InvalidArgument, match="nosuch"):
        choose(None, {"tls": True, "tlskey": "nosuch"}, empty)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("ssh://there", "ssh -o ConnectTimeout=30 -T -- there minidock system dial-stdio"),
        ("ssh://me@there:22/", "ssh -o ConnectTimeout=30 -T -l me -p 22 -- there minidock system dial-stdio"),
        (
            "ssh://[::1]/a/b.sock",
            "ssh -o ConnectTimeout=30 -T -- ::1 minidock --host=unix:///a/b.sock system dial-stdio",
        ),
        ("ssh://-oProxyCommand=x", "ssh -o ConnectTimeout=30 -T -- -oproxycommand=x minidock system dial-stdio"),
    ],
)
def test_ssh_is_called_as_docker_calls_it(url: str, command: str) -> None:
    """What a hostile address says stays behind the --, where ssh takes it for no option (CVE-2017-1000117)."""
    assert " ".join(ssh.parse(url).command()) == command


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://me:secret@there", "ssh://there?x=1", "ssh://there#x", "ssh://there:0x", "ssh://there/a;reboot"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidArgument, match="ssh host connection is not valid"):
        ssh.parse(url)
