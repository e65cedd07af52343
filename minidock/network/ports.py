"""Published ports in the kernel: one nft table of an instance, whose maps say which port of the host is whose.

    curl host:8080 ─▶ prerouting (from elsewhere) or output (from the host itself) ─▶ maps: tcp 8080 → 172.30.0.2 . 80

A port is one element of a map, so that it comes and goes without touching the others. The kernel rewrites addresses,
no byte passes through us, and the server sees who really asks. What it takes beside the maps:

- loopback: 127.0.0.1 must be routable on the bridge (route_localnet) for as long as a port is published there. The
  guard drops what says that it comes from, or goes to, 127.0.0.0/8 on such a bridge, before anything else sees it:
  without, containers would reach what the host serves itself alone (CVE-2020-8558, CVE-2021-20199). And what comes
  from elsewhere for 127.0.0.0/8 is never translated, so that neighbours don't reach ports published on loopback.
- IPv6 has a table of its own, of the same shape. ::1 can't be translated, since there is no route_localnet for IPv6,
  nor can link-local addresses; what asks there reaches the socket that holds the port, and relay.py hands it on.
- hairpin: who asks from the server's own network, or from loopback, is masqueraded, or else the answer would take a
  way back on which nobody translates it.
- firewall.py's table of the bridge accepts what was translated (ct status dnat).

Serves engine/networking/ports.py. See: nft(8), "NAT STATEMENTS" and "MAPS"; ip-sysctl, route_localnet.
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
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from minidock.linux import conntrack, netlink, nft
from minidock.linux.netlink import Netlink
from minidock.linux.reason import reason
from minidock.wire.errors import Unavailable

log = logging.getLogger(__name__)

ANY, ANY6 = "0.0.0.0", "::"
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_FAMILIES = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SIOCGIFADDR = 0x8915
_IFREQ = struct.Struct("16sHH4s16x")


@dataclass(frozen=True)
class PublishedPort:
    """A port of the host, at one of its addresses or at all of a family (0.0.0.0, ::), that leads to a container's."""

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


Element = tuple[str, str, str]
"""A table's family, a set or map of it, an element as nft writes it: ("ip", "any", "tcp . 8080 : 172.30.0.2 . 80")."""


def family(address: str) -> str:
    """nft's word for the family of an address."""
    return "ip6" if ":" in address else "ip"


def relayed(port: PublishedPort) -> bool:
    """Whether the kernel has no part in it: IPv6 loopback, and IPv6 that leads to a container without."""
    loopback = family(port.host_ip) == "ip6" and ip_address(port.host_ip).is_loopback
    return loopback or family(port.host_ip) != family(port.address)


def elements(ports: Iterable[PublishedPort], insides: Iterable[Inside]) -> set[Element]:
    """What the tables have to hold for a container."""
    found: set[Element] = set()
    for port in ports:
        where, target = family(port.host_ip), f"{port.address} . {port.port}"
        if relayed(port):
            continue
        if port.host_ip in (ANY, ANY6):
            found.add((where, "any", f"{port.protocol} . {port.host_port} : {target}"))
        else:
            found.add((where, "one", f"{port.host_ip} . {port.protocol} . {port.host_port} : {target}"))
    families = {where for where, _, _ in found}
    for inside in insides:
        where = family(inside.subnet)
        if where in families:
            found |= {
                (where, "bridges", f'"{inside.bridge}"'),
                (where, "hairpin", f'"{inside.bridge}" . {inside.subnet}'),
            }
    return found


def table_of(instance: str, where: str = "ip") -> str:
    """A table's family and name."""
    return f"{where} minidock-ports-{instance}"


def ruleset(instance: str, wanted: Iterable[Element], where: str = "ip") -> str:
    """A whole table as an nft script, which replaces the one that is there."""
    table, kind = table_of(instance, where), "ipv6_addr" if where == "ip6" else "ipv4_addr"
    apart = _APART[where]
    return f"""
add table {table}
delete table {table}
table {table} {{
    map any {{ type inet_proto . inet_service : {kind} . inet_service; }}
    map one {{ type {kind} . inet_proto . inet_service : {kind} . inet_service; }}
    set bridges {{ type ifname; }}
    set hairpin {{ type ifname . {kind}; flags interval; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        {apart.guard}
    }}
    chain translate {{
        {apart.never}
        meta l4proto {{ tcp, udp, sctp }} dnat {where} to {where} daddr . meta l4proto . th dport map @one
        meta l4proto {{ tcp, udp, sctp }} dnat {where} to meta l4proto . th dport map @any
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {apart.from_elsewhere} fib daddr type local jump translate
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump translate
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {apart.loopback}
        ct status dnat oifname . {where} saddr @hairpin masquerade
    }}
}}
{_changes(instance, (), sorted(element for element in wanted if element[0] == where))}"""


@dataclass(frozen=True)
class _Apart:
    """The rules in which the families differ, about loopback all of them."""

    guard: str = ""
    never: str = ""
    from_elsewhere: str = ""
    loopback: str = ""


