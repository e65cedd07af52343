"""Which subnet a network gets that asks for none, and whether one that asks may have it. Pure.

The pools lie where few private networks are, away from Docker's own (172.17 to 172.29, 192.168.0.0/16 in pieces of
/20), so that both daemons can serve one host. The IPv6 pool is a /48 of unique local addresses (RFC 4193) that follows
from the daemon's id, as in Docker since 27: two hosts have different ones, and one host the same each time. Its first
/64 is the default bridge's. --default-address-pool replaces the pools of its family.
Serves user.py, daemon.py and the engine's networks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import TypeVar

from minidock.wire.errors import InvalidArgument, Unavailable

N = TypeVar("N", IPv4Network, IPv6Network)
_ULA = 0xFD << 120


@dataclass(frozen=True)
class Pool:
    """Subnets of ``size`` bits of prefix, cut from ``base``."""

    base: IPv4Network | IPv6Network
    size: int


_DEFAULTS = (
    Pool(IPv4Network("172.31.0.0/16"), 20),
    Pool(IPv4Network("10.224.0.0/12"), 20),
    Pool(IPv4Network("192.168.128.0/17"), 24),
)


def local_pool(instance: str) -> Pool:
    """fd, then 40 bits of a digest of the daemon's id: a /48, in pieces of /64."""
    number = int.from_bytes(hashlib.sha256(instance.encode()).digest()[3:8], "big")
    return Pool(IPv6Network((_ULA | number << 80, 48)), 64)


def default_bridge6(instance: str) -> IPv6Interface:
    """The default bridge's own address where --ipv6 asks for one and --fixed-cidr-v6 for none in particular."""
    return first_address(next(_pieces([local_pool(instance)], IPv6Network)))


def first_address(subnet: IPv6Network) -> IPv6Interface:
    """The first address after the network's own, with its prefix."""
    return IPv6Interface((subnet.network_address + 1, subnet.prefixlen))


def parse(text: str) -> Pool:
    """``base=10.10.0.0/16,size=24``. Raises InvalidArgument."""
    fields = dict(part.strip().partition("=")[::2] for part in text.split(","))
    try:
        base, size = ip_network(fields["base"]), int(fields["size"])
        if fields.keys() != {"base", "size"} or not base.prefixlen <= size <= base.max_prefixlen - 2:
            raise ValueError
    except (KeyError, ValueError):
        raise InvalidArgument(
            f"invalid --default-address-pool {text!r}",
            "such as base=10.10.0.0/16,size=24 or base=fd12:3456::/48,size=64",
        ) from None
    return Pool(base, size)


class Pools:
    """Where subnets come from that nobody chose: ``asked`` for, or else the defaults of each family."""

    def __init__(self, instance: str, asked: Sequence[Pool] = ()) -> None:
        own = [pool for pool in asked if pool.base.version == 4]
        own6 = [pool for pool in asked if pool.base.version == 6]
        self._pools = own or list(_DEFAULTS)
        self._pools6 = own6 or [local_pool(instance)]
        self._kept6 = default_bridge6(instance).network

    def candidates(self) -> Iterator[IPv4Network]:
        """In the order in which they are given out; 400 of the defaults."""
        return _pieces(self._pools, IPv4Network)

    def choose(self, taken: Sequence[IPv4Network], resolvers: Sequence[IPv4Address]) -> IPv4Network:
        """The first candidate that overlaps nothing in ``taken`` (but for the default route) and holds no resolver,
        which may be reached by the default route alone. Raises Unavailable when there is none.
        """
        narrow = [network for network in taken if network.prefixlen > 0]
        for candidate in self.candidates():
            if overlapped(candidate, narrow) is None and not any(server in candidate for server in resolvers):
                return candidate
        raise _none_left("IPv4")

    def choose6(self, taken: Sequence[IPv6Network]) -> IPv6Network:
        """The same for IPv6. Raises Unavailable when all are taken."""
        narrow = [self._kept6, *(network for network in taken if network.prefixlen > 0)]
        for candidate in _pieces(self._pools6, IPv6Network):
            if overlapped(candidate, narrow) is None:
                return candidate
        raise _none_left("IPv6")


def _pieces(pools: Iterable[Pool], kind: type[N]) -> Iterator[N]:
    for pool in pools:
        if isinstance(pool.base, kind):
            yield from pool.base.subnets(new_prefix=pool.size)


def _none_left(family: str) -> Unavailable:
    return Unavailable(
        f"could not find an available, non-overlapping {family} address pool among the defaults to assign to the "
        "network",
        "give one by --subnet",
    )


def overlapped(subnet: N, others: Iterable[N]) -> N | None:
    """The first of the others that has addresses in common with the subnet."""
    return next((other for other in others if other.overlaps(subnet)), None)
