"""IPv6: networks with both families, names, ports by both, and that the host's own IPv6 stays as it was.

    outside 2001:db8::9 ── uplink 2001:db8::1, the "host" of the daemon: br-… fd… ── containers

Servers and clients are sockets of this process, opened by threads that step into the network namespaces for it.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.netns import Netns
from tests.support.sockets import Place, connect, listen, within
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.ipv6]

HOST, NEIGHBOUR = "2001:db8::1", "2001:db8::9"
KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])


class World:
    """The daemon's network with a neighbour that knows the host's address only, and what a test makes."""

    def __init__(self, daemon: Daemon, undo: ExitStack, image: str = "alpine") -> None:
        self.daemon, self.undo, self.minidock = daemon, undo, daemon.cli
        self.sleep = (image, "sleep", "1000")
        self.host = daemon.netns.path

    def neighbour(self) -> Netns:
        outside, host = Netns(), self.daemon.netns
        self.undo.callback(outside.close)
        host.run(*"ip link add uplink type veth peer eth0 netns".split(), str(outside.pid))
        self.undo.callback(host.run, *"ip link delete uplink".split())
        host.run(*f"ip address add {HOST}/64 dev uplink nodad".split())
        host.run(*"ip link set uplink up".split())
        outside.run(*f"ip address add {NEIGHBOUR}/64 dev eth0 nodad".split())
        outside.run(*"ip link set eth0 up".split())
        return outside

    def network(self, name: str, *options: str) -> Any:
        self.minidock.ok("network", "create", *options, name)
        self.undo.callback(self.remove, name)
        return json.loads(self.minidock.ok("network", "inspect", name))[0]

    def remove(self, network: str) -> None:
        for ident in self.minidock.ok("ps", "-aq").split():
            self.minidock("rm", "-f", ident)
        self.minidock.ok("network", "rm", network)

    def run(self, *options: str) -> str:
        ident = self.minidock.ok("run", "-d", *options, *self.sleep)
        self.undo.callback(self.minidock, "rm", "-f", ident)
        return ident

    def endpoint(self, name: str, network: str) -> Any:
        return json.loads(self.minidock.ok("inspect", name))[0]["NetworkSettings"]["Networks"][network]

    def netns(self, name: str) -> str:
        return f"/proc/{self.minidock.ok('inspect', '-f', '{{.State.Pid}}', name)}/ns/net"

    def server(self, name: str, kind: socket.SocketKind, address: str = "::") -> Place:
        place = Place(self.netns(name), 80, kind, address)
        self.undo.callback(place.socket.close)
        return place

    def reaches(self, name: str, target: str) -> bool:
        return self.minidock("exec", name, "ping", "-6", "-c1", "-w1", target).code == 0


@pytest.fixture
def world(daemon: Daemon) -> Iterator[World]:
    with ExitStack() as undo:
        yield World(daemon, undo)


def test_a_network_with_both_families(world: World, docker_cli: Cli) -> None:
    """A subnet from the daemon's own pool; addresses that can be used at once; names and reverse names; --ip6."""
    shown = world.network("n6", "--ipv6")
    assert shown["EnableIPv6"] is True
    subnet, gateway = shown["IPAM"]["Config"][1]["Subnet"], shown["IPAM"]["Config"][1]["Gateway"]
    assert re.fullmatch(r"fd[0-9a-f:]+::/64", subnet) and gateway == subnet.replace("::/64", "::1")
    world.run("--network", "n6", "--name", "aa")
    first = world.minidock.ok(
        "run", "--rm", "--network", "n6", "alpine", "sh", "-c", f"ping -6 -c1 -w1 {gateway}; ip -6 a"
    )
    assert "1 packets received" in first and "tentative" not in first
    world.run("--network", "n6", "--name", "bb", "--network-alias", "web")
    end = world.endpoint("bb", "n6")
    address = end["GlobalIPv6Address"]
    assert (end["GlobalIPv6PrefixLen"], end["IPv6Gateway"]) == (64, gateway) and address.startswith(gateway[:-1])
    assert world.reaches("aa", "web") and world.reaches("aa", "bb.n6")
    assert address in docker_cli.ok("exec", "aa", "nslookup", "-type=aaaa", "web")
    assert "bb.n6" in docker_cli.ok("exec", "aa", "nslookup", address)
    assert f"{address}\t" in docker_cli.ok("exec", "bb", "cat", "/etc/hosts")
    members = json.loads(docker_cli.ok("network", "inspect", "n6"))[0]["Containers"].values()
    assert f"{address}/64" in [member["IPv6Address"] for member in members]
    static = world.network(
        "s6", "--ipv6", "--subnet", "10.77.0.0/24", "--subnet", "2001:db8:7::/64", "--aux-address", "r=2001:db8:7::2"
    )
    assert [pool["Subnet"] for pool in static["IPAM"]["Config"]] == ["10.77.0.0/24", "2001:db8:7::/64"]
    docker_cli.ok("network", "connect", "--ip6", "2001:db8:7::77", "s6", "aa")
    assert world.endpoint("aa", "s6")["GlobalIPv6Address"] == "2001:db8:7::77"
    assert "2001:db8:7::77/64" in docker_cli.ok("exec", "aa", "ip", "-6", "address", "show", "eth1")
    docker_cli.ok("network", "connect", "s6", "bb")
    assert world.endpoint("bb", "s6")["GlobalIPv6Address"] == "2001:db8:7::3", "the auxiliary one is kept free"
    taken = docker_cli("run", "--rm", "--network", "s6", "--ip6", "2001:db8:7::77", "alpine", "true")
    assert taken.code == 125 and "Address already in use" in taken.err
    docker_cli.ok("network", "disconnect", "n6", "bb")
    assert "via 2001:db8:7::1" in docker_cli.ok("exec", "bb", "ip", "-6", "route"), "the default route moved along"
    assert address not in docker_cli.ok("exec", "bb", "cat", "/etc/hosts")


