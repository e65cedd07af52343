"""Published ports on a real kernel: who reaches them, who must not, who holds them, and that they go.

    outside 192.0.2.9 ── uplink 192.0.2.1, the "host" of the daemon: minidock0 ── containers

The containers only sleep: the servers are sockets of this process, opened by threads that step into the container's
network namespace for it, and so are the clients. So a test sees both ends, and the peer that the server sees.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.netns import Netns
from tests.support.sockets import Place, connect, listen, within
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]

HOST, NEIGHBOUR = "192.0.2.1", "192.0.2.9"
SLEEP = ("busybox", "sleep", "1000")


class World:
    """The daemon's network with a neighbour, and the containers that a test makes."""

    def __init__(self, daemon: Daemon, undo: ExitStack) -> None:
        self.daemon, self.undo = daemon, undo
        self.host, self.outside = daemon.netns.path, ""

    def neighbour(self) -> Netns:
        """A link to another namespace, which knows the host's address only."""
        outside, host = Netns(), self.daemon.netns
        self.undo.callback(outside.close)
        host.run(*"ip link add uplink type veth peer eth0 netns".split(), str(outside.pid))
        self.undo.callback(host.run, *"ip link delete uplink".split())
        host.run(*f"ip address add {HOST}/24 dev uplink".split())
        host.run(*"ip link set uplink up".split())
        outside.run(*f"ip address add {NEIGHBOUR}/24 dev eth0".split())
        outside.run(*"ip link set eth0 up".split())
        self.outside = outside.path
        return outside

    def run(self, *flags: str) -> str:
        """A new container that sleeps; its id. It is removed at the end of the test."""
        ident = self.daemon.cli.ok("run", "-d", *flags, *SLEEP)
        self.undo.callback(self.daemon.cli, "rm", "-f", ident)
        return ident

    def look(self, ident: str, template: str) -> str:
        return self.daemon.cli.ok("inspect", "-f", template, ident)

    def netns(self, ident: str) -> str:
        return f"/proc/{self.look(ident, '{{.State.Pid}}')}/ns/net"

    def server(self, ident: str, port: int = 80, kind: socket.SocketKind = socket.SOCK_STREAM) -> Place:
        place = Place(self.netns(ident), port, kind)
        self.undo.callback(place.socket.close)
        return place

    def rules(self) -> str:
        return self.daemon.netns.run("nft", "list", "table", "ip", f"minidock-ports-{self.daemon.instance}")


@pytest.fixture
def world(daemon: Daemon) -> Iterator[World]:
    with ExitStack() as undo:
        yield World(daemon, undo)


@pytest.fixture
def fresh_world(fresh_daemon: Daemon) -> Iterator[World]:
    with ExitStack() as undo:
        yield World(fresh_daemon, undo)


# -- who reaches it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_from_everywhere_and_the_server_sees_who_asks(world: World, kind: socket.SocketKind) -> None:
    world.neighbour()
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    web, other = world.run("-p", f"8080:80/{protocol}"), world.run()
    server = world.server(web, 80, kind)
    gateway = world.look(web, "{{.NetworkSettings.Gateway}}")
    assert server.peer(world.outside, HOST, 8080) == NEIGHBOUR
    assert server.peer(world.host, HOST, 8080) == HOST
    assert server.peer(world.host, "127.0.0.1", 8080) == gateway
    assert server.peer(world.host, gateway, 8080) == gateway
    for container in (web, other):  # hairpin: the answer must come back through the host
        assert server.peer(world.netns(container), HOST, 8080) == gateway
        assert server.peer(world.netns(container), gateway, 8080) == gateway


