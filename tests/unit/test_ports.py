"""Published ports without a kernel: what the flags mean, what the engine makes of the wishes, what nft is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from minidock.engine.config import Config, HostConfig, PortBinding
from minidock.engine.networking.ports import Wish, check, wishes
from minidock.network.ports import Inside, PublishedPort, elements, relayed, ruleset
from minidock.wire.errors import InvalidArgument
from tests.support.fake_daemon import FakeDaemon
from tests.unit.conftest import ID, Minidock

# -- the flags --------------------------------------------------------------------------------------------------------


@pytest.fixture
def body(fake: FakeDaemon, minidock: Minidock) -> Any:
    """body("-p", "80") → what `minidock create -p 80 alpine` sends."""
    fake.on("POST", "/containers/create", {"Id": ID, "Warnings": []}, 201)

    def send(*flags: str) -> Any:
        result = minidock("create", *flags, "alpine")
        assert result.exit_code == 0, result.output
        return fake.requests[-1].json

    return send


def at(port: str, ip: str = "") -> dict[str, str]:
    return {"HostIp": ip, "HostPort": port}


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["-p", "80"], {"80/tcp": [at("")]}),
        (["-p8080:80"], {"80/tcp": [at("8080")]}),
        (["-p", "8080:80/UDP"], {"80/udp": [at("8080")]}),
        (["-p", "127.0.0.1:8080:80/sctp"], {"80/sctp": [at("8080", "127.0.0.1")]}),
        (["-p", "127.0.0.1::80"], {"80/tcp": [at("", "127.0.0.1")]}),
        (["-p", "0:80"], {"80/tcp": [at("")]}),
        (["-p", "[::1]:8080:80"], {"80/tcp": [at("8080", "::1")]}),
        (["-p", "8000-8010:80"], {"80/tcp": [at("8000-8010")]}),
        (["-p", "80-81"], {"80/tcp": [at("")], "81/tcp": [at("")]}),
        (["-p", "8080-8081:80-81"], {"80/tcp": [at("8080")], "81/tcp": [at("8081")]}),
        (["-p", "1:80", "-p", "2:80"], {"80/tcp": [at("1"), at("2")]}),
        (["--publish", "published=8080,target=80,protocol=udp"], {"80/udp": [at("8080")]}),
    ],
)
def test_publish_in_all_of_dockers_forms(body: Any, flags: list[str], wanted: dict[str, Any]) -> None:
    sent = body(*flags)
    assert sent["HostConfig"]["PortBindings"] == wanted
    assert sent["ExposedPorts"] == {port: {} for port in wanted}


def test_expose_and_publish_all(body: Any) -> None:
    sent = body("-P", "--expose", "80", "--expose", "90-91/udp")
    assert sent["HostConfig"]["PublishAllPorts"] is True and "PortBindings" not in sent["HostConfig"]
    assert sent["ExposedPorts"] == {"80/tcp": {}, "90/udp": {}, "91/udp": {}}
    assert "ExposedPorts" not in body() and "PublishAllPorts" not in body()["HostConfig"]


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("-p", "", "no port specified: <empty>"),
        ("-p", "8080:", "no port specified: 8080:<empty>"),
        ("-p", "web", "invalid containerPort: web"),
        ("-p", "0", "invalid containerPort: 0"),
        ("-p", "65536", "invalid containerPort: 65536"),
        ("-p", "81-80", "invalid containerPort: 81-80"),
        ("-p", "web:80", "invalid hostPort: web"),
        ("-p", "80/icmp", "invalid proto: icmp"),
        ("-p", "localhost:80:80", "invalid IP address: localhost"),
        ("-p", "1.2.3.4.5:80:80", "invalid IP address"),
        ("-p", "8000-8001:80-83", "invalid ranges specified for container and host Ports: 80-83 and 8000-8001"),
        ("-p", "published=80,mode=host", "should be name=value but got 'mode=host'"),
        ("--expose", "80:80", "invalid port format for --expose: 80:80"),
        ("--expose", "x", "invalid range format for --expose: x"),
    ],
)
def test_what_is_no_port_is_refused_before_any_request(
    fake: FakeDaemon, minidock: Minidock, flag: str, text: str, words: str
) -> None:
    result = minidock("create", flag, text, "alpine")
    assert result.exit_code == 125 and not fake.requests
    assert f'invalid argument "{text}" for "' in result.output and words in result.output


def test_port_prints_as_docker_does(fake: FakeDaemon, minidock: Minidock) -> None:
    ports = {"443/tcp": [at("8443", "127.0.0.1")], "80/tcp": [at("8080", "0.0.0.0"), at("8080", "::")], "90/udp": None}
    fake.on("GET", "/containers/web/json", {"NetworkSettings": {"Ports": ports}})
    everything = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n443/tcp -> 127.0.0.1:8443\n"
    assert minidock("port", "web").output == everything
    assert minidock("port", "web", "80/tcp").output == "0.0.0.0:8080\n[::]:8080\n"
    missing = minidock("port", "web", "90/udp")
    assert missing.exit_code == 1 and "no public port '90/udp' published for web" in missing.output


# -- the engine -------------------------------------------------------------------------------------------------------


def bound(ip: str, port: str) -> tuple[PortBinding, ...]:
    return (PortBinding(ip, port),)


def test_wishes_go_from_the_particular_to_the_chance_port() -> None:
    host = HostConfig(
        port_bindings={
            "80/tcp": bound("", ""),
            "81": bound("", "8000-8010"),
            "82/udp": (PortBinding("127.0.0.1", "53"), PortBinding("", "0")),
            "83/tcp": (),
        }
    )
    config = Config(exposed_ports={"80/tcp": {}, "90/sctp": {}})
    some = [Wish(82, "udp", "127.0.0.1", range(53, 54)), Wish(81, "tcp", "", range(8000, 8011))]
    assert wishes(config, host) == [*some, Wish(80, "tcp"), Wish(82, "udp")]
    everything = HostConfig(port_bindings=host.port_bindings, publish_all_ports=True)
    assert wishes(config, everything)[2:] == [Wish(80, "tcp"), Wish(82, "udp"), Wish(83, "tcp"), Wish(90, "sctp")]


@pytest.mark.parametrize(
    ("name", "ip", "port", "words"),
    [
        ("x/tcp", "", "1", 'invalid port specification: "x"'),
        ("80/icmp", "", "1", "invalid proto: icmp"),
        ("80/tcp", "", "99999", 'invalid port specification: "99999"'),
        ("80/tcp", "", "00000899999", 'invalid port specification: "00000899999"'),  # seen to be taken for 899999
        ("80/tcp", "", "9-8", 'invalid port specification: "9-8"'),
        ("80/tcp", "", "٣", "invalid port specification"),
        ("80/tcp", "localhost", "1", "invalid IP address: localhost"),
        ("80/tcp", '1.1.1.1" }; flush ruleset', "1", "invalid IP address"),
    ],
)
def test_what_nobody_may_wish(name: str, ip: str, port: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        wishes(Config(), HostConfig(port_bindings={name: bound(ip, port)}))


def test_an_address_of_ipv6_has_one_spelling() -> None:
    for text in ("::1", "[::1]", "0:0::1"):
        assert wishes(Config(), HostConfig(port_bindings={"80/tcp": bound(text, "8080")}))[0].host_ip == "::1"


def test_what_has_no_meaning_here_is_said() -> None:
    host = HostConfig(port_bindings={"80/tcp": bound("", "8080")}, network_mode="bridge")
    assert check(Config(), host) == []
    words = ["Published ports are discarded when using host network mode"]
    assert check(Config(), replace(host, network_mode="host")) == words


def test_the_table_names_each_port_once_and_the_address_asked_for() -> None:
    ports = [
        PublishedPort("0.0.0.0", 8080, "tcp", "172.30.0.2", 80),
        PublishedPort("127.0.0.1", 53, "udp", "172.30.0.2", 5353),
    ]
    found = elements(ports, [Inside("minidock0", "172.30.0.0/16"), Inside("minidock0", "fd00:5::/64")])
    assert found == {
        ("ip", "any", "tcp . 8080 : 172.30.0.2 . 80"),
        ("ip", "one", "127.0.0.1 . udp . 53 : 172.30.0.2 . 5353"),
        ("ip", "bridges", '"minidock0"'),
        ("ip", "hairpin", '"minidock0" . 172.30.0.0/16'),
    }
    assert elements([], [Inside("minidock0", "172.30.0.0/16")]) == set()
    script = ruleset("1a2b3c4d", found)
    assert script.startswith("\nadd table ip minidock-ports-1a2b3c4d\ndelete table ip minidock-ports-1a2b3c4d\n")
    assert "add element ip minidock-ports-1a2b3c4d any { tcp . 8080 : 172.30.0.2 . 80 }\n" in script


def test_ipv6_has_a_table_of_its_own_and_what_the_kernel_can_t_do_is_not_in_it() -> None:
    ports = [
        PublishedPort("::", 8080, "tcp", "fd00:5::2", 80),
        PublishedPort("2001:db8::1", 53, "udp", "fd00:5::2", 53),
        PublishedPort("::1", 8081, "tcp", "fd00:5::2", 80),
        PublishedPort("::", 8082, "tcp", "172.30.0.2", 80),
    ]
    insides = [Inside("br-x", "172.30.0.0/16"), Inside("br-x", "fd00:5::/64")]
    assert [relayed(port) for port in ports] == [False, False, True, True]
    found = elements(ports, insides)
    assert found == {
        ("ip6", "any", "tcp . 8080 : fd00:5::2 . 80"),
        ("ip6", "one", "2001:db8::1 . udp . 53 : fd00:5::2 . 53"),
        ("ip6", "bridges", '"br-x"'),
        ("ip6", "hairpin", '"br-x" . fd00:5::/64'),
    }
    script = ruleset("1a2b3c4d", found, "ip6")
    assert "ip6 daddr { ::1, fe80::/10 } return" in script and " ip " not in script
    assert "add element" not in ruleset("1a2b3c4d", found)
