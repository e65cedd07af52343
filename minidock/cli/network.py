"""`minidock network`: create, ls, inspect, rm, prune, connect, disconnect, with docker's flags and tables.

Read next: noun.py, networking.py (the flags of `run` about networks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

from minidock.cli.networking import endpoint_body
from minidock.cli.noun import Noun
from minidock.cli.output import filter_map, show_rows
from minidock.cli.removal import agree, remove_each
from minidock.cli.values import label
from minidock.cli.verb import BadFlag, argument, client, flag, parsed, tell, value, verb
from minidock.client.networks import Networks
from minidock.wire.errors import NotFound
from minidock.wire.names import short_id

COLUMNS = ("ID", "Name", "Driver", "Scope")
HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


@verb("create")
@argument("name", "NETWORK")
@flag("--attachable", help="Enable manual container attachment")
@value("--aux-address", "auxiliary", metavar="map", multiple=True, help="Auxiliary addresses: NAME=ADDRESS")
@value("-d", "--driver", help="Driver to manage the network", default="bridge")
@value("--gateway", "gateways", metavar="list", multiple=True, help="IPv4 or IPv6 gateway for its subnet")
@flag("--internal", help="Restrict external access to the network")
@value("--ip-range", "ranges", metavar="list", multiple=True, help="Allocate container ip from a sub-range")
@flag("--ipv6", help="Enable IPv6 networking")
@value("--label", "labels", metavar="list", multiple=True, help="Set metadata on a network")
@value("-o", "--opt", "options", metavar="map", multiple=True, help="Set driver specific options: NAME=VALUE")
@value("--subnet", "subnets", metavar="list", multiple=True, help="Subnet in CIDR format: one of IPv4, one of IPv6")
def create_command(
    name: str,
    attachable: bool,
    auxiliary: Sequence[str],
    driver: str,
    gateways: Sequence[str],
    internal: bool,
    ranges: Sequence[str],
    ipv6: bool,
    labels: Sequence[str],
    options: Sequence[str],
    subnets: Sequence[str],
) -> None:
    """Create a network"""
    body = {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": driver,
        "Internal": internal,
        "Attachable": attachable,
        "EnableIPv6": ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": _pools(
                subnets, ranges, gateways, dict(parsed("--aux-address", text, label) for text in auxiliary)
            ),
        },
        "Options": dict(parsed("-o, --opt", text, label) for text in options),
        "Labels": dict(parsed("--label", text, label) for text in labels),
    }
    made = Networks(client()).create(body)
    if made.get("Warning"):
        tell(f"warning: {made['Warning']}")
    print(made["Id"])


def _pools(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], auxiliary: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Each subnet with what lies in it; Docker's CLI sorts them so, too. Raises BadFlag."""
    pools: list[dict[str, Any]] = [{"Subnet": subnet} for subnet in subnets] or [{}]
    for key, name, wanted in (
        ("IPRange", "--ip-range", ranges),
        ("Gateway", "--gateway", gateways),
    ):
        for text in wanted:
            _pool_around(pools, name, text).setdefault(key, text)
    for host, text in auxiliary.items():
        _pool_around(pools, "--aux-address", text).setdefault("AuxiliaryAddresses", {})[host] = text
    return [pool for pool in pools if pool]


def _pool_around(pools: list[dict[str, Any]], name: str, text: str) -> dict[str, Any]:
    """The pool whose subnet has the address; the only one without asking, since the daemon says what is wrong then."""
    if len(pools) == 1:
        return pools[0]
    for pool in pools:
        try:
            if ip_interface(text).ip in ip_network(pool["Subnet"], strict=False):
                return pool
        except ValueError:
            continue
    raise BadFlag(f"no matching subnet for {name.removeprefix('--')} {text}")


@verb("ls")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output, such as driver=bridge")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("--no-trunc", help="Do not truncate the output")
@flag("-q", "--quiet", help="Only display network IDs")
def ls_command(filters: Sequence[str], layout: str | None, no_trunc: bool, quiet: bool) -> None:
    """List networks"""
    found = sorted(Networks(client()).all(filter_map(filters)), key=lambda network: str(network["Name"]))
    if quiet and not layout:
        print("".join(f"{network['Id'] if no_trunc else short_id(network['Id'])}\n" for network in found), end="")
        return
    show_rows([_row(network, no_trunc) for network in found], layout, COLUMNS, HEADINGS)


def _row(network: Mapping[str, Any], no_trunc: bool) -> dict[str, object]:
    labels = network.get("Labels") or {}
    return {
        "ID": network["Id"] if no_trunc else short_id(network["Id"]),
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "IPv6": str(bool(network.get("EnableIPv6"))).lower(),
        "Internal": str(bool(network.get("Internal"))).lower(),
        "Labels": ",".join(f"{name}={text}" for name, text in sorted(labels.items())),
        "CreatedAt": network["Created"],
    }


@verb("inspect")
@argument("names", "NETWORK [NETWORK...]", nargs=-1, required=True)
@value("-f", "--format", "layout", help="'json' or a Go template")
@flag("-v", "--verbose", help="Verbose output for diagnostics")
def inspect_command(names: Sequence[str], layout: str | None, verbose: bool) -> int:
    """Display detailed information on one or more networks"""
    from minidock.cli.inspect import show_each

    return show_each(names, client().inspect_network, layout)


@verb("rm")
@argument("names", "NETWORK [NETWORK...]", nargs=-1, required=True)
@flag("-f", "--force", help="Do not error if the network does not exist")
def rm_command(names: Sequence[str], force: bool) -> int:
    """Remove one or more networks"""
    return remove_each(names, Networks(client()).remove, (NotFound,) if force else ())


@verb("prune")
@value("--filter", "filters", metavar="filter", multiple=True, help="Provide filter values, such as until=24h")
@flag("-f", "--force", help="Do not prompt for confirmation")
def prune_command(filters: Sequence[str], force: bool) -> None:
    """Remove all unused networks"""
    if not force:
        agree(" all custom networks not used by at least one container.", "network prune")
    removed = Networks(client()).prune(filter_map(filters))
    if removed:
        print("Deleted Networks:", *removed, "", sep="\n")


@verb("connect")
@argument("network", "NETWORK")
@argument("container", "CONTAINER")
@value("--alias", "aliases", metavar="list", multiple=True, help="Add network-scoped alias for the container")
@value("--ip", "address", help='IPv4 address (e.g., "172.30.100.104")', default="")
@value("--ip6", "address6", help='IPv6 address (e.g., "2001:db8::33")', default="")
@value("--link", "links", metavar="list", multiple=True, help="Add link to another container")
def connect_command(
    network: str, container: str, aliases: Sequence[str], address: str, address6: str, links: Sequence[str]
) -> None:
    """Connect a container to a network"""
    body = endpoint_body(aliases, address, address6=address6, links=links)
    Networks(client()).connect(network, container, body)


@verb("disconnect")
@argument("network", "NETWORK")
@argument("container", "CONTAINER")
@flag("-f", "--force", help="Force the container to disconnect from a network")
def disconnect_command(network: str, container: str, force: bool) -> None:
    """Disconnect a container from a network"""
    Networks(client()).disconnect(network, container, force)


network_command = Noun(
    "network",
    "Manage networks",
    {
        one.name or "": one
        for one in (
            create_command,
            ls_command,
            inspect_command,
            rm_command,
            prune_command,
            connect_command,
            disconnect_command,
        )
    },
)
