"""What a network may be: subnets, gateways, ranges, options, names; and the pools for who asks for nothing."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from minidock.engine.codec import decode
from minidock.engine.config import EndpointWish
from minidock.engine.networking import ipam
from minidock.engine.networking import requests as requests
from minidock.engine.networking.ipam import IpamPool
from minidock.engine.networking.requests import NetworkRecord, NetworkRequest
from minidock.network import firewall, pools
from minidock.network.lan import Lan, new_interface, vlan_of
from minidock.network.sandbox import Endpoint
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
        ({"Driver": "overlay"}, NotImplemented, "overlay"),
        ({"Driver": "macvlan", "Options": {"macvlan_mode": "l2"}}, InvalidArgument, "macvlan mode 'l2' is not valid"),
        ({"Driver": "ipvlan", "Options": {"ipvlan_mode": "bridge"}}, InvalidArgument, "ipvlan mode 'bridge' is not"),
        ({"Driver": "ipvlan", "Options": {"ipvlan_flag": "vepa"}}, NotImplemented, "ipvlan_flag=vepa"),
        ({"Driver": "macvlan", "Options": {"parent": "a b"}}, InvalidArgument, "parent interface"),
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
    requests.check(request(Name="x"))


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
        ipam.subnet(ipam.pool_of([pool], 4))
    assert words in str(caught.value)


def test_the_gateway_is_the_first_free_address_of_the_range() -> None:
    assert ipam.gateway(IpamPool(str(NET)), NET) == IPv4Address("10.5.0.1")
    assert ipam.gateway(IpamPool(str(NET), auxiliary_addresses={"r": "10.5.0.1"}), NET) == IPv4Address("10.5.0.2")
    assert ipam.gateway(IpamPool(str(NET), "10.5.0.128/25"), NET) == IPv4Address("10.5.0.128")
    assert ipam.gateway(IpamPool(str(NET), gateway="10.5.0.254"), NET) == IPv4Address("10.5.0.254")


@pytest.mark.parametrize("pool", [IpamPool(gateway=text) for text in ("10.6.0.1", "10.5.0.255", "x", "fd00::1")])
def test_a_gateway_outside_is_refused(pool: IpamPool) -> None:
    with pytest.raises(InvalidArgument, match="gateway"):
        ipam.gateway(pool, NET)


def test_a_range_lies_in_its_subnet() -> None:
    with pytest.raises(InvalidArgument, match="not in subnet"):
        ipam.ip_range(IpamPool(ip_range="10.6.0.0/24"), NET)


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


POOLS = pools.Pools("1a2b3c4d")


def test_pools_avoid_what_is_taken() -> None:
    first = POOLS.choose([IPv4Network("0.0.0.0/0")], [])
    second = POOLS.choose([first], [])
    assert not first.overlaps(second)
    assert not POOLS.choose([], [first.network_address + 2]).overlaps(first), "a resolver lies in it"
    everything = [IPv4Network("172.16.0.0/12"), IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16")]
    with pytest.raises(Unavailable, match="non-overlapping"):
        POOLS.choose(everything, [])


def test_there_are_subnets_for_hundreds_of_networks() -> None:
    taken: list[IPv4Network] = []
    for _ in range(300):
        taken.append(POOLS.choose(taken, []))
    assert len(set(taken)) == 300


def test_ipv6_subnets_are_private_and_follow_from_the_daemon_s_id() -> None:
    """A /64 of fd00::/8 with 40 bits of the id's SHA-256, bytes 3 to 7; the first one is the default bridge's."""
    first = POOLS.choose6([])
    assert first == pools.Pools("1a2b3c4d").choose6([]) and first.prefixlen == 64
    assert first.subnet_of(IPv6Network("fdb2:7cc7:a2b1::/48")), first
    assert not pools.Pools("another").choose6([]).overlaps(first.supernet(new_prefix=48))
    assert not POOLS.choose6([IPv6Network("::/0"), first]).overlaps(first)
    assert not first.overlaps(pools.default_bridge6("1a2b3c4d").network)
    with pytest.raises(Unavailable, match="IPv6"):
        POOLS.choose6([IPv6Network("fd00::/8")])


def test_pools_of_one_s_own_replace_those_of_their_family() -> None:
    own = pools.Pools("x", [pools.parse("base=10.9.0.0/16,size=24"), pools.parse("base=fd12:3456::/48,size=64")])
    assert own.choose([], []) == IPv4Network("10.9.0.0/24") and own.choose6([]) == IPv6Network("fd12:3456::/64")
    four = pools.Pools("x", [pools.parse("base=10.9.0.0/16,size=24")])
    assert four.choose6([]) == pools.Pools("x").choose6([])


@pytest.mark.parametrize("text", ["", "base=10.9.0.0/16", "base=10.9.0.1/16,size=24", "base=10.9.0.0/16,size=8", "x=1"])
def test_pools_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="default-address-pool"):
        pools.parse(text)


NET6 = ip_network("fd00:5::/64")


def test_the_addresses_of_an_ipv6_subnet() -> None:
    """There is no broadcast address, and the network's own is that of its routers."""
    six = IpamPool(str(NET6))
    assert ipam.pool_of([IpamPool(str(NET)), six], 6) is six
    assert ipam.gateway(six, NET6) == ip_address("fd00:5::1")
    assert ipam.gateway(IpamPool(gateway="fd00:5::ffff:ffff:ffff:ffff"), NET6) == NET6[-1]
    with pytest.raises(InvalidArgument, match="no host's address"):
        ipam.gateway(IpamPool(gateway="fd00:5::"), NET6)
    with pytest.raises(InvalidArgument, match="not in subnet"):
        ipam.ip_range(IpamPool(ip_range="10.5.0.0/24"), NET6)
    with pytest.raises(InvalidArgument, match="it should be fd00:5::/64"):
        ipam.subnet(IpamPool("fd00:5::1/64"))


