"""The default network on a real kernel, in network namespaces of the test's own.

    outside 192.0.2.9 ── uplink 192.0.2.1, the "host": minidock0 ── sandboxes

The bridge is driven from a thread that lives in the "host". Sockets are opened by threads that step into a namespace
for it; a socket stays where it was made.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, TypeVar

import pytest

from minidock.db import Database
from minidock.linux import nft, shim
from minidock.linux.netns import CLONE_NEWNET, in_thread
from minidock.network.bridge import Bridge
from minidock.network.sandbox import Sandbox, isolated_netns
from minidock.network.veth import port_name
from minidock.wire.errors import Conflict, InvalidArgument, Unavailable
from tests.support.netns import Netns
from tests.support.sources import TOP
from tests.support.wait import eventually

pytestmark = pytest.mark.bridge

T = TypeVar("T")

ONE, TWO, THREE = (digit * 64 for digit in "abc")
BIP = IPv4Interface("172.30.0.1/16")


def inside(netns: int, work: Callable[[], T]) -> T:
    """Does ``work`` in the network namespace behind an fd."""

    def step_in() -> T:
        shim.setns(netns, CLONE_NEWNET)
        return work()

    return in_thread(step_in)


class World:
    """The "host" with its way out, and what is made on it."""

    def __init__(self, tmp_path: Path, undo: ExitStack) -> None:
        self._undo = undo
        self._tmp_path = tmp_path
        self.host, self.outside = Netns(), Netns()
        undo.callback(self.host.close)
        undo.callback(self.outside.close)
        self.bare = self.host.links()  # lo, and with some kernels tunnels that every new namespace gets (sit0)
        self.host_fd, self.outside_fd = (self.keep(os.open(ns.path, os.O_RDONLY)) for ns in (self.host, self.outside))
        self._thread = ThreadPoolExecutor(1, initializer=lambda: shim.setns(self.host_fd, CLONE_NEWNET))
        undo.callback(self._thread.shutdown)
        self.db = self.database("minidock.db")

    def database(self, name: str) -> Database:
        db = Database(self._tmp_path / name)
        self._undo.callback(db.close)
        return db

    def keep(self, fd: int) -> int:
        self._undo.callback(os.close, fd)
        return fd

    def on_host(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def uplink(self, mtu: int = 1500) -> None:
        """A link to the outside by which the default route goes; the outside knows the host's address only."""
        self.host.run(
            "ip",
            "link",
            "add",
            "uplink",
            "mtu",
            str(mtu),
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            str(self.outside.pid),
        )
        self.host.run("ip", "address", "add", "192.0.2.1/24", "dev", "uplink")
        self.host.run("ip", "link", "set", "uplink", "up")
        self.host.run("ip", "route", "add", "default", "via", "192.0.2.9")
        self.outside.run("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
        self.outside.run("ip", "link", "set", "eth0", "up")

    def bridge(
        self, subnet: IPv4Interface | None = None, name: str = "minidock0", instance: str = "1a2b3c4d"
    ) -> Bridge:
        return Bridge(name, subnet, self.db, instance)

    def up(self, subnet: IPv4Interface | None = None, **options: Any) -> Bridge:
        bridge = self.bridge(subnet, **options)
        self.on_host(bridge.up)
        return bridge

    def claim(self, bridge: Bridge, container: str) -> Sandbox:
        sandbox = self.on_host(lambda: bridge.claim(container))
        self.keep(sandbox.netns_fd)
        return sandbox

    def release(self, bridge: Bridge, container: str) -> None:
        self.on_host(lambda: bridge.release(container))

    def links(self) -> dict[str, Any]:
        return {link["ifname"]: link for link in json.loads(self.host.run("ip", "-j", "-d", "address", "show"))}

    def tables(self) -> list[str]:
        return self.host.run("nft", "list", "tables").splitlines()

    def sysctl(self, name: str, value: str | None = None) -> str:
        file = Path("/proc/sys/net", name)
        return self.on_host(lambda: file.read_text().strip() if value is None else str(file.write_text(value)))

    def listen(self, netns: int) -> socket.socket:
        return self._opened(inside(netns, lambda: socket.create_server(("0.0.0.0", 80))))

    def connect(self, netns: int, address: str, timeout: float = 15) -> socket.socket:
        return self._opened(inside(netns, lambda: socket.create_connection((address, 80), timeout=timeout)))

    def _opened(self, opened: socket.socket) -> socket.socket:
        self._undo.callback(opened.close)
        return opened


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as undo:
        yield World(tmp_path, undo)


def port_of(sandbox: Sandbox) -> str:
    return port_name(sandbox.endpoint.endpoint_id)


def show(sandbox: Sandbox | int, *what: str) -> Any:
    """``ip -j WHAT`` in a sandbox."""
    netns = sandbox if isinstance(sandbox, int) else sandbox.netns_fd
    return json.loads(inside(netns, lambda: _run("ip", "-j", *what)) or "[]")


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def addresses(link: dict[str, Any]) -> list[str]:
    return [f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"]]


# -- the bridge -------------------------------------------------------------------------------------------------------


def test_up_makes_bridge_rules_and_forwarding(world: World) -> None:
    world.up()
    world.up()  # idempotent
    link = world.links()["minidock0"]
    assert link["linkinfo"]["info_kind"] == "bridge"
    assert addresses(link) == ["172.30.0.1/16"]
    assert link["address"] == "02:42:ac:1e:00:01"
    assert "UP" in link["flags"]
    assert world.tables() == ["table inet minidock-minidock0"]
    assert world.sysctl("ipv4/ip_forward") == "1"
    assert world.sysctl("ipv4/conf/minidock0/route_localnet") == "0"


def test_down_removes_all_that_up_made_once_nobody_is_on_it(world: World) -> None:
    before = set(world.links())
    bridge = world.up()
    world.claim(bridge, ONE)
    world.on_host(bridge.down)
    assert "minidock0" in world.links() and world.tables(), "somebody is on it"
    world.release(bridge, ONE)
    world.on_host(bridge.down)
    assert set(world.links()) == before
    assert world.tables() == []
    assert bridge.leases() == {}


def test_another_daemon_of_the_same_data_root_adopts_the_bridge(world: World) -> None:
    first = world.up()
    sandbox = world.claim(first, ONE)
    index = world.links()["minidock0"]["ifindex"]
    second = world.up()
    assert world.links()["minidock0"]["ifindex"] == index
    assert second.leases() == {ONE: sandbox.endpoint.address.ip}
    assert second.network_id == first.network_id
    assert world.claim(second, TWO).endpoint.address.ip == sandbox.endpoint.address.ip + 1
    world.listen(sandbox.netns_fd)
    world.connect(world.host_fd, str(sandbox.endpoint.address.ip))
    world.release(second, ONE)
    assert port_of(sandbox) not in world.links()


def test_a_bridge_of_someone_else_is_left_alone(world: World) -> None:
    world.host.run("ip", "link", "add", "minidock0", "type", "bridge")
    with pytest.raises(Conflict, match="interface of that name, not made by minidock; hint: .*--bridge"):
        world.up()
    world.host.run("ip", "link", "set", "minidock0", "alias", "minidock 99999999")
    with pytest.raises(Conflict, match="interface of that name, of minidock 99999999"):
        world.up()
    assert addresses(world.links()["minidock0"]) == []
    assert world.tables() == []
    world.host.run("ip", "link", "set", "minidock0", "alias", "minidock 1a2b3c4d")
    world.up()


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", 'x"y', "-x", "a/b", "all", "default", "lo", "brücke"])
def test_bridge_names_that_could_be_something_else(world: World, name: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid bridge name"):
        world.bridge(name=name)


def test_mtu_is_that_of_the_way_out(world: World) -> None:
    world.uplink(mtu=1400)
    sandbox = world.claim(world.up(), ONE)
    assert {world.links()[name]["mtu"] for name in ("minidock0", port_of(sandbox))} == {1400}
    assert [link["mtu"] for link in show(sandbox, "link") if link["ifname"] == "eth0"] == [1400]


# -- which subnet -----------------------------------------------------------------------------------------------------


def test_a_subnet_that_the_host_reaches_is_not_taken(world: World) -> None:
    world.host.run("ip", "route", "add", "172.30.4.0/24", "dev", "lo")
    assert str(world.up().gateway) == "172.31.0.1/16"


def test_the_subnet_stays_once_chosen(world: World) -> None:
    world.host.run("ip", "route", "add", "172.30.4.0/24", "dev", "lo")
    first = world.up()
    chosen = first.gateway
    world.host.run("ip", "route", "del", "172.30.4.0/24")
    world.on_host(first.down)
    assert world.up().gateway == chosen
    assert chosen != BIP


def test_an_unused_subnet_gives_way_to_a_new_route_and_a_used_one_does_not(world: World) -> None:
    world.claim(world.up(), ONE)
    world.host.run("ip", "route", "add", "172.30.4.0/24", "dev", "lo")
    assert world.up().gateway == BIP
    world.release(world.bridge(), ONE)
    assert str(world.up().gateway) == "172.31.0.1/16"
    assert addresses(world.links()["minidock0"]) == ["172.31.0.1/16"]


def test_bip_is_obeyed_unless_it_breaks_a_route(world: World) -> None:
    world.host.run("ip", "route", "add", "10.0.0.0/8", "dev", "lo")
    assert str(world.up(IPv4Interface("10.77.0.1/24")).gateway) == "10.77.0.1/24"
    world.host.run("ip", "route", "add", "10.88.0.128/25", "dev", "lo")
    with pytest.raises(Conflict, match=r"10\.88\.0\.1/24 overlaps the host's route to 10\.88\.0\.128/25"):
        world.up(IPv4Interface("10.88.0.1/24"))
    with pytest.raises(InvalidArgument, match="not a host's"):
        world.up(IPv4Interface("10.88.0.0/24"))


def test_bip_and_bridge_change_only_while_nobody_is_on_it(world: World) -> None:
    bridge = world.up()
    sandbox = world.claim(bridge, ONE)
    for change in ({"subnet": IPv4Interface("10.77.0.1/24")}, {"name": "other0"}):
        with pytest.raises(Conflict, match="containers are on it .aaaaaaaaaaaa.; hint: stop them"):
            world.up(**change)
    world.host.run("ip", "link", "delete", port_of(sandbox))  # a lease without a link: from before a reboot
    moved = world.up(IPv4Interface("10.77.0.1/24"), name="other0")
    assert moved.leases() == {}
    assert "minidock0" not in world.links()
    assert addresses(world.links()["other0"]) == ["10.77.0.1/24"]
    assert world.tables() == ["table inet minidock-other0"]
    assert str(world.claim(moved, TWO).endpoint.address) == "10.77.0.2/24"


def test_daemons_that_start_together_get_subnets_of_their_own(world: World) -> None:
    bridges = [Bridge(f"md-{n}", None, world.database(f"{n}.db"), f"{n:08x}") for n in range(4)]

    def up(bridge: Bridge) -> None:
        inside(world.host_fd, bridge.up)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(up, bridges))
    assert len({bridge.gateway for bridge in bridges}) == 4


# -- sandboxes --------------------------------------------------------------------------------------------------------


def test_a_sandbox_has_what_docker_gives(world: World) -> None:
    bridge = world.up()
    sandbox = world.claim(bridge, ONE)
    end = sandbox.endpoint
    assert (end.interface, end.mac, str(end.address), str(end.gateway)) == (
        "eth0", "02:42:ac:1e:00:02", "172.30.0.2/16", "172.30.0.1",
    )  # fmt: skip
    assert end.network_id == bridge.network_id
    links = {link["ifname"]: link for link in show(sandbox, "address")}
    assert set(links) == world.bare | {"eth0"}
    assert addresses(links["eth0"]) == ["172.30.0.2/16"]
    assert links["eth0"]["addr_info"][0]["broadcast"] == "172.30.255.255"
    assert links["eth0"]["address"] == end.mac
    assert "127.0.0.1/8" in addresses(links["lo"])
    assert show(sandbox, "route", "show", "default")[0]["gateway"] == "172.30.0.1"
    assert world.links()[port_of(sandbox)]["master"] == "minidock0"
    assert os.readlink("/proc/self/ns/net") == os.readlink("/proc/thread-self/ns/net")
    for name in ("accept_ra", "disable_ipv6"):
        value = inside(sandbox.netns_fd, Path(f"/proc/sys/net/ipv6/conf/eth0/{name}").read_text)
        assert value.strip() == {"accept_ra": "0", "disable_ipv6": "1"}[name]


def test_containers_reach_each_other_and_the_host_reaches_them(world: World) -> None:
    bridge = world.up()
    server, client = world.claim(bridge, ONE), world.claim(bridge, TWO)
    listening = world.listen(server.netns_fd)
    world.connect(client.netns_fd, "172.30.0.2")
    assert listening.accept()[1][0] == "172.30.0.3"
    world.connect(world.host_fd, "172.30.0.2")
    assert listening.accept()[1][0] == "172.30.0.1"


def test_the_world_sees_the_hosts_address(world: World) -> None:
    world.uplink()
    sandbox = world.claim(world.up(), ONE)
    listening = world.listen(world.outside_fd)
    world.connect(sandbox.netns_fd, "192.0.2.9")
    assert listening.accept()[1][0] == "192.0.2.1"
    # The control: without masquerade the outside has no way to answer.
    world.host.run("nft", "flush", "chain", "inet", "minidock-minidock0", "postrouting")
    with pytest.raises(TimeoutError):
        world.connect(sandbox.netns_fd, "192.0.2.9", timeout=1)


def test_neighbours_of_the_host_can_not_route_into_the_bridge(world: World) -> None:
    world.uplink()
    sandbox = world.claim(world.up(), ONE)
    world.listen(sandbox.netns_fd)
    world.outside.run("ip", "route", "add", "172.30.0.0/16", "via", "192.0.2.1")
    with pytest.raises(TimeoutError):
        world.connect(world.outside_fd, "172.30.0.2", timeout=1)
    world.host.run("nft", "flush", "chain", "inet", "minidock-minidock0", "forward")
    world.connect(world.outside_fd, "172.30.0.2")


def test_release_gives_back_link_and_address_and_is_idempotent(world: World) -> None:
    bridge = world.up()
    sandbox = world.claim(bridge, ONE)
    world.claim(bridge, TWO)
    for _ in range(2):
        world.release(bridge, ONE)
        assert port_of(sandbox) not in world.links()
        assert bridge.leases().keys() == {TWO}
    assert str(world.claim(bridge, THREE).endpoint.address.ip) == "172.30.0.2"


def test_a_lease_left_by_a_crash_is_taken_over(world: World) -> None:
    """Killed between the veth and the answer: the row and the link exist, the namespace lives or not."""
    bridge = world.up()
    stale = world.claim(bridge, ONE)
    sandbox = world.claim(world.up(), ONE)
    assert sandbox.endpoint == stale.endpoint
    assert bridge.leases().keys() == {ONE}
    world.listen(sandbox.netns_fd)
    world.connect(world.host_fd, str(sandbox.endpoint.address.ip))


def test_claim_and_release_leave_no_descriptor_thread_or_link(world: World) -> None:
    bridge = world.up()
    world.claim(bridge, ONE)

    def state() -> tuple[int, set[str]]:
        return len(os.listdir("/proc/self/fd")), set(world.links())

    before, threads = state(), threading.active_count()
    for number in range(10):
        container = f"{number:064x}"[::-1]
        os.close(world.on_host(partial(bridge.claim, container)).netns_fd)
        world.release(bridge, container)
    assert state() == before
    assert threading.active_count() <= threads


def test_a_claim_that_fails_leaves_nothing(world: World) -> None:
    bridge = world.up()
    with pytest.raises(Unavailable, match="it could not be made"):
        world.bridge().claim(ONE)
    world.host.run("ip", "link", "delete", "minidock0")
    before, fds = world.links(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(Unavailable, match="plug into bridge minidock0: .*hint: was the bridge deleted"):
        world.on_host(lambda: bridge.claim(ONE))
    assert bridge.leases() == {}
    assert world.links().keys() == before.keys()
    assert len(os.listdir("/proc/self/fd")) == fds


def test_none_is_a_network_with_lo_and_nothing_else(world: World) -> None:
    netns = world.keep(isolated_netns())
    assert {link["ifname"] for link in show(netns, "link")} == world.bare
    assert show(netns, "route") == []
    world.listen(netns)
    world.connect(netns, "127.0.0.1")


# -- what the machine lacks -------------------------------------------------------------------------------------------


def test_without_nft_there_is_no_bridge_and_a_hint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "find", lambda: None)
    with pytest.raises(Unavailable, match="nft: the program is not installed; hint: install nftables"):
        world.up()
    assert "minidock0" not in world.links()


def test_rules_that_the_kernel_refuses_undo_the_bridge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "load", lambda script: "Error: Could not process rule: Operation not supported")
    with pytest.raises(Unavailable, match="write the rules of minidock0: Error: Could not process rule"):
        world.up()
    assert "minidock0" not in world.links()


# -- a container with CAP_NET_RAW -------------------------------------------------------------------------------------


def router_advertisement(source: bytes) -> bytes:
    """An Ethernet frame that says "I am your router" to all (RFC 4861, 4.2)."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    sender, everyone = b"\xfe\x80" + bytes(13) + b"\x99", b"\xff\x02" + bytes(13) + b"\x01"
    pseudo = sender + everyone + struct.pack("!II", len(body), 58)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(body)) // 2}H", pseudo + body))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    packet = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + sender + everyone
    return (
        b"\x33\x33\x00\x00\x00\x01" + source + b"\x86\xdd" + packet + body[:2] + struct.pack("!H", checksum) + body[4:]
    )


def test_a_container_can_not_become_the_hosts_router(world: World) -> None:
    """CVE-2020-13401. The vulnerable variant is a bridge with the kernel's defaults, accept_ra on: see the control.

    Variant: NO_IPV6 of network/sandbox.py empty.
    """
    sandbox = world.claim(world.up(), ONE)

    def announce() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(router_advertisement(bytes.fromhex(sandbox.endpoint.mac.replace(":", ""))))

    def routers() -> str:
        return world.host.run("ip", "-6", "route", "show", "default")

    for _ in range(3):
        inside(sandbox.netns_fd, announce)
    assert routers() == ""
    world.sysctl("ipv6/conf/minidock0/accept_ra", "2")
    world.sysctl("ipv6/conf/minidock0/disable_ipv6", "0")
    eventually(lambda: inside(sandbox.netns_fd, announce) or routers(), "the control to accept a router")


def test_uninstall_takes_the_network_away_once_no_container_runs(world: World) -> None:
    """Bridges with our mark, tables with our name, nobody else's."""
    bridge = world.up()
    sandbox = world.claim(bridge, ONE)
    for command in ("add table ip minidock-ports-x", "add table ip other"):
        world.host.run("nft", command)
    world.host.run(*"ip link add theirs type bridge".split())
    script = f". {TOP}/scripts/lib.sh; remove_network"
    assert "containers still run" in world.host.run("bash", "-c", script)
    assert "minidock0" in world.host.links() and sandbox
    world.release(bridge, ONE)
    world.host.run("bash", "-c", script)
    assert world.tables() == ["table ip other"] and "theirs" in world.host.links()
    assert "minidock0" not in world.host.links()
