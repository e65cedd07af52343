"""What a request says of a network's addresses: subnet, gateway, range, addresses kept free; for IPv4 and IPv6. Pure.

A network has one subnet of each family here. What of it nobody asked for is chosen elsewhere (networks.py, by the pools
of network/pools.py) or follows from the subnet: the gateway is its first address. The texts are Docker's.
Serves requests.py and networks.py. See: Docker Engine API 1.45, IPAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from minidock.engine.codec import key
from minidock.wire.errors import InvalidArgument

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
_MOST = {4: 30, 6: 126}
"""The longest prefix of each family that leaves room for a gateway and a container."""


@dataclass(frozen=True)
class IpamPool:
    """One subnet of a request."""

    subnet: str = ""
    ip_range: str = key("IPRange", default="")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None


@dataclass(frozen=True)
class Ipam:
    """Where a network's addresses are to come from."""

    driver: str = ""
    options: dict[str, str] | None = None
    config: tuple[IpamPool, ...] | None = None


def pool_of(pools: Sequence[IpamPool], version: int) -> IpamPool:
    """The part of a request about one family, empty without one. Raises InvalidArgument for more than one."""
    found = [pool for pool in pools if version_of(pool) == version]
    if len(found) > 1:
        raise InvalidArgument(f"a network has one IPv{version} subnet here", "give one --subnet of each family")
    return found[0] if found else IpamPool()


def version_of(pool: IpamPool) -> int:
    """4 or 6; a pool without a subnet is about IPv4. Raises InvalidArgument."""
    if not pool.subnet:
        if pool.gateway or pool.ip_range or pool.auxiliary_addresses:
            raise InvalidArgument("invalid network config: no subnet in the IPAM config", "give --subnet too")
        return 4
    return parse_network("subnet", pool.subnet).version


def subnet(pool: IpamPool) -> Network | None:
    """The subnet that was asked for. Raises InvalidArgument."""
    if not pool.subnet:
        return None
    found = parse_network("subnet", pool.subnet)
    if found.prefixlen > _MOST[found.version]:
        hint = f"a prefix up to /{_MOST[found.version]}"
        raise InvalidArgument(f"invalid subnet {pool.subnet}: it has no room for a container", hint)
    return found


def parse_network(what: str, text: str) -> Network:
    """A subnet in CIDR form, its host bits all zero. Raises InvalidArgument."""
    try:
        parsed = ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid {what} {text}: invalid CIDR address", "such as 10.5.0.0/16") from None
    given = ip_address(text.partition("/")[0])
    if given != parsed.network_address or "/" not in text:
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: it should be {parsed}")
    return parsed


def gateway(pool: IpamPool, network: Network) -> Address:
    """The one asked for, else the first address that is not reserved; of the ip-range where there is one."""
    taken = set(reserved(pool, network).values())
    if pool.gateway:
        return inside("gateway", pool.gateway, network)
    part = ip_range(pool, network) or network
    for number in range(int(part.network_address), int(part.broadcast_address) + 1):
        address = part.network_address + (number - int(part.network_address))
        if usable(address, network) and address not in taken:
            return address
    raise InvalidArgument(f"invalid network config: no address of {part} is left for the gateway")


def ip_range(pool: IpamPool, network: Network) -> Network | None:
    """The part of the subnet that addresses are given out from."""
    if not pool.ip_range:
        return None
    part = parse_network("ip-range", pool.ip_range)
    if part.version != network.version or not part.subnet_of(network):  # type: ignore[arg-type]
        raise InvalidArgument(f"invalid network config: invalid ip-range {part}: it is not in subnet {network}")
    return part


def reserved(pool: IpamPool, network: Network) -> dict[str, Address]:
    """The auxiliary addresses, which no container gets unless it asks for one of them."""
    wanted = pool.auxiliary_addresses or {}
    return {name: inside(f"auxiliary address {name}", text, network) for name, text in wanted.items()}


def inside(what: str, text: str, network: Network) -> Address:
    """An address of a host in the network. Raises InvalidArgument."""
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != network.version:
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: not an IPv{network.version} address")
    if address not in network or not usable(address, network):
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: no host's address of subnet {network}")
    return address


def usable(address: Address, network: Network) -> bool:
    """Whether a host may have the address: IPv6 has no broadcast address."""
    return address != network.network_address and (address.version == 6 or address != network.broadcast_address)
