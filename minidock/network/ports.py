"""Published ports in the kernel: one nft table of an instance, whose maps say which port of the host is whose.

    curl host:8080 ─▶ prerouting (from elsewhere) or output (from the host itself) ─▶ maps: tcp 8080 → 172.30.0.2 . 80

A port is one element of a map, so that it comes and goes without touching the others. The kernel rewrites addresses,
no byte passes through us, and the server sees who really asks. What it takes beside the maps:

- loopback: 127.0.0.1 must be routable on the bridge (route_localnet) for as long as a port is published there. The
  guard drops what says that it comes from, or goes to, 127.0.0.0/8 on such a bridge, before anything else sees it:
  without, containers would reach what the host serves itself alone (CVE-2020-8558, CVE-2021-20199). And what comes
  from elsewhere for 127.0.0.0/8 is never translated, so that neighbours don't reach ports published on loopback.
- hairpin: who asks from the server's own network, or from loopback, is masqueraded, or else the answer would take a
  way back on which nobody translates it.
- firewall.py's table of the bridge accepts what was translated (ct status dnat).

Serves engine/ports.py. See: nft(8), "NAT STATEMENTS" and "MAPS"; ip-sysctl, route_localnet.
Look: nft list table ip minidock-ports-INSTANCE. Read next: firewall.py.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from minidock.linux import conntrack, netlink, nft
from minidock.linux.netlink import Netlink
from minidock.linux.reason import reason
from minidock.wire.errors import Unavailable

log = logging.getLogger(__name__)

ANY = "0.0.0.0"
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SIOCGIFADDR = 0x8915
_IFREQ = struct.Struct("16sHH4s16x")


@dataclass(frozen=True)
class PublishedPort:
    """A port of the host, at one of its addresses or at all of them (0.0.0.0), that leads to a container's."""

    host_ip: str
    host_port: int
    protocol: str
    address: str
    port: int


@dataclass(frozen=True)
class Inside:
    """Where a container is: the bridge, and the subnet whose members have to be masqueraded on the way back to it."""

    bridge: str
    subnet: str


Element = tuple[str, str]
"""A set or map of the table, and one element of it as nft writes it: ("any", "tcp . 8080 : 172.30.0.2 . 80")."""


def elements(ports: Iterable[PublishedPort], inside: Inside | None) -> set[Element]:
    """What the table has to hold for a container."""
    found: set[Element] = set()
    for port in ports:
        target = f"{port.address} . {port.port}"
        if port.host_ip == ANY:
            found.add(("any", f"{port.protocol} . {port.host_port} : {target}"))
        else:
            found.add(("one", f"{port.host_ip} . {port.protocol} . {port.host_port} : {target}"))
    if found and inside:
        found |= {("bridges", f'"{inside.bridge}"'), ("hairpin", f'"{inside.bridge}" . {inside.subnet}')}
    return found


def table_of(instance: str) -> str:
    """The table's family and name."""
    return f"ip minidock-ports-{instance}"


def ruleset(instance: str, wanted: Iterable[Element]) -> str:
    """The whole table as an nft script, which replaces the one that is there."""
    table = table_of(instance)
    return f"""
add table {table}
delete table {table}
table {table} {{
    map any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map one {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    set bridges {{ type ifname; }}
    set hairpin {{ type ifname . ipv4_addr; flags interval; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        iifname @bridges ip saddr 127.0.0.0/8 drop
        iifname @bridges ip daddr 127.0.0.0/8 drop
    }}
    chain translate {{
        meta l4proto {{ tcp, udp, sctp }} dnat ip to ip daddr . meta l4proto . th dport map @one
        meta l4proto {{ tcp, udp, sctp }} dnat ip to meta l4proto . th dport map @any
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr != 127.0.0.0/8 fib daddr type local jump translate
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump translate
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat oifname @bridges ip saddr 127.0.0.0/8 masquerade
        ct status dnat oifname . ip saddr @hairpin masquerade
    }}
}}
{_changes(instance, (), sorted(wanted))}"""


def _changes(instance: str, gone: Iterable[Element], new: Iterable[Element]) -> str:
    table = table_of(instance)
    lines = [f"delete element {table} {name} {{ {text.partition(' : ')[0]} }}\n" for name, text in gone]
    lines += [f"add element {table} {name} {{ {text} }}\n" for name, text in new]
    return "".join(lines)


