"""`minidock network` and the flags of `run` about networks: what is asked of the daemon, and docker's tables."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.cli.networking import networking
from minidock.cli.verb import BadFlag
from tests.support.fake_daemon import FakeDaemon
from tests.unit.conftest import ID, Minidock

NETWORKS = [
    {"Name": "none", "Id": "9" * 64, "Driver": "null", "Scope": "local", "Created": "", "Labels": {}},
    {"Name": "backend", "Id": ID, "Driver": "bridge", "Scope": "local", "Created": "", "Labels": {"a": "b"}},
]
TABLE = """\
NETWORK ID     NAME      DRIVER    SCOPE
4af64a957267   backend   bridge    local
999999999999   none      null      local
"""


def test_ls_is_docker_s_table(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/networks", NETWORKS)
    assert minidock("network", "ls").output == TABLE
    assert minidock("network", "ls", "-q").output == "4af64a957267\n999999999999\n"
    assert minidock("network", "ls", "--format", "{{.Name}}={{.Labels}}").output == "backend=a=b\nnone=\n"
    minidock("network", "ls", "-f", "driver=bridge", "-q")
    assert fake.seen()[-1] == 'GET /networks?filters={"driver":{"bridge":true}}'


def test_create_sends_what_docker_sends(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/networks/create", {"Id": ID, "Warning": ""}, 201)
    pool = [
        "--subnet",
        "10.5.0.0/16",
        "--gateway",
        "10.5.0.1",
        "--ip-range",
        "10.5.1.0/24",
        "--aux-address",
        "r=10.5.0.2",
    ]
    out = minidock("network", "create", *pool, "--internal", "--label", "a=b", "-o", "x=y", "n1").output
    assert out == f"{ID}\n"
    sent = fake.requests[-1].json
    assert sent["IPAM"]["Config"] == [
        {
            "Subnet": "10.5.0.0/16",
            "IPRange": "10.5.1.0/24",
            "Gateway": "10.5.0.1",
            "AuxiliaryAddresses": {"r": "10.5.0.2"},
        }
    ]
    assert (sent["Name"], sent["Internal"], sent["Labels"], sent["Options"]) == ("n1", True, {"a": "b"}, {"x": "y"})


def test_each_address_goes_to_the_subnet_that_has_it(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/networks/create", {"Id": ID, "Warning": ""}, 201)
    subnets = ["--subnet", "10.5.0.0/16", "--subnet", "fd00:5::/64"]
    more = [
        "--gateway",
        "fd00:5::9",
        "--gateway",
        "10.5.0.9",
        "--aux-address",
        "r=fd00:5::2",
        "--ip-range",
        "10.5.1.0/24",
    ]
    assert minidock("network", "create", "--ipv6", *subnets, *more, "n1").exit_code == 0
    sent = fake.requests[-1].json
    assert sent["EnableIPv6"] is True and sent["IPAM"]["Config"] == [
        {"Subnet": "10.5.0.0/16", "IPRange": "10.5.1.0/24", "Gateway": "10.5.0.9"},
        {"Subnet": "fd00:5::/64", "Gateway": "fd00:5::9", "AuxiliaryAddresses": {"r": "fd00:5::2"}},
    ]
    refused = minidock("network", "create", *subnets, "--gateway", "10.6.0.1", "n1")
    assert refused.exit_code == 125 and "no matching subnet for gateway 10.6.0.1" in refused.output


def test_rm_goes_on_after_a_failure(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("DELETE", "/networks/n1", status=204)
    result = minidock("network", "rm", "nosuch", "n1")
    assert (result.exit_code, result.stdout) == (1, "n1\n") and "nosuch" in result.stderr
    assert minidock("network", "rm", "-f", "nosuch").exit_code == 0


def test_prune_asks_first(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/networks/prune", {"NetworksDeleted": ["n1", "n2"]})
    assert minidock("network", "prune", "-f").output == "Deleted Networks:\nn1\nn2\n\n"
    before = len(fake.seen())
    assert minidock("network", "prune").exit_code == 1 and len(fake.seen()) == before


def test_connect_and_disconnect(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/networks/n1/connect")
    fake.on("POST", "/networks/n1/disconnect")
    addresses = ["--ip", "10.5.0.9", "--ip6", "fd00:5::9"]
    assert minidock("network", "connect", "--alias", "db", *addresses, "n1", "web").exit_code == 0
    endpoint = {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.5.0.9", "IPv6Address": "fd00:5::9"}}
    assert fake.requests[-1].json == {"Container": "web", "EndpointConfig": endpoint}
    assert minidock("network", "disconnect", "-f", "n1", "web").exit_code == 0
    assert fake.requests[-1].json == {"Container": "web", "Force": True}


def test_a_noun_without_a_verb_shows_its_verbs(minidock: Minidock) -> None:
    assert "disconnect" in minidock("network").output
    result = minidock("network", "frobnicate")
    assert result.exit_code == 1 and "unknown command: minidock network frobnicate" in result.stderr


def given(*networks: str, **flags: Any) -> dict[str, Any]:
    return {"network": networks, "network_alias": (), "ip": None, "ip6": None, "link": (), "mac_address": None, **flags}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (given(), ("default", {})),
        (given("host"), ("host", {})),
        (given("n1", network_alias=("a", "b")), ("n1", {"n1": {"Aliases": ["a", "b"]}})),
        (given("n1", ip="10.0.0.2"), ("n1", {"n1": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}}})),
        (given("n1", "n2", mac_address="m"), ("n1", {"n1": {"MacAddress": "m"}, "n2": {}})),
        (
            given("name=n1,alias=x,ip=10.0.0.2"),
            ("n1", {"n1": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}}),
        ),
        (given("container:web"), ("container:web", {})),
    ],
)
def test_flags_of_run(options: dict[str, Any], wanted: tuple[str, dict[str, Any]]) -> None:
    assert networking(options) == wanted


@pytest.mark.parametrize(
    "options",
    [given("n1", ip="nonsense"), given("n1", "n1"), given("alias=x"), given("name=n1,alias=x", network_alias=("y",))],
)
def test_flags_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadFlag):
        networking(options)