def test_the_rules_of_an_internal_network_let_nothing_pass() -> None:
    text = firewall.ruleset("br-x", [NET], firewall.Policy(internal=True))
    assert "masquerade" not in text and 'iifname "br-x" oifname != "br-x" drop' in text
    assert "masquerade" not in firewall.ruleset("br-x", [NET], firewall.Policy(masquerade=False))
    assert 'iifname "br-x" oifname "br-x" drop' in firewall.ruleset("br-x", [NET], firewall.Policy(icc=False))
    both = firewall.ruleset("br-x", [NET, IPv6Network("fd00:5::/64")])
    assert 'ip saddr 10.5.0.0/24 oifname != "br-x" masquerade' in both
    assert 'ip6 saddr fd00:5::/64 oifname != "br-x" masquerade' in both


def test_an_interface_beside_the_host_is_born_in_the_container_s_namespace() -> None:
    """What the kernel is asked: the parent by its index here, the namespace by an fd, the mode by its number."""
    end = Endpoint("n", "e", "eth0", "02:42:0a:05:00:02", IPv4Interface("10.5.0.2/24"), IPv4Address("10.5.0.1"))
    for driver, mode, number in (
        ("macvlan", "bridge", 4),
        ("macvlan", "private", 1),
        ("ipvlan", "l2", 0),
        ("ipvlan", "l3s", 2),
    ):
        lan = Lan("n", driver, "lan0", mode, IPv4Interface("10.5.0.1/24"), mtu=1400)
        data = new_interface(lan, end, 7, 9).encode(0, 1)
        sent = ifinfmsg(data)
        sent.decode()
        assert (sent.get_attr("IFLA_IFNAME"), sent.get_attr("IFLA_LINK"), sent.get_attr("IFLA_NET_NS_FD")) == (
            "eth0",
            7,
            9,
        )
        assert sent.get_attr("IFLA_MTU") == 1400
        about = sent.get_attr("IFLA_LINKINFO")
        assert about.get_attr("IFLA_INFO_KIND") == driver
        assert struct.pack("=HH" if driver == "ipvlan" else "=HI", 1, number) in data
        assert sent.get_attr("IFLA_ADDRESS") == (end.mac if driver == "macvlan" else None), "ipvlan shares the parent's"


def test_names_of_vlans() -> None:
    assert vlan_of("eth0.10") == ("eth0", 10) and vlan_of("br.x.4094") == ("br.x", 4094)
    for name in ("eth0", "eth0.", "eth0.0", "eth0.4095", ".5"):
        with pytest.raises(InvalidArgument):
            vlan_of(name)