_APART = {
    "ip": _Apart(
        guard="iifname @bridges ip saddr 127.0.0.0/8 drop\n        iifname @bridges ip daddr 127.0.0.0/8 drop",
        from_elsewhere="ip daddr != 127.0.0.0/8",
        loopback="ct status dnat oifname @bridges ip saddr 127.0.0.0/8 masquerade",
    ),
    "ip6": _Apart(never="ip6 daddr { ::1, fe80::/10 } return"),
}


def _changes(instance: str, gone: Iterable[Element], new: Iterable[Element]) -> str:
    lines = [
        f"delete element {table_of(instance, where)} {name} {{ {text.partition(' : ')[0]} }}\n"
        for where, name, text in gone
    ]
    lines += [f"add element {table_of(instance, where)} {name} {{ {text} }}\n" for where, name, text in new]
    return "".join(lines)


def remove(instance: str, families: Iterable[str] = _APART) -> None:
    """Removes the tables; those that do not exist are fine (add, delete)."""
    for where in families:
        complaint = nft.load(f"add table {table_of(instance, where)}\n{_deletion(instance, where)}")
        if complaint and where == "ip":  # a kernel without IPv6 has no such table to begin with
            raise Unavailable(f"remove the table of published ports: {complaint}")


def _deletion(instance: str, where: str) -> str:
    return f"delete table {table_of(instance, where)}\n"


def loaded(instance: str) -> set[Element]:
    """The ports that the tables in the kernel lead anywhere, whoever wrote them there. Raises OSError."""
    found: set[Element] = set()
    for where in _APART:
        for entry in nft.table(table_of(instance, where)):
            name, pairs = entry.get("map", {}).get("name", ""), entry.get("map", {}).get("elem", [])
            found |= {(where, name, f"{_flat(key)} : {_flat(value)}") for key, value in pairs}
    return found


def _flat(value: Any) -> str:
    """{"concat": ["tcp", 8080]} → tcp . 8080"""
    return " . ".join(map(str, value["concat"] if isinstance(value, dict) else [value]))


class PortTable:
    """The table of one instance, kept as ``elements`` say it should be. All methods block, from any thread."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._loaded: set[Element] = set()

    def rebuild(self, look: Callable[[], set[Element]], mark: str) -> None:
        """At the daemon's start: the tables anew. ``mark``: the alias of our bridges, for what a crash left open."""
        with self._lock:
            wanted = look()
            remove(self._instance, {"ip6"} - _families(wanted))
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
            complaint = nft.load(self._step(wanted, gone, new))
            if complaint:
                log.warning("published ports: the table is not as it was left and is made anew: %s", complaint)
                self._replace(wanted)
            self._loaded = wanted
            for bridge in _bridges(new):
                _route_localnet(bridge, True)

    def _step(self, wanted: set[Element], gone: set[Element], new: set[Element]) -> str:
        """From what is loaded to what is wanted. The table of IPv6 comes with its first element, goes with its last."""
        before, after = _families(self._loaded), _families(wanted)
        staying = {"ip"} | (before & after)
        kept = [sorted(element for element in some if element[0] in staying) for some in (gone, new)]
        made = [ruleset(self._instance, wanted, where) for where in after - staying]
        return "".join([*(_deletion(self._instance, where) for where in before - staying), *made]) + _changes(
            self._instance, *kept
        )

    def _replace(self, wanted: set[Element]) -> None:
        scripts = [ruleset(self._instance, wanted, where) for where in sorted({"ip"} | _families(wanted))]
        complaint = nft.load("".join(scripts))
        if complaint:
            raise Unavailable(f"publish ports: {complaint}", "nft needs nf_tables with NAT and fib in the kernel")
        self._loaded = set(wanted)


def _families(wanted: Iterable[Element]) -> set[str]:
    return {where for where, _, _ in wanted}


def _bridges(wanted: Iterable[Element]) -> set[str]:
    """Those whose loopback has to be open, which is a matter of IPv4."""
    return {text.strip('"') for where, name, text in wanted if (where, name) == ("ip", "bridges")}


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
    """A socket bound to the port, so that nobody else on the host takes it while it is published. No packet of IPv4
    ever reaches it: all are translated before. None for SCTP on a kernel without it. Raises OSError (EADDRINUSE).

    A TCP port is only ours for sure once we listen; SO_REUSEADDR as for any server, for connections in TIME_WAIT.
    """
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    try:
        sock = socket.socket(_FAMILIES[family(address)], kind, PROTOCOLS[protocol])
    except OSError:
        if protocol == "sctp":
            return None
        raise
    try:
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
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


def bridge_of(gateway: str) -> str | None:
    """The bridge by its IPv4 address, which is the gateway of its containers; None where no interface has it."""
    wanted = socket.inet_aton(gateway)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, _IFREQ.pack(name.encode(), socket.AF_INET, 0, b""))
                if _IFREQ.unpack(answer)[3] == wanted:
                    return name
    return None
