"""The flags of `run` and `create` about networks: --network, --network-alias, --ip, --ip6, --mac-address.

`--network` may be given several times, and in docker's long form: name=NAME,alias=…,ip=…,ip6=…,mac-address=…. The flags
beside it are about the first one. For options.py; read next: network.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minidock.cli.values import address as checked_address
from minidock.cli.values import network
from minidock.cli.verb import BadFlag, parsed

Json = dict[str, Any]


def networking(options: Mapping[str, Any]) -> tuple[str, Json]:
    """(HostConfig.NetworkMode, NetworkingConfig.EndpointsConfig). Raises BadFlag."""
    given = options["network"] or ("default",)
    wanted = [_long(text) if "=" in text else (network(text), {}) for text in given]
    first, body = wanted[0]
    flags = endpoint_body(
        options["network_alias"],
        options["ip"] or "",
        options["mac_address"] or "",
        options["ip6"] or "",
        options["link"] if _of_one_s_own(first) else (),
    )
    for key in flags:
        if key in body:
            raise BadFlag(f"conflicting options: {key} is given for network {first} and by a flag of its own")
    wanted[0] = (first, {**body, **flags})
    names = [name for name, _ in wanted]
    if len(set(names)) < len(names):
        raise BadFlag(f"network {max(names, key=names.count)!r} is specified multiple times")
    return first, {name: body for name, body in wanted if body or len(wanted) > 1}


def _of_one_s_own(network: str) -> bool:
    """A link there is an alias; elsewhere it is the container's (HostConfig.Links)."""
    return network not in ("default", "bridge", "host", "none") and not network.startswith("container:")


def endpoint_body(
    aliases: Sequence[str], address: str = "", mac: str = "", address6: str = "", links: Sequence[str] = ()
) -> Json:
    """Docker's EndpointSettings, what was not asked for left out. Raises BadFlag."""
    body: Json = {}
    if aliases:
        body["Aliases"] = list(aliases)
    if links:
        body["Links"] = list(links)
    asked = {}
    if address:
        asked["IPv4Address"] = parsed("--ip", address, checked_address)
    if address6:
        asked["IPv6Address"] = parsed("--ip6", address6, checked_address)
    if asked:
        body["IPAMConfig"] = asked
    if mac:
        body["MacAddress"] = mac
    return body


def _long(text: str) -> tuple[str, Json]:
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        key, equals, wanted = part.partition("=")
        if not equals or key not in ("name", "alias", "ip", "ip6", "mac-address"):
            raise BadFlag(f'invalid argument "{text}" for "--network" flag: invalid field {part!r}')
        found.setdefault(key, []).append(wanted)
    if len(found.get("name", [])) != 1:
        raise BadFlag(f'invalid argument "{text}" for "--network" flag: it must name one network')
    ip, mac, ip6 = (found.get(key, [""])[-1] for key in ("ip", "mac-address", "ip6"))
    return found["name"][0], endpoint_body(found.get("alias", []), ip, mac, ip6)