def test_networks_without_it_have_none(world: World) -> None:
    world.network("n4")
    text = world.minidock.ok(
        "run", "--rm", "--network", "n4", "alpine", "sh", "-c", "ip -6 address show eth0; ip -6 route"
    )
    assert text == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--subnet", "2001:db8:8::/48"], "Pool overlaps with other one on this address space"),
        (["--subnet", "2001:db8::/32"], "Pool overlaps with other one on this address space"),
        (["--subnet", "2001:db8:9::1/64"], "it should be 2001:db8:9::/64"),
        (["--subnet", "2001:db8:9::/64", "--gateway", "2001:db8:a::1"], "gateway"),
        (["--subnet", "2001:db8:9::/64", "--subnet", "2001:db8:a::/64"], "one IPv6 subnet"),
    ],
)
def test_wishes_that_can_t_be_had(world: World, options: list[str], words: str) -> None:
    world.neighbour()
    world.network("taken", "--ipv6", "--subnet", "2001:db8:8:1::/64")
    result = world.minidock("network", "create", "--ipv6", *options, "other")
    assert result.code == 1 and words in result.err, str(result)


def test_the_way_out_is_masqueraded_unless_it_shall_not_be(world: World) -> None:
    outside = world.neighbour()
    heard = within(outside.path, lambda: listen(99, socket.SOCK_DGRAM, "::"))
    world.undo.callback(heard.close)
    off = ["-o", "com.docker.network.bridge.enable_ip_masquerade=false"]
    world.network("nat", "--ipv6")
    world.network("bare", "--ipv6", *off)
    world.network("shut", "--ipv6", "--internal")
    for name in ("nat", "bare", "shut"):
        world.run("--network", name, "--name", name)
    for name in ("nat", "bare"):
        with within(world.netns(name), lambda: connect(NEIGHBOUR, 99, socket.SOCK_DGRAM)) as client:
            client.send(b"hello")
            peer = heard.recvfrom(100)[1][0]
        assert peer == (HOST if name == "nat" else world.endpoint("bare", "bare")["GlobalIPv6Address"])
    gateway = world.minidock.ok("network", "inspect", "-f", "{{(index .IPAM.Config 1).Gateway}}", "shut")
    world.minidock.ok("rm", "-f", "shut")
    world.run("--network", "shut", "--name", "shut", "--cap-add", "NET_ADMIN")
    assert "default" not in world.minidock.ok("exec", "shut", "ip", "-6", "route")
    world.minidock.ok("exec", "shut", "ip", "-6", "route", "add", "default", "via", gateway)
    assert not world.reaches("shut", NEIGHBOUR), "nor by a route of its own making"


def test_the_host_s_interfaces_keep_what_they_have(world: World) -> None:
    """net.ipv6.conf.all.forwarding has to be on; each interface stays a host's, and believes in routers as before."""
    run = world.daemon.netns.run
    world.neighbour()
    run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.uplink.accept_ra=1")
    names = [
        f"net.ipv6.conf.{interface}.{name}"
        for interface in ("uplink", "lo", "default")
        for name in ("forwarding", "accept_ra", "disable_ipv6", "accept_dad")
    ]
    before = run("sysctl", *names)
    world.network("n6", "--ipv6")
    assert run("sysctl", "-n", "net.ipv6.conf.all.forwarding") == "1\n"
    assert run("sysctl", *names) == before


# -- published ports --------------------------------------------------------------------------------------------------


