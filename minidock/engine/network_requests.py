"""Networks as they are asked for and as they are kept; what is checked of a request. Pure.

The request is the body of ``POST /networks/create``, the record what stands in the database and is shown. All that can
be refused by looking at the request alone is refused here, with Docker's texts. Read next: networks.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_network
from typing import Any

from minidock.engine.codec import key
from minidock.engine.config import EndpointWish
from minidock.engine.model import Container
from minidock.network.firewall import Policy
from minidock.network.user import UserBridge
from minidock.wire.errors import Forbidden, InvalidArgument, NotFound, NotImplemented
from minidock.wire.names import NAME, short_id

PREDEFINED = ("bridge", "host", "none")
BRIDGE_NAME = "com.docker.network.bridge.name"
_ICC = "com.docker.network.bridge.enable_icc"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_MTU = "com.docker.network.driver.mtu"
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


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


@dataclass(frozen=True)
class NetworkRequest:
    """The body of ``POST /networks/create``."""

    name: str = ""
    driver: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: Any = None
    enable_ipv6: bool = key("EnableIPv6", default=False)
    ipam: Ipam | None = key("IPAM", default=None)
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


@dataclass(frozen=True)
class NetworkRecord:
    """A network. ``subnet`` and ``gateway`` are empty for host and none; ``chosen``: the user gave the subnet."""

    id: str
    name: str
    driver: str
    subnet: str = ""
    gateway: str = ""
    bridge: str = ""
    created: int = 0
    chosen: bool = False
    ip_range: str = ""
    reserved: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = field(default_factory=dict)
    ipam_options: dict[str, str] | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def predefined(self) -> bool:
        """bridge, host or none."""
        return self.name in PREDEFINED

    @property
    def address(self) -> IPv4Interface:
        """The gateway with the subnet's prefix."""
        return IPv4Interface(f"{self.gateway}/{IPv4Network(self.subnet).prefixlen}")

    def kernel(self) -> UserBridge:
        """What the kernel is to have for it."""
        policy = Policy(self.internal, _option(self.options, _ICC, True), _option(self.options, _MASQUERADE, True))
        return UserBridge(self.id, self.bridge, self.address, policy, int(self.options.get(_MTU) or 0))


