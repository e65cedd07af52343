"""Which subnet a network gets that asks for none, and whether one that asks may have it. Pure.

The pools lie where few private networks are, away from Docker's own (172.17 to 172.29, 192.168.0.0/16 in pieces of
/20), so that both daemons can serve one host. Serves user.py and the engine's networks.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from minidock.wire.errors import Unavailable

_POOLS = (("172.31.0.0/16", 20), ("10.224.0.0/12", 20), ("192.168.128.0/17", 24))


def candidates() -> Iterator[IPv4Network]:
    """400 subnets, in the order in which they are given out."""
    for text, prefix in _POOLS:
        yield from IPv4Network(text).subnets(new_prefix=prefix)


def choose(taken: Sequence[IPv4Network], resolvers: Sequence[IPv4Address]) -> IPv4Network:
    """The first candidate that overlaps nothing in ``taken`` (but for the default route) and holds no resolver, which
    may be reached by the default route alone. Raises Unavailable when there is none.
    """
    narrow = [network for network in taken if network.prefixlen > 0]
    for candidate in candidates():
        if overlapped(candidate, narrow) is None and not any(server in candidate for server in resolvers):
            return candidate
    raise Unavailable(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "give one by --subnet",
    )


def overlapped(subnet: IPv4Network, others: Iterable[IPv4Network]) -> IPv4Network | None:
    """The first of the others that has addresses in common with the subnet."""
    return next((other for other in others if other.overlaps(subnet)), None)