def test_a_client_that_asked_too_early_is_answered_as_soon_as_the_port_is_there(world: World) -> None:
    """The kernel takes a UDP client's packets for one flow, and would treat all as it did the first."""
    world.neighbour()
    client = within(world.outside, lambda: listen(4444, socket.SOCK_DGRAM))
    world.undo.callback(client.close)
    with within(world.outside, lambda: connect(HOST, 5353, socket.SOCK_DGRAM, patience=10)) as first:
        first.send(b"is there a way?")
        with pytest.raises(ConnectionRefusedError):  # so the neighbours know each other, and nothing is on its way
            first.recv(1)
    for _ in range(2):
        client.sendto(b"too early", (HOST, 5353))
        ident = world.run("-p", "5353:53/udp")
        server = world.server(ident, 53, socket.SOCK_DGRAM)
        client.sendto(b"question", (HOST, 5353))
        assert server.socket.recvfrom(100) == (b"question", (NEIGHBOUR, 4444))
        server.socket.close()
        world.daemon.cli.ok("rm", "-f", ident)


def test_a_published_port_opens_nothing_else(world: World) -> None:
    """A neighbour with a route to the containers reaches the port by the host's address, and none directly."""
    outside = world.neighbour()
    web = world.run("-p", "8080:80")
    server = world.server(web)
    address = world.look(web, "{{.NetworkSettings.IPAddress}}")
    outside.run("ip", "route", "add", address, "via", HOST)
    with pytest.raises(TimeoutError):
        within(world.outside, lambda: connect(address, 80, socket.SOCK_STREAM, patience=0.3))
    assert server.peer(world.outside, HOST, 8080) == NEIGHBOUR