def check(request: NetworkRequest) -> None:
    """Raises for what no network can be."""
    if not request.name:
        raise InvalidArgument("invalid network name: name is empty")
    if request.name in (*PREDEFINED, "default", "container"):
        raise Forbidden(f"operation is not permitted on predefined {request.name} network")
    if not NAME.fullmatch(request.name) or len(request.name) > 255:
        raise InvalidArgument(f"invalid network name ({request.name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if request.driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{request.driver}" network is allowed')
    if request.driver in ("macvlan", "ipvlan", "overlay"):
        raise NotImplemented(f"networks of the driver {request.driver}: not there yet in minidock", "driver bridge")
    if request.driver not in ("", "default", "bridge"):
        raise NotFound(
            f'could not find plugin {request.driver} in v1 plugin registry: plugin "{request.driver}" not found'
        )
    if request.enable_ipv6:
        raise NotImplemented("networks with IPv6: not there yet in minidock", "create it without --ipv6")
    if request.ingress or request.config_only or (request.config_from or {}).get("Network"):
        raise NotImplemented("ingress networks and network configurations are a part of Swarm", "leave them out")
    ipam = request.ipam or Ipam()
    if ipam.driver not in ("", "default"):
        raise NotFound(f'plugin "{ipam.driver}" not found', "the IPAM driver here is called default")
    if len(ipam.config or ()) > 1:
        raise InvalidArgument("a bridge network has one IPv4 subnet here", "give one --subnet")
    _check_options(request.options or {})


def _check_options(options: dict[str, str]) -> None:
    for name in (_ICC, _MASQUERADE):
        _option(options, name, True)
    mtu = options.get(_MTU) or "0"
    if not mtu.isascii() or not mtu.isdigit() or (int(mtu) and not 68 <= int(mtu) <= 65535):
        raise InvalidArgument(f"invalid value for {_MTU}: {mtu}", "a number from 68 to 65535")
    bridge = options.get(BRIDGE_NAME, "")
    if bridge and (not _INTERFACE.fullmatch(bridge) or bridge in ("all", "default", "lo")):
        raise InvalidArgument(f"invalid bridge name {bridge!r}", "1 to 15 letters, digits, dots, dashes, underscores")


def _option(options: dict[str, str], name: str, default: bool) -> bool:
    text = options.get(name, "")
    if text and text.lower() not in _BOOLEANS:
        raise InvalidArgument(f"invalid value for {name}: {text!r}", "true or false")
    return _BOOLEANS.get(text.lower(), default)


# ---- addresses ------------------------------------------------------------------------------------------------------


def wanted_pool(request: NetworkRequest) -> IpamPool:
    """The subnet's part of the request, empty without one."""
    pools = (request.ipam.config or ()) if request.ipam else ()
    return pools[0] if pools else IpamPool()


def subnet(pool: IpamPool) -> IPv4Network | None:
    """The subnet that was asked for. Raises InvalidArgument."""
    if not pool.subnet:
        if pool.gateway or pool.ip_range or pool.auxiliary_addresses:
            raise InvalidArgument("invalid network config: no subnet in the IPAM config", "give --subnet too")
        return None
    found = _network("subnet", pool.subnet)
    if found.prefixlen > 30:
        raise InvalidArgument(f"invalid subnet {pool.subnet}: it has no room for a container", "a prefix up to /30")
    return found


def _network(what: str, text: str) -> IPv4Network:
    try:
        parsed = ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid {what} {text}: invalid CIDR address", "such as 10.5.0.0/16") from None
    if not isinstance(parsed, IPv4Network):
        raise NotImplemented(f"{what} {text}: networks with IPv6 are not there yet in minidock", "give an IPv4 one")
    if str(parsed) != text:
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: it should be {parsed}")
    return parsed


def gateway(pool: IpamPool, network: IPv4Network) -> IPv4Address:
    """The one asked for, else the first address that is not reserved; of the ip-range where there is one."""
    taken = set(reserved(pool, network).values())
    if pool.gateway:
        return _inside("gateway", pool.gateway, network)
    part = ip_range(pool, network) or network
    for number in range(int(part.network_address), int(part.broadcast_address) + 1):
        address = IPv4Address(number)
        if address not in (network.network_address, network.broadcast_address) and address not in taken:
            return address
    raise InvalidArgument(f"invalid network config: no address of {part} is left for the gateway")


def ip_range(pool: IpamPool, network: IPv4Network) -> IPv4Network | None:
    """The part of the subnet that addresses are given out from."""
    if not pool.ip_range:
        return None
    part = _network("ip-range", pool.ip_range)
    if not part.subnet_of(network):
        raise InvalidArgument(f"invalid network config: invalid ip-range {part}: it is not in subnet {network}")
    return part


def reserved(pool: IpamPool, network: IPv4Network) -> dict[str, IPv4Address]:
    """The auxiliary addresses, which no container gets unless it asks for one of them."""
    wanted = pool.auxiliary_addresses or {}
    return {name: _inside(f"auxiliary address {name}", text, network) for name, text in wanted.items()}


def _inside(what: str, text: str, network: IPv4Network) -> IPv4Address:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: not an IPv4 address") from None
    if address not in network or address in (network.network_address, network.broadcast_address):
        raise InvalidArgument(f"invalid network config: invalid {what} {text}: no host's address of subnet {network}")
    return address


# ---- endpoints ------------------------------------------------------------------------------------------------------


def static_address(wish: EndpointWish) -> str:
    """The IPv4 address that was asked for, or ""."""
    return wish.ipam_config.ipv4_address if wish.ipam_config else ""


def check_wish(wish: EndpointWish, network: NetworkRecord) -> None:
    """Raises for what an endpoint of this network can't be. The texts are Docker's."""
    if wish.links:
        raise NotImplemented("--link: not there yet in minidock", "use --network-alias")
    if wish.mac_address and (not _MAC.fullmatch(wish.mac_address) or int(wish.mac_address[:2], 16) & 1):
        raise InvalidArgument(f"invalid MAC address: {wish.mac_address}", "such as 02:42:ac:11:00:02")
    address = static_address(wish)
    if wish.ipam_config and (wish.ipam_config.ipv6_address or wish.ipam_config.link_local_ips):
        raise NotImplemented("addresses of IPv6 and link-local ones: not there yet in minidock", "give --ip alone")
    if network.predefined:
        if address:
            raise InvalidArgument("user specified IP address is supported on user defined networks only")
        if wish.aliases and network.name != "none":
            raise InvalidArgument(
                "network-scoped aliases are only supported for user-defined networks", "make one by network create"
            )
        return
    if address:
        if not network.chosen:
            raise InvalidArgument(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
                "create the network with --subnet",
            )
        _inside("address", address, IPv4Network(network.subnet))


def dns_names(container: Container, wish: EndpointWish) -> list[str]:
    """What a container is called on a user's network: its name, its aliases, its short id, its host name."""
    names = [container.name, *(wish.aliases or ()), short_id(container.id), container.config.hostname]
    return list(dict.fromkeys(name for name in names if name))
