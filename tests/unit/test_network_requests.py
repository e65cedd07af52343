"""What a network may be: subnets, gateways, ranges, options, names; and the pools for who asks for nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from minidock.engine import network_requests as requests
from minidock.engine.codec import decode
from minidock.engine.config import EndpointWish
from minidock.engine.network_requests import IpamPool, NetworkRecord, NetworkRequest
from minidock.network import firewall, pools
from minidock.wire.errors import Error, Forbidden, InvalidArgument, NotImplemented, Unavailable

NET = IPv4Network("10.5.0.0/24")
OWN = NetworkRecord("a" * 64, "n1", "bridge", str(NET), "10.5.0.1", "br-a", chosen=True)


def request(**keys: Any) -> NetworkRequest:
    return decode(NetworkRequest, {"Name": "n1", **keys})


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({"Name": ""}, InvalidArgument, "name is empty"),
        ({"Name": "host"}, Forbidden, "predefined host network"),
        ({"Name": "a b"}, InvalidArgument, "invalid network name"),
        ({"Driver": "host"}, Forbidden, 'only one instance of "host"'),
        ({"Driver": "macvlan"}, NotImplemented, "macvlan"),
        ({"EnableIPv6": True}, NotImplemented, "IPv6"),
        ({"Ingress": True}, NotImplemented, "Swarm"),
        ({"IPAM": {"Config": [{"Subnet": "10.1.0.0/16"}, {"Subnet": "10.2.0.0/16"}]}}, InvalidArgument, "one IPv4"),
        ({"Options": {"com.docker.network.driver.mtu": "12"}}, InvalidArgument, "mtu"),
        ({"Options": {"com.docker.network.bridge.enable_icc": "maybe"}}, InvalidArgument, "enable_icc"),
        ({"Options": {"com.docker.network.bridge.name": 'x"; drop'}}, InvalidArgument, "bridge name"),
    ],
)
def test_what_no_network_can_be(keys: dict[str, Any], kind: type[Error], words: str) -> None:
    with pytest.raises(kind, match=words):
        requests.check(request(**keys))


def test_what_clients_send_is_fine() -> None:
    ipam = {"Driver": "default", "Options": {}, "Config": []}
    requests.check(request(Driver="bridge", IPAM=ipam, ConfigFrom=None, Options={}, Labels={"a": "b"}))
    requests.check(request(Driver="", IPAM=None, Options=None, ConfigFrom={"Network": ""}))


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (IpamPool("10.5.0.1/24"), "it should be 10.5.0.0/24"),
        (IpamPool("nonsense"), "invalid CIDR"),
        (IpamPool("10.5.0.0/31"), "no room"),
        (IpamPool(gateway="10.5.0.1"), "give --subnet"),
    ],
)
def test_subnets_that_are_refused(pool: IpamPool, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        requests.subnet(pool)
    assert words in str(caught.value)


def test_the_gateway_is_the_first_free_address_of_the_range() -> None:
    assert requests.gateway(IpamPool(str(NET)), NET) == IPv4Address("10.5.0.1")
    assert requests.gateway(IpamPool(str(NET), auxiliary_addresses={"r": "10.5.0.1"}), NET) == IPv4Address("10.5.0.2")
    assert requests.gateway(IpamPool(str(NET), "10.5.0.128/25"), NET) == IPv4Address("10.5.0.128")
    assert requests.gateway(IpamPool(str(NET), gateway="10.5.0.254"), NET) == IPv4Address("10.5.0.254")


@pytest.mark.parametrize("pool", [IpamPool(gateway="10.6.0.1"), IpamPool(gateway="10.5.0.255"), IpamPool(gateway="x")])
def test_a_gateway_outside_is_refused(pool: IpamPool) -> None:
    with pytest.raises(InvalidArgument, match="gateway"):
        requests.gateway(pool, NET)


def test_a_range_lies_in_its_subnet() -> None:
    with pytest.raises(InvalidArgument, match="not in subnet"):
        requests.ip_range(IpamPool(ip_range="10.6.0.0/24"), NET)


@pytest.mark.parametrize(
    ("settings", "network", "words"),
    [
        ({"IPAMConfig": {"IPv4Address": "10.5.0.9"}}, NetworkRecord("b", "bridge", "bridge"), "user defined networks"),
        ({"Aliases": ["x"]}, NetworkRecord("b", "bridge", "bridge"), "user-defined networks"),
        ({"IPAMConfig": {"IPv4Address": "10.6.0.9"}}, OWN, "no host's address"),
        ({"IPAMConfig": {"IPv4Address": "10.5.0.9"}}, NetworkRecord("c", "auto", "bridge"), "user configured subnets"),
        ({"MacAddress": "01:00:5e:00:00:01"}, OWN, "MAC address"),
        ({"MacAddress": "zz"}, OWN, "MAC address"),
    ],
)
def test_endpoints_that_are_refused(settings: dict[str, Any], network: NetworkRecord, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        requests.check_wish(decode(EndpointWish, settings), network)


def test_pools_avoid_what_is_taken() -> None:
    first = pools.choose([IPv4Network("0.0.0.0/0")], [])
    second = pools.choose([first], [])
    assert not first.overlaps(second)
    assert not pools.choose([], [first.network_address + 2]).overlaps(first), "a resolver lies in it"
    everything = [IPv4Network("172.16.0.0/12"), IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16")]
    with pytest.raises(Unavailable, match="non-overlapping"):
        pools.choose(everything, [])


def test_there_are_subnets_for_hundreds_of_networks() -> None:
    taken: list[IPv4Network] = []
    for _ in range(300):
        taken.append(pools.choose(taken, []))
    assert len(set(taken)) == 300


def test_the_rules_of_an_internal_network_let_nothing_pass() -> None:
    text = firewall.ruleset("br-x", NET, firewall.Policy(internal=True))
    assert "masquerade" not in text and 'iifname "br-x" oifname != "br-x" drop' in text
    assert "masquerade" not in firewall.ruleset("br-x", NET, firewall.Policy(masquerade=False))
    assert 'iifname "br-x" oifname "br-x" drop' in firewall.ruleset("br-x", NET, firewall.Policy(icc=False))
