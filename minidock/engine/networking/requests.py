"""Networks as they are asked for and as they are kept; what is checked of a request. Pure.

The request is the body of ``POST /networks/create``, the record what stands in the database and is shown. All that can
be refused by looking at the request alone is refused here, with Docker's texts. Read next: networks.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Any

from minidock.engine.codec import key
from minidock.engine.config import AddressWish, EndpointWish
from minidock.engine.model import Container
from minidock.engine.networking.ipam import Ipam, inside, pool_of
from minidock.network.firewall import Policy
from minidock.network.lan import IPVLAN_MODES, MACVLAN_MODES, Lan
from minidock.network.user import UserBridge
from minidock.wire.errors import Forbidden, InvalidArgument, NotFound, NotImplemented
from minidock.wire.names import short_id

PREDEFINED = ("bridge", "host", "none")
LANS = {
    "macvlan": (MACVLAN_MODES, "bridge", "requested macvlan mode '{}' is not valid, 'bridge' mode is the default"),
    "ipvlan": (IPVLAN_MODES, "l2", "requested ipvlan mode '{}' is not valid, 'ipvlan_mode=l2' is the default"),
}
"""The drivers that put containers beside the host: their modes, the default one, Docker's words for any other."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", re.ASCII)  # one letter will do, unlike a container's
BRIDGE_NAME = "com.docker.network.bridge.name"
_ICC = "com.docker.network.bridge.enable_icc"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_MTU = "com.docker.network.driver.mtu"
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True)
class NetworkRequest:
    """The body of ``POST /networks/create``."""

    name: str = ""
    driver: str = ""
    internal: bool = False
    attachable: bool = False
    scope: str = ""
    ingress: bool = False
    config_only: bool = False
    config_from: Any = None
    enable_ipv6: bool = key("EnableIPv6", default=False)
    ipam: Ipam | None = key("IPAM", default=None)
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


@dataclass(frozen=True)
class NetworkRecord:
    """A network. ``subnet`` and ``gateway`` are empty for host and none; ``chosen``: the user gave the subnet. The same
    with a 6 for IPv6, empty for a network without.
    """

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
    parent: str = ""  # of the drivers in LANS: an interface of the host
    subnet6: str = ""
    gateway6: str = ""
    chosen6: bool = False
    ip_range6: str = ""
    reserved6: dict[str, str] = field(default_factory=dict)

    @property
    def predefined(self) -> bool:
        """bridge, host or none."""
        return self.name in PREDEFINED

    @property
    def address(self) -> IPv4Interface:
        """The gateway with the subnet's prefix."""
        return IPv4Interface(f"{self.gateway}/{IPv4Network(self.subnet).prefixlen}")

    @property
    def address6(self) -> IPv6Interface | None:
        """The same for IPv6, where the network has it."""
        return IPv6Interface(f"{self.gateway6}/{IPv6Network(self.subnet6).prefixlen}") if self.subnet6 else None

    def kernel(self) -> UserBridge | Lan:
        """What the kernel is to have for it."""
        mtu = int(self.options.get(_MTU) or 0)
        if self.driver in LANS:
            mode = lan_mode(self.driver, self.options)
            return Lan(self.id, self.driver, self.parent, mode, self.address, self.address6, mtu)
        policy = Policy(self.internal, _option(self.options, _ICC, True), _option(self.options, _MASQUERADE, True))
        return UserBridge(self.id, self.bridge, self.address, policy, mtu, self.address6)


def check(request: NetworkRequest) -> None:
    """Raises for what no network can be."""
    if not request.name:
        raise InvalidArgument("invalid network name: name is empty")
    if request.name in (*PREDEFINED, "default", "container"):
        raise Forbidden(f"operation is not permitted on predefined {request.name} network")
    if not _NAME.fullmatch(request.name):
        raise InvalidArgument(f"invalid network name ({request.name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if request.driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{request.driver}" network is allowed')
    if request.driver == "overlay":
        raise NotImplemented("networks of the driver overlay are a part of Swarm", "driver bridge, macvlan or ipvlan")
    if request.driver not in ("", "default", "bridge", *LANS):
        raise NotFound(
            f'could not find plugin {request.driver} in v1 plugin registry: plugin "{request.driver}" not found'
        )
    if request.scope not in ("", "local"):
        raise Forbidden(f"cannot create a {request.scope} scoped network when swarm is not active")
    if request.ingress or request.config_only or (request.config_from or {}).get("Network"):
        raise NotImplemented("ingress networks and network configurations are a part of Swarm", "leave them out")
    ipam = request.ipam or Ipam()
    if ipam.driver not in ("", "default"):
        raise NotFound(f'plugin "{ipam.driver}" not found', "the IPAM driver here is called default")
    for version in (4, 6):
        pool_of(ipam.config or (), version)
    _check_options(request.options or {})
    if request.driver in LANS:
        _check_lan(request.driver, request.options or {})


def _check_lan(driver: str, options: dict[str, str]) -> None:
    lan_mode(driver, options)
    if options.get("ipvlan_flag", "bridge") != "bridge":
        raise NotImplemented(f"ipvlan_flag={options['ipvlan_flag']}: not there in minidock", "leave it out for bridge")
    parent = options.get("parent", "")
    if parent and not _INTERFACE.fullmatch(parent):
        raise InvalidArgument(f"invalid parent interface {parent!r}", "such as -o parent=eth0 or -o parent=eth0.10")


def lan_mode(driver: str, options: dict[str, str]) -> str:
    """A key of the driver's modes. Raises InvalidArgument."""
    modes, default, words = LANS[driver]
    mode = options.get(f"{driver}_mode") or default
    if mode not in modes:
        raise InvalidArgument(words.format(mode), f"one of {', '.join(modes)}")
    return mode


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


# ---- endpoints ------------------------------------------------------------------------------------------------------


def static_addresses(wish: EndpointWish) -> dict[int, str]:
    """The addresses that were asked for, by IP version."""
    asked = wish.ipam_config or AddressWish()
    return {version: text for version, text in ((4, asked.ipv4_address), (6, asked.ipv6_address)) if text}


def check_wish(wish: EndpointWish, network: NetworkRecord) -> None:
    """Raises for what an endpoint of this network can't be. The texts are Docker's."""
    if wish.mac_address and (not _MAC.fullmatch(wish.mac_address) or int(wish.mac_address[:2], 16) & 1):
        raise InvalidArgument(f"invalid MAC address: {wish.mac_address}", "such as 02:42:ac:11:00:02")
    if wish.ipam_config and wish.ipam_config.link_local_ips:
        raise NotImplemented("link-local addresses of one's own are not there in minidock", "give --ip and --ip6 alone")
    addresses = static_addresses(wish)
    if network.predefined:
        if addresses:
            raise InvalidArgument("user specified IP address is supported on user defined networks only")
        if wish.aliases and network.name != "none":
            raise InvalidArgument(
                "network-scoped aliases are only supported for user-defined networks", "make one by network create"
            )
        return
    for version, address in addresses.items():
        subnet, chosen = (network.subnet, network.chosen) if version == 4 else (network.subnet6, network.chosen6)
        if not chosen:
            raise InvalidArgument(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
                "create the network with --subnet" + " --ipv6" * (version == 6),
            )
        inside("address", address, ip_network(subnet))


def dns_names(container: Container, wish: EndpointWish) -> list[str]:
    """What a container is called on a user's network: its name, its aliases, its short id, its host name."""
    names = [container.name, *(wish.aliases or ()), short_id(container.id), container.config.hostname]
    return list(dict.fromkeys(name for name in names if name))
