"""The packet filter: one nft table for each bridge, written in one transaction and removed in one.

    table inet minidock-minidock0
      forward       from the bridge: accept; to the bridge: answers and published ports only, all else dropped
      postrouting   from the subnets (IPv4, and IPv6 where the network has it), leaving by another interface: masquerade

The drop keeps the neighbours of this host from routing packets straight to a container's ports, which a host that
forwards would otherwise let them do; containers on the bridge reach each other below this table (and by its first rule
where br_netfilter sends bridged packets through it).

Living with others: every base chain on a hook sees each packet, and a drop in any of them is final. So our accept can't
help where Docker or ufw set the FORWARD chain of iptables to drop: containers then have no way out until a rule there
lets the bridge pass. Nothing here touches the rules of others; ``minidock doctor`` says which rule is missing.
route_localnet stays as it is but for published ports, which have a table of their own (ports.py).

Serves bridge.py and user.py. See: nft(8). Look: nft list table inet minidock-minidock0. Read next: bridge.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from minidock.linux import nft
from minidock.wire.errors import Unavailable

Subnets = Sequence[IPv4Network | IPv6Network]
_HINT = "install nftables (apt install nftables); containers can still use --network none or host"


@dataclass(frozen=True)
class Policy:
    """What may pass: ``internal`` keeps a network from everything but itself, ``icc`` off its members from each other;
    ``masquerade`` off leaves their addresses as they are on the way out, for a router that knows them.
    """

    internal: bool = False
    icc: bool = True
    masquerade: bool = True


def ruleset(bridge: str, subnets: Subnets, policy: Policy = Policy()) -> str:  # noqa: B008 - frozen
    """The whole table as an nft script. The two lines before it make "replace" of "add": add, delete, add is atomic.

    ``bridge`` must be checked before (bridge.py): it is written into the script as it is.
    """
    table = table_of(bridge)
    return f"""
add table {table}
delete table {table}
table {table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {_forward(bridge, policy)}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {_masquerade(bridge, subnets, policy)}
    }}
}}
"""


def _forward(bridge: str, policy: Policy) -> str:
    """Where members may not meet, their ports are isolated from each other (veth.py); by way of the host's own
    address, which routes for them, they would still meet if it were not for the first rule.
    """
    rules = [] if policy.icc else [f'iifname "{bridge}" oifname "{bridge}" drop']
    if policy.internal:
        rules += [f'iifname "{bridge}" oifname != "{bridge}" drop', f'oifname "{bridge}" iifname != "{bridge}" drop']
    else:
        established = f'oifname "{bridge}" ct state established,related accept'
        published = f'oifname "{bridge}" ct status dnat accept'
        rules += [f'iifname "{bridge}" accept', established, published, f'oifname "{bridge}" drop']
    return "\n        ".join(rules)


def _masquerade(bridge: str, subnets: Subnets, policy: Policy) -> str:
    if policy.internal or not policy.masquerade:
        return ""
    families = {4: "ip", 6: "ip6"}
    rules = [f'{families[subnet.version]} saddr {subnet} oifname != "{bridge}" masquerade' for subnet in subnets]
    return "\n        ".join(rules)


def table_of(bridge: str) -> str:
    """The table's family and name."""
    return f"inet minidock-{bridge}"


def apply(bridge: str, subnets: Subnets, policy: Policy = Policy()) -> None:  # noqa: B008 - frozen
    """Makes or replaces the table; all of it or nothing. Raises Unavailable with nft's own words."""
    _load(f"write the rules of {bridge}", ruleset(bridge, subnets, policy))


def apply_all(wanted: Iterable[tuple[str, Subnets, Policy]]) -> None:
    """The same for many bridges in one go: starting nft takes longer than what it does."""
    scripts = [ruleset(*one) for one in wanted]
    if scripts:
        _load("write the rules of the bridges", "".join(scripts))


def remove(bridge: str) -> None:
    """Removes the table; one that does not exist is fine (add, delete)."""
    _load(f"remove the rules of {bridge}", f"add table {table_of(bridge)}\ndelete table {table_of(bridge)}\n")


def require() -> None:
    """Raises Unavailable where the program nft is not installed."""
    if nft.find() is None:
        raise Unavailable("find nft: the program is not installed", _HINT)


def _load(what: str, script: str) -> None:
    require()
    complaint = nft.load(script)
    if complaint:
        raise Unavailable(f"{what}: {complaint}", "nft needs CAP_NET_ADMIN and nf_tables with NAT in the kernel")
