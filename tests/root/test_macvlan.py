"""macvlan and ipvlan: containers beside the host, on the network that an interface of the host is on.

router 198.51.100.1 ── lan0 of the "host" of the daemon, the parent ── eth0 of each container; its own MAC, or lan0's
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import needs
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.netns import Netns
from tests.support.sockets import connect, listen, within

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.macvlan]

ROUTER, FAR = "198.51.100.1", "203.0.113.1"
SUBNET = ("--subnet", "198.51.100.0/24", "--gateway", ROUTER)


def add_parent(daemon: Daemon, undo: ExitStack) -> Netns:
    router = Netns()
    undo.callback(router.close)
    run = daemon.netns.run
    run(*"ip link add lan0 type veth peer eth0 netns".split(), str(router.pid))
    undo.callback(run, *"ip link delete lan0".split())
    run(*"ip link set lan0 up".split())
    for address in (f"{ROUTER}/24 dev eth0", f"{FAR}/24 dev lo", "2001:db8:5::1/64 dev eth0 nodad"):
        router.run(*f"ip address add {address}".split())
    router.run(*"ip link set eth0 up".split())
    return router


@pytest.fixture
def router(daemon: Daemon) -> Iterator[Netns]:
    with ExitStack() as undo:
        yield add_parent(daemon, undo)
        for ident in daemon.cli.ok("ps", "-aq").split():
            daemon.cli("rm", "-f", ident)
        daemon.cli("network", "prune", "-f")


def start(minidock: Cli, name: str, *options: str) -> None:
    minidock.ok("run", "-d", "--name", name, *options, "alpine", "sleep", "1000")


def endpoint(minidock: Cli, name: str, network: str) -> Any:
    return json.loads(minidock.ok("inspect", name))[0]["NetworkSettings"]["Networks"][network]


def reaches(minidock: Cli, name: str, target: str) -> bool:
    return minidock("exec", name, "ping", "-c1", "-w2", target).code == 0


def test_containers_are_the_router_s_neighbours(daemon: Daemon, router: Netns, docker_cli: Cli) -> None:
    minidock = daemon.cli
    six = ("--ipv6", "--subnet", "2001:db8:5::/64", "--gateway", "2001:db8:5::1")
    parts = ("--ip-range", "198.51.100.128/25", "--aux-address", "printer=198.51.100.128")
    docker_cli.ok("network", "create", "-d", "macvlan", *SUBNET, *six, *parts, "-o", "parent=lan0", "lan")
    start(minidock, "aa", "--network", "lan", "-p", "8080:80")
    start(minidock, "bb", "--network", "lan", "--ip", "198.51.100.9")
    first, second = endpoint(minidock, "aa", "lan"), endpoint(minidock, "bb", "lan")
    assert (first["IPAddress"], second["IPAddress"]) == ("198.51.100.129", "198.51.100.9")
    assert first["Gateway"] == ROUTER and first["GlobalIPv6Address"] == "2001:db8:5::2"
    for target in (ROUTER, FAR, "2001:db8:5::1", "bb"):
        assert reaches(minidock, "aa", target), target
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "aa")
    server = within(f"/proc/{pid}/ns/net", lambda: listen(80, socket.SOCK_STREAM))
    with server, within(router.path, lambda: connect("198.51.100.129", 80, socket.SOCK_STREAM)):
        served, peer = server.accept()
        served.close()
    assert peer[0] == ROUTER, "as it is, without any translation"
    assert first["MacAddress"] in router.run("ip", "neigh"), "by a MAC of its own"
    assert minidock.ok("port", "aa") == "", "there is nothing to publish"
    shown = json.loads(docker_cli.ok("network", "inspect", "lan"))[0]
    assert (shown["Driver"], shown["Options"]) == ("macvlan", {"parent": "lan0"}) and len(shown["Containers"]) == 2
    assert not [name for name in daemon.netns.links() if name.startswith("br-")]
    for _ in range(3):  # the interface of the last run may still be on its way out, with the same MAC
        minidock.ok("restart", "-t", "0", "bb")
        assert reaches(minidock, "bb", ROUTER)


def test_connect_and_disconnect_move_the_default_route(daemon: Daemon, router: Netns) -> None:
    minidock = daemon.cli
    minidock.ok("network", "create", "-d", "macvlan", *SUBNET, "-o", "parent=lan0", "alan")
    start(minidock, "aa")
    assert not reaches(minidock, "aa", FAR)
    minidock.ok("network", "connect", "alan", "aa")
    assert reaches(minidock, "aa", FAR), "alan comes before bridge"
    minidock.ok("network", "disconnect", "alan", "aa")
    assert "eth1" not in minidock.ok("exec", "aa", "ip", "-o", "link")
    assert "via 172." in minidock.ok("exec", "aa", "ip", "route")
    minidock.ok("network", "rm", "alan")
    minidock.ok("network", "create", "-d", "macvlan", "--internal", *SUBNET, "-o", "parent=lan0", "alan")
    start(minidock, "bb", "--network", "alan")
    assert "default" not in minidock.ok("exec", "bb", "ip", "route") and reaches(minidock, "bb", ROUTER)


def test_private_ones_do_not_meet(daemon: Daemon, router: Netns) -> None:
    minidock = daemon.cli
    minidock.ok("network", "create", "-d", "macvlan", *SUBNET, "-o", "parent=lan0", "-o", "macvlan_mode=private", "lan")
    for name in ("aa", "bb"):
        start(minidock, name, "--network", "lan")
    assert reaches(minidock, "aa", ROUTER) and not reaches(minidock, "aa", endpoint(minidock, "bb", "lan")["IPAddress"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "parent=lan0"], "is already using parent interface lan0"),
        (["-o", "parent=lan9"], "invalid subinterface vlan name lan9, example formatting is eth0.10"),
        (["-o", "parent=lan9.10"], "failed to find master interface lan9"),
        (["-o", "parent=lan0.4095"], "vlan id must be between 1-4094, received: 4095"),
        (["-o", "parent=lo"], "loopback interface is not a valid macvlan parent link"),
        (["-o", "parent=lan1", "-o", "macvlan_mode=x"], "requested macvlan mode 'x' is not valid"),
        (["-o", "parent=lan1", "--subnet", "198.51.100.128/25"], "Pool overlaps with other one"),
    ],
)
def test_what_can_t_be_is_said(daemon: Daemon, router: Netns, options: list[str], words: str) -> None:
    minidock = daemon.cli
    minidock.ok("network", "create", "-d", "macvlan", *SUBNET, "-o", "parent=lan0", "taken")
    refused = minidock("network", "create", "-d", "macvlan", *options, "lan")
    assert refused.code == 1 and words in refused.err, str(refused)
    assert minidock("network", "inspect", "lan").code == 1


def lacks(script: str) -> bool:
    return needs.in_namespace("-n", script) is not None


VLAN = "ip link add v type veth; ip link add v.1 link v type vlan id 1"


@pytest.mark.parametrize(
    ("options", "script", "module", "link"),
    [
        (["-d", "macvlan"], "ip link add d0 type dummy", "dummy", "dm-"),
        (["-d", "macvlan", "-o", "parent=lan0.10"], VLAN, "8021q", "lan0.10"),
    ],
    ids=["dummy", "vlan"],
)
def test_a_parent_is_made_where_the_kernel_can_and_goes_with_the_network(
    daemon: Daemon, router: Netns, options: list[str], script: str, module: str, link: str
) -> None:
    minidock = daemon.cli
    made = minidock("network", "create", *options, "lan")
    if lacks(script):
        assert made.code == 1 and f"modprobe {module}" in made.err, str(made)
        assert minidock("network", "inspect", "lan").code == 1
        return
    assert made.code == 0, str(made)
    for name in ("aa", "bb"):
        start(minidock, name, "--network", "lan")
    assert reaches(minidock, "aa", "bb")
    assert [name for name in daemon.netns.links() if name.startswith(link)]
    minidock.ok("rm", "-f", "aa", "bb")
    minidock.ok("network", "rm", "lan")
    assert not [name for name in daemon.netns.links() if name.startswith(link)]


@pytest.mark.ipvlan
def test_ipvlan_neighbours_share_the_parent_s_mac(daemon: Daemon, router: Netns) -> None:
    minidock = daemon.cli
    minidock.ok("network", "create", "-d", "ipvlan", *SUBNET, "-o", "parent=lan0", "lan")
    for name in ("aa", "bb"):
        start(minidock, name, "--network", "lan")
    parent = json.loads(daemon.netns.run("ip", "-j", "link", "show", "lan0"))[0]["address"]
    assert minidock.ok("exec", "aa", "cat", "/sys/class/net/eth0/address") == parent
    for target in (ROUTER, FAR, "bb"):
        assert reaches(minidock, "aa", target), target
    minidock.ok("restart", "-t", "0", "bb")
    assert reaches(minidock, "aa", "bb")
    minidock.ok("network", "disconnect", "lan", "bb")
    assert "eth0" not in minidock.ok("exec", "bb", "ip", "-o", "link")


@pytest.mark.ipvlan
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_ipvlan_routed_has_no_neighbours_and_no_gateway(daemon: Daemon, router: Netns, mode: str) -> None:
    minidock = daemon.cli
    options = ("-o", "parent=lan0", "-o", f"ipvlan_mode={mode}")
    minidock.ok("network", "create", "-d", "ipvlan", "--subnet", "192.0.2.0/24", *options, "lan")
    for name in ("aa", "bb"):
        start(minidock, name, "--network", "lan")
    route = minidock.ok("exec", "aa", "ip", "route", "show", "default")
    assert "dev eth0" in route and "via" not in route
    assert reaches(minidock, "aa", "bb")


def test_it_outlives_the_daemon(fresh_daemon: Daemon) -> None:
    with ExitStack() as undo:
        router, minidock = add_parent(fresh_daemon, undo), fresh_daemon.cli
        minidock.ok("network", "create", "-d", "macvlan", *SUBNET, "-o", "parent=lan0", "lan")
        ident = minidock.ok("run", "-d", "--network", "lan", "busybox", "sleep", "1000")
        netns = f"/proc/{minidock.ok('inspect', '-f', '{{.State.Pid}}', ident)}/ns/net"
        fresh_daemon.kill()
        with within(netns, lambda: listen(80, socket.SOCK_STREAM)):
            within(router.path, lambda: connect("198.51.100.2", 80, socket.SOCK_STREAM)).close()
        fresh_daemon.start()
        assert minidock("exec", ident, "ping", "-c1", "-w2", ROUTER).code == 0
        minidock.ok("restart", "-t", "0", ident)
        assert minidock("exec", ident, "ping", "-c1", "-w2", ROUTER).code == 0
        minidock.ok("rm", "-f", ident)
        minidock.ok("network", "rm", "lan")