@KINDS
def test_a_port_answers_by_both_families_from_everywhere(world: World, kind: socket.SocketKind) -> None:
    outside = world.neighbour()
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    world.network("n6", "--ipv6")
    web, other = world.run("--network", "n6", "-p", f"8080:80/{protocol}"), world.run("--network", "n6")
    assert world.minidock.ok("port", web).splitlines() == [
        f"80/{protocol} -> 0.0.0.0:8080",
        f"80/{protocol} -> [::]:8080",
    ]
    assert f"[::]:8080->80/{protocol}" in world.minidock.ok("ps")
    server = world.server(web, kind)
    gateway = world.endpoint(web, "n6")["IPv6Gateway"]
    assert server.peer(outside.path, HOST, 8080) == NEIGHBOUR
    assert server.peer(world.host, HOST, 8080) == HOST
    assert server.peer(world.host, gateway, 8080) == gateway
    assert server.peer(world.host, "::1", 8080) == gateway
    assert server.peer(world.host, "127.0.0.1", 8080).startswith("::ffff:"), "IPv4 all the same"
    for container in (web, other):  # hairpin: the answer must come back through the host
        assert server.peer(world.netns(container), HOST, 8080) == gateway
    address = world.endpoint(web, "n6")["GlobalIPv6Address"]
    outside.run("ip", "route", "add", address, "via", HOST)
    if kind == socket.SOCK_STREAM:
        with pytest.raises(TimeoutError):
            within(outside.path, lambda: connect(address, 80, kind, patience=0.3))


@KINDS
def test_on_loopback_alone_and_to_a_container_without_ipv6(world: World, kind: socket.SocketKind) -> None:
    outside = world.neighbour()
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    ports = ("-p", f"[::1]:8081:80/{protocol}", "-p", f"[::]:8082:80/{protocol}")
    web = world.run(*ports)
    assert world.minidock.ok("port", web) == f"80/{protocol} -> [::1]:8081\n80/{protocol} -> [::]:8082"
    server = world.server(web, kind, "0.0.0.0")
    gateway = world.minidock.ok("inspect", "-f", "{{.NetworkSettings.Gateway}}", web)
    assert server.peer(world.host, "::1", 8081) == gateway
    assert server.peer(outside.path, HOST, 8082) == gateway
    if kind == socket.SOCK_STREAM:
        for netns, address in ((outside.path, HOST), (world.host, HOST)):
            with pytest.raises(ConnectionRefusedError):
                within(netns, partial(connect, address, 8081, kind))
    refused = world.minidock("run", "--rm", "-p", f"[::1]:8082:80/{protocol}", *world.sleep)
    assert refused.code == 125 and "Bind for [::1]:8082 failed: port is already allocated" in refused.err
    free = world.run("-p", f"0.0.0.0:8082:80/{protocol}")
    assert world.minidock.ok("port", free).endswith("0.0.0.0:8082"), "the other family's is another port"


def test_ports_of_both_families_outlive_the_daemon(fresh_daemon: Daemon) -> None:
    with ExitStack() as undo:
        world = World(fresh_daemon, undo, "busybox")
        world.network("n6", "--ipv6")
        web = world.run("--network", "n6", "-p", "8080:80")
        gateway, server = world.endpoint(web, "n6")["IPv6Gateway"], world.server(web, socket.SOCK_STREAM)
        fresh_daemon.kill()
        assert server.peer(world.host, gateway, 8080) == gateway
        fresh_daemon.start()
        assert server.peer(world.host, gateway, 8080) == gateway
        eventually(lambda: server.peer(world.host, "::1", 8080) == gateway, "the relay of loopback")
        assert "is already allocated" in world.minidock("run", "--rm", "-p", "[::]:8080:80", *world.sleep).err
        world.minidock.ok("rm", "-f", web)
        assert "ip6 minidock-ports" not in fresh_daemon.netns.run("nft", "list", "tables")


def test_the_default_bridge_by_a_flag(daemons: Any) -> None:
    daemon = Daemon(daemons, ["--ipv6", "--fixed-cidr-v6", "2001:db8:d::/64"])
    try:
        daemon.start()
        daemon.load("alpine")
        ident = daemon.cli.ok("run", "-d", "-p", "8080:80", "alpine", "sleep", "1000")
        shown = json.loads(daemon.cli.ok("inspect", ident))[0]["NetworkSettings"]
        assert (shown["GlobalIPv6Address"], shown["IPv6Gateway"]) == ("2001:db8:d::2", "2001:db8:d::1")
        assert "[::]:8080" in daemon.cli.ok("port", ident)
        assert "2001:db8:d::1" in daemon.cli.ok("network", "inspect", "bridge")
        assert daemon.cli("exec", ident, "ping", "-6", "-c1", "-w1", "2001:db8:d::1").code == 0
        daemon.cli.ok("rm", "-f", ident)
    finally:
        daemon.close()