class PortTable:
    """The table of one instance, kept as ``elements`` say it should be. All methods block, from any thread."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._loaded: set[Element] = set()

    def rebuild(self, look: Callable[[], set[Element]], mark: str) -> None:
        """At the daemon's start: the table anew. ``mark``: the alias of our bridges, for what a crash left open."""
        with self._lock:
            wanted = look()
            self._replace(wanted)
            open_ = _bridges(wanted)
            with Netlink() as kernel:
                ours = {link.name for link in netlink.links(kernel) if link.alias == mark}
            for bridge in ours | open_:
                _route_localnet(bridge, bridge in open_)

    def change(self, look: Callable[[], set[Element]]) -> None:
        """The table as it shall be now: one transaction of what is gone and what is new.

        ``look`` says what it shall hold, and is asked when it is this caller's turn, or else the slower one of two
        callers would bring back what was true before.
        Order: a bridge's loopback is open only while the guard knows the bridge. Where the table is not as we left
        it (somebody flushed all rules), it is made anew. Raises Unavailable with nft's words.
        """
        with self._lock:
            wanted = look()
            gone, new = self._loaded - wanted, wanted - self._loaded
            if not gone and not new:
                return
            for bridge in _bridges(gone):
                _route_localnet(bridge, False)
            complaint = nft.load(_changes(self._instance, sorted(gone), sorted(new)))
            if complaint:
                log.warning("published ports: the table is not as it was left and is made anew: %s", complaint)
                self._replace(wanted)
            self._loaded = wanted
            for bridge in _bridges(new):
                _route_localnet(bridge, True)

    def _replace(self, wanted: set[Element]) -> None:
        complaint = nft.load(ruleset(self._instance, wanted))
        if complaint:
            raise Unavailable(f"publish ports: {complaint}", "nft needs nf_tables with NAT and fib in the kernel")
        self._loaded = set(wanted)


def _bridges(wanted: Iterable[Element]) -> set[str]:
    return {text.strip('"') for name, text in wanted if name == "bridges"}


def _route_localnet(bridge: str, wanted: bool) -> None:
    """net.ipv4.conf.BRIDGE.route_localnet; a bridge that has gone needs none."""
    with suppress(FileNotFoundError):
        Path("/proc/sys/net/ipv4/conf", bridge, "route_localnet").write_text("1" if wanted else "0")


def hairpin(name: str) -> None:
    """Lets frames leave by the port of a bridge that they came in by.

    Where br_netfilter is loaded (as Docker does), a container's packet to its own published port is translated while
    still on the bridge, which then has to send it back to where it came from.
    """
    with Netlink() as kernel:
        try:
            kernel.request(netlink.hairpin(name))
        except OSError as error:
            raise Unavailable(f"publish ports: hairpin mode of {name}: {reason(error)}") from error


def forget_flows(ports: Iterable[PublishedPort]) -> None:
    """So that who asked before, or asked the last one who had the port, is led to the container, too (UDP alone)."""
    if numbers := {port.host_port for port in ports if port.protocol == "udp"}:
        try:
            conntrack.forget_udp(numbers)
        except OSError as error:
            log.warning("published ports: clients that asked before may have to wait: %s", reason(error))


def hold(protocol: str, address: str, port: int) -> socket.socket | None:
    """A socket bound to the port, so that nobody else on the host takes it while it is published. No packet ever
    reaches it: all are translated before. None for SCTP on a kernel without it. Raises OSError (EADDRINUSE).

    A TCP port is only ours for sure once we listen; SO_REUSEADDR as for any server, for connections in TIME_WAIT.
    """
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    try:
        sock = socket.socket(socket.AF_INET, kind, PROTOCOLS[protocol])
    except OSError:
        if protocol == "sctp":
            return None
        raise
    try:
        if protocol != "udp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if protocol != "udp":
            sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


def ephemeral_ports() -> range:
    """Where ports come from that nobody chose: the kernel's own range."""
    first, last = _RANGE.read_text().split()
    return range(int(first), int(last) + 1)


def inside(gateway: str, address: IPv4Interface) -> Inside | None:
    """The bridge by its address, which is the gateway of its containers; None where no interface has it."""
    wanted = socket.inet_aton(gateway)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, _IFREQ.pack(name.encode(), socket.AF_INET, 0, b""))
                if _IFREQ.unpack(answer)[3] == wanted:
                    return Inside(name, str(address.network))
    return None