def datagram(source: str, target: str, port: int) -> bytes:
    """An IPv4 packet with a UDP datagram "forged", as no kernel would send it."""
    payload = struct.pack("!HHHH", 5555, port, 8 + 6, 0) + b"forged"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0, _ip(source), _ip(target))
    total = sum(struct.unpack("!10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + payload


def _ip(address: str) -> bytes:
    return socket.inet_aton(address)


def forge(netns: str, mac: str, packet: bytes) -> None:
    """Sends a packet from eth0 of a namespace to the interface with that MAC."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as raw:
            raw.sendto(packet, ("eth0", 0x0800, 0, 0, bytes.fromhex(mac.replace(":", ""))))

    within(netns, send)


def mac_of(world: World, link: str) -> str:
    found = re.search(r"link/ether (\S+)", world.daemon.netns.run("ip", "link", "show", link))
    assert found
    return found[1]


def test_loopback_stays_loopback(world: World) -> None:
    """CVE-2020-8558 and its kin: what is published on, or served at, 127.0.0.1 is for the host alone.

    Row 30. Variant: the address of a binding is forgotten (_host_ip gives none).
    """
    world.neighbour()
    web, other = world.run("-p", "127.0.0.1:8081:80/udp", "-p", "8082:80/tcp"), world.run()
    server = world.server(web, 80, socket.SOCK_DGRAM)
    gateway = world.look(web, "{{.NetworkSettings.Gateway}}")
    assert server.peer(world.host, "127.0.0.1", 8081) == gateway
    own = within(world.host, lambda: listen(9999, socket.SOCK_DGRAM, "127.0.0.1"))
    world.undo.callback(own.close)
    bridge, uplink = mac_of(world, "minidock0"), mac_of(world, "uplink")
    address = world.look(other, "{{.NetworkSettings.IPAddress}}")
    for netns, mac, source in ((world.netns(other), bridge, address), (world.outside, uplink, NEIGHBOUR)):
        for target, port in (("127.0.0.1", 8081), ("127.0.0.1", 9999), (gateway, 8081), (HOST, 8081)):
            forge(netns, mac, datagram(source, target, port))
        forge(netns, mac, datagram("127.0.0.1", gateway if mac == bridge else HOST, 8081))
    assert server.peer(world.host, "127.0.0.1", 8081) == gateway  # and no forged one before it
    own.settimeout(0.2)
    with pytest.raises(TimeoutError):
        own.recv(100)
    heard = within(world.host, lambda: listen(9999, socket.SOCK_DGRAM, gateway))
    world.undo.callback(heard.close)
    forge(world.netns(other), bridge, datagram(address, gateway, 9999))
    assert heard.recv(100) == b"forged"  # the control: where it may, such a packet arrives
    assert world.daemon.netns.run("cat", "/proc/sys/net/ipv4/conf/minidock0/route_localnet") == "1\n"
    for ident in (web, other):
        world.daemon.cli.ok("rm", "-f", ident)
    assert world.daemon.netns.run("cat", "/proc/sys/net/ipv4/conf/minidock0/route_localnet") == "0\n"


# -- who holds it -----------------------------------------------------------------------------------------------------


def test_a_port_is_one_containers_at_a_time(world: World) -> None:
    minidock = world.daemon.cli
    world.run("-p", "8080:80", "--name", "first")
    world.undo.callback(minidock, "rm", "-f", "second")
    refused = minidock("run", "-d", "--name", "second", "-p", "127.0.0.1:8080:80", *SLEEP)
    assert refused.code == 125
    endpoint = r"driver failed programming external connectivity on endpoint second \([0-9a-f]{64}\)"
    words = r": Bind for 127\.0\.0\.1:8080 failed: port is already allocated; hint: container first has it"
    assert re.search(endpoint + words, refused.err), str(refused)
    assert world.look("second", "{{.State.Status}} {{.State.ExitCode}} {{json .NetworkSettings.Ports}}") == (
        "created 128 {}"
    )
    world.run("-p", "8080:80/udp")  # another protocol is another port
    for _ in range(3):  # what has just been let go can be had at once
        minidock.ok("kill", "first")
        minidock.ok("start", "second")
        assert minidock("start", "first").code == 1
        minidock.ok("kill", "second")
        minidock.ok("start", "first")


def test_a_port_of_the_hosts_own_is_refused_and_the_other_way_round(world: World) -> None:
    taken = within(world.host, lambda: listen(8090, socket.SOCK_STREAM, "127.0.0.1"))
    with taken:
        refused = world.daemon.cli("run", "--rm", "-p", "8090:80", "busybox", "true")
        assert refused.code == 125
        assert "Bind for 0.0.0.0:8090 failed: port is already allocated" in refused.err
        assert "ss -lntp" in refused.err
    elsewhere = world.daemon.cli("run", "--rm", "-p", "203.0.113.9:8090:80", *SLEEP)
    assert "Bind for 203.0.113.9:8090 failed: cannot assign requested address" in elsewhere.err
    ident = world.run("-p", "8090:80", "-p", "8090:80/udp")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with pytest.raises(OSError) as failure:
            within(world.host, partial(listen, 8090, kind))
        assert failure.value.errno == errno.EADDRINUSE
    world.daemon.cli.ok("rm", "-f", ident)
    within(world.host, lambda: listen(8090, socket.SOCK_STREAM)).close()


def test_chance_ports_and_ranges(world: World) -> None:
    minidock = world.daemon.cli
    first = world.run("-p", "80", "-P", "--expose", "90/udp", "--expose", "100")
    found = dict(line.split(" -> ") for line in minidock.ok("port", first).splitlines())
    assert list(found) == ["80/tcp", "90/udp", "100/tcp"]
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(low <= int(where.removeprefix("0.0.0.0:")) <= high for where in found.values())
    assert minidock.ok("port", first, "80") == found["80/tcp"] == minidock.ok("port", first, "80/tcp")
    missing = minidock("port", first, "81")
    assert missing.code == 1 and f"no public port '81/tcp' published for {first}" in missing.err

    ranged = [world.run("-p", "127.0.0.1:8100-8101:80") for _ in range(2)]
    assert [minidock.ok("port", one) for one in ranged] == ["80/tcp -> 127.0.0.1:8100", "80/tcp -> 127.0.0.1:8101"]
    assert "all ports are allocated" in minidock("run", "--rm", "-p", "127.0.0.1:8100-8101:80", *SLEEP).err
    many = world.run("-p", "8200-8202:80-82")
    shown = minidock.ok("ps", "--filter", f"id={many}", "--format", "{{.Ports}}")
    assert shown == "0.0.0.0:8200-8202->80-82/tcp"
    assert minidock.ok("ps", "-q", "--no-trunc", "--filter", "publish=8201") == many
    minidock.ok("stop", "-t", "0", many)
    assert minidock.ok("port", many) == ""


def test_the_hosts_own_network_needs_no_publishing(world: World) -> None:
    result = world.daemon.cli("run", "--rm", "--network", "host", "-p", "8080:80", "busybox", "true")
    assert (result.code, result.err) == (
        0,
        "WARNING: Published ports are discarded when using host network mode\n",
    )


# -- the daemon goes and comes ----------------------------------------------------------------------------------------


def test_ports_outlive_the_daemon(fresh_world: World) -> None:
    world, daemon = fresh_world, fresh_world.daemon
    stays, ends = world.run("-p", "8080:80", "--name", "stays"), world.run("-p", "127.0.0.1:8081:80")
    server, init = world.server(stays), int(world.look(ends, "{{.State.Pid}}"))
    for end in (daemon.stop, daemon.kill):
        end()
        server.peer(world.host, "127.0.0.1", 8080)
        if end == daemon.kill:
            os.kill(init, signal.SIGKILL)
        daemon.start()
        server.peer(world.host, "127.0.0.1", 8080)
        with pytest.raises(OSError, match="in use"):
            within(world.host, lambda: listen(8080, socket.SOCK_STREAM))
        assert "container stays has it" in daemon.cli("run", "--rm", "-p", "8080:80", *SLEEP).err
    assert "8081" not in world.rules()
    assert daemon.cli.ok("port", "stays") == "80/tcp -> 0.0.0.0:8080"
    daemon.cli.ok("start", ends)
    assert daemon.cli.ok("port", ends) == "80/tcp -> 127.0.0.1:8081"


def test_rules_that_somebody_flushed_come_back_with_the_next_change(fresh_world: World) -> None:
    world = fresh_world
    server = world.server(world.run("-p", "8080:80"))
    world.daemon.netns.run("nft", "delete", "table", "ip", f"minidock-ports-{world.daemon.instance}")
    world.run("-p", "8081:80")
    server.peer(world.host, "127.0.0.1", 8080)


def test_an_element_that_nobody_publishes_is_named_and_goes_with_the_next_start(fresh_world: World) -> None:
    world, daemon = fresh_world, fresh_world.daemon
    world.run("-p", "8080:80")
    table = ("ip", f"minidock-ports-{daemon.instance}")
    daemon.netns.run("nft", "add", "element", *table, "any", "{ tcp . 9999 : 10.9.9.9 . 80 }")
    named = daemon.cli("doctor", "--leaks")
    assert named.code == 1 and "tcp . 9999 : 10.9.9.9 . 80" in named.out and "8080" not in named.out, str(named)
    daemon.kill()
    daemon.start()
    assert daemon.cli("doctor", "--leaks").code == 0 and "9999" not in world.rules()


def test_without_a_bridge_nothing_is_left_of_an_earlier_one(fresh_daemon: Daemon) -> None:
    fresh_daemon.cli.ok("run", "-d", "--name", "web", "-p", "8080:80", *SLEEP)
    fresh_daemon.kill()
    fresh_daemon.start("--bridge", "none")
    assert "minidock-ports" in fresh_daemon.netns.run("nft", "list", "tables"), "what runs keeps its ports"
    assert "minidock0" in fresh_daemon.netns.run("ip", "-br", "link"), "and its bridge"
    fresh_daemon.cli.ok("rm", "-f", "web")
    fresh_daemon.stop()
    fresh_daemon.start("--bridge", "none")
    assert "minidock" not in fresh_daemon.netns.run("nft", "list", "tables")
    assert "minidock0" not in fresh_daemon.netns.run("ip", "-br", "link")
    assert fresh_daemon.cli.ok("run", "--rm", "--network", "none", "busybox", "echo", "works") == "works"
    fresh_daemon.stop()
    fresh_daemon.start()


def test_sctp_is_published_like_any_other(world: World) -> None:
    """Whether or not the kernel has SCTP itself: the rules are about packets."""
    ident = world.run("-p", "8080:80/sctp")
    assert world.daemon.cli.ok("port", ident) == "80/sctp -> 0.0.0.0:8080"
    address = world.look(ident, "{{.NetworkSettings.IPAddress}}")
    assert f"sctp . 8080 : {address} . 80" in world.rules()
    assert "already allocated" in world.daemon.cli("run", "--rm", "-p", "8080:80/sctp", *SLEEP).err
    world.run("-p", "8080:80/tcp")
    world.daemon.cli.ok("rm", "-f", ident)
    assert "sctp . 8080 :" not in world.rules()


# -- the clients that people have -------------------------------------------------------------------------------------


@pytest.mark.docker_cli
def test_docker_cli(world: World, docker_cli: Cli) -> None:
    script = "cd /tmp; mkdir cgi-bin; (echo '#!/bin/sh'; echo 'echo; echo you are $REMOTE_ADDR') > cgi-bin/who"
    script += "; chmod +x cgi-bin/who; exec httpd -f"
    docker_cli.ok("run", "-d", "--name", "web", "-p", "8080:80", "-p", "53:53/udp", "busybox", "sh", "-c", script)
    world.undo.callback(docker_cli, "rm", "-f", "web")
    world.neighbour()
    assert docker_cli.ok("port", "web") == "53/udp -> 0.0.0.0:53\n80/tcp -> 0.0.0.0:8080"
    assert docker_cli.ok("port", "web", "80") == "0.0.0.0:8080"
    assert "0.0.0.0:53->53/udp, 0.0.0.0:8080->80/tcp" in docker_cli.ok("ps")

    def ask() -> str:
        with within(world.outside, lambda: connect(HOST, 8080, socket.SOCK_STREAM)) as client:
            client.send(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: client.recv(1000), b"")).decode()

    eventually(lambda: "200 OK" in ask(), "the web server")
    assert f"{NEIGHBOUR}]\n" in ask()
    refused = docker_cli("run", "--rm", "-p", "8080:80", "busybox", "true")
    assert refused.code == 125 and "port is already allocated" in refused.err


def test_docker_py(docker_api: Any, world: World) -> None:
    ports = {"80/tcp": 8080, "81/tcp": ("127.0.0.1", 8081), "82/udp": None, "83/tcp": [8083, 8084]}
    container = docker_api.containers.run("busybox", "sleep 1000", detach=True, ports=ports)
    world.undo.callback(container.remove, force=True)
    container.reload()
    shown = dict(container.ports)
    chance = shown.pop("82/udp")
    assert shown == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "83/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8083"}, {"HostIp": "0.0.0.0", "HostPort": "8084"}],
    }
    assert int(chance[0]["HostPort"]) > 1024
    server = world.server(container.id)
    server.peer(world.host, "127.0.0.1", 8080)


# -- networks of one's own --------------------------------------------------------------------------------------------


def test_on_networks_of_ones_own_ports_go_by_the_way_out(docker_api: Any, world: World) -> None:
    """From another network by the host's address; and when the container moves, its ports move with it."""
    minidock = world.daemon.cli
    networks = [docker_api.networks.create(name, internal=name == "inner") for name in ("front", "back", "inner")]
    for network in networks:
        world.undo.callback(network.remove)
    front, back, _ = networks
    web, other = world.run("--network", "front", "-p", "8080:80"), world.run("--network", "back")
    server = world.server(web)
    gateway = world.look(web, "{{.NetworkSettings.Networks.front.Gateway}}")
    assert server.peer(world.host, "127.0.0.1", 8080) == gateway
    world.neighbour()
    assert server.peer(world.netns(other), HOST, 8080) == gateway
    assert server.peer(world.outside, HOST, 8080) == NEIGHBOUR
    shut = world.run("--network", "inner", "-p", "8081:80")
    assert minidock.ok("port", shut) == ""
    back.connect(web)
    assert server.peer(world.outside, HOST, 8080) == NEIGHBOUR
    front.disconnect(web)
    assert server.peer(world.outside, HOST, 8080) == NEIGHBOUR
    assert server.peer(world.netns(web), HOST, 8080) == world.look(web, "{{.NetworkSettings.Networks.back.Gateway}}")
    assert minidock.ok("port", web) == "80/tcp -> 0.0.0.0:8080"
