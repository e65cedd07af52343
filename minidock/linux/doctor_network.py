"""The doctor's questions about networking: can there be a bridge with rules, and will others' rules let it through?

The bridge, a veth pair and the rules are made for real, in a network namespace that ends with the thread that made it.
The last check looks at the host itself: where Docker or ufw set the FORWARD policy to drop, our accept does not help,
since each base chain on a hook decides alone (see network/firewall.py).

Serves doctor.py. See: nft(8), "ADDRESS FAMILIES" and "CHAINS". Read next: check.py, ../network/firewall.py.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from minidock.linux import netlink, nft
from minidock.linux.check import Check, guarded
from minidock.linux.netns import enter_new_netns, in_thread
from minidock.linux.reason import reason

_RULES = "table inet t { chain c { type nat hook postrouting priority srcnat; ip saddr 192.0.2.0/24 masquerade; }; }"
_MARK = "minidock "  # what the alias of each bridge of ours begins with (network/bridge.py)
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_STILL = "containers can use --network none or host meanwhile"


def checks(bridge: str) -> list[Check]:
    """What the default network needs, then what may stand in its way."""
    return [
        guarded("bridge", bridge_and_veth),
        guarded("nft", masquerade),
        guarded("ip_forward", lambda: ip_forward(Path("/proc"))),
        guarded("forward policy", lambda: forward_policy(bridge)),
    ]


def bridge_and_veth() -> Check:
    """Makes one of each."""
    return in_thread(_make_bridge_and_veth)


def _make_bridge_and_veth() -> Check:
    os.close(enter_new_netns())
    with netlink.Netlink() as kernel:
        for kind in ("bridge", "veth"):
            try:
                kernel.request(netlink.new_link("probe", kind))
                kernel.request(netlink.delete_link("probe"))
            except OSError as error:
                detail = f"no {kind} can be made: {reason(error)}"
                return Check("bridge", "fail", detail, f"modprobe {kind}; {_STILL}")
    return Check("bridge", "ok", "bridges and veth pairs can be made")


def masquerade() -> Check:
    """Loads such a rule with the nft program."""
    if nft.find() is None:
        return Check("nft", "fail", "the program nft is not installed", f"apt install nftables; {_STILL}")
    complaint = in_thread(_load_masquerade)
    if complaint:
        return Check(
            "nft", "fail", f"masquerade can't be set up: {complaint}", f"modprobe nf_tables nft_masq; {_STILL}"
        )
    return Check("nft", "ok", f"{nft.find()} works, masquerade included")


def _load_masquerade() -> str:
    os.close(enter_new_netns())
    return nft.load(_RULES)


def ip_forward(proc: Path) -> Check:
    """The daemon switches it on; it can't where /proc/sys is read-only."""
    file = proc / "sys/net/ipv4/ip_forward"
    if file.read_text().strip() == "1":
        return Check("ip_forward", "ok", "on")
    if os.access(file, os.W_OK):
        return Check("ip_forward", "ok", "off; the daemon switches it on with its bridge")
    return Check("ip_forward", "fail", "off, and it can't be written", f"sysctl net.ipv4.ip_forward=1; {_STILL}")


def forward_policy(bridge: str) -> Check:
    """Whether someone else's rules drop what our bridges send out."""
    try:
        rules = json.loads(nft.ruleset())
        with netlink.Netlink() as kernel:
            ours = [
                link.name for link in netlink.links(kernel) if link.kind == "bridge" and link.alias.startswith(_MARK)
            ]
            six = {link.name for link in netlink.links(kernel) if link.index in _with_ipv6(kernel)}
    except OSError as error:
        return Check("forward policy", "warn", f"can't be told: {error}", "apt install nftables, and run it as root")
    checks = [judge_forwarding(rules.get("nftables", []), name) for name in dict.fromkeys([bridge, *sorted(ours)])]
    checks += [judge_forwarding(rules.get("nftables", []), name, "ip6") for name in sorted(six.intersection(ours))]
    warned = [check for check in checks if check.status != "ok"]
    return replace(warned[0], hint="; ".join(check.hint for check in warned)) if warned else checks[0]


def _with_ipv6(kernel: netlink.Netlink) -> set[int]:
    found = netlink.addresses(kernel).items()
    return {index for index, addresses in found if any(one.version == 6 and not one.is_link_local for one in addresses)}


def judge_forwarding(ruleset: list[dict[str, Any]], bridge: str, family: str = "ip") -> Check:
    """Reads an nft ruleset in JSON: base chains on the forward hook that drop what no rule of theirs accepts.

    A rule outside of our tables that names the bridge is taken as someone's exception for it.
    """
    chains = [entry["chain"] for entry in ruleset if "chain" in entry and entry["chain"]["family"] in (family, "inet")]
    rules = [entry["rule"] for entry in ruleset if "rule" in entry and entry["rule"]["family"] in (family, "inet")]
    others = [rule for rule in rules if not rule["table"].startswith("minidock-")]
    dropping = [chain for chain in chains if chain.get("hook") == "forward" and _drops(chain, others)]
    if not dropping or f'"{bridge}"' in json.dumps(others):
        return Check("forward policy", "ok", "nothing drops what the bridge forwards")
    places = ", ".join(map(_place, dropping))
    detail = f"chain {places} drops what it does not know: containers can't reach beyond this host"
    if _BRIDGED.exists() and _BRIDGED.read_text().strip() == "1":
        detail += ", nor each other (bridge-nf-call-iptables is on)"
    names = {chain["name"] for chain in chains}
    return Check(
        "forward policy", "warn", detail, "; ".join(_way_through(chain, names, bridge, family) for chain in dropping)
    )


def _place(chain: dict[str, Any]) -> str:
    return f"{chain['family']} {chain['table']} {chain['name']}"


def _drops(chain: dict[str, Any], rules: list[dict[str, Any]]) -> bool:
    """By its policy, or by a last rule without a condition (``-A FORWARD -j REJECT``, as some distributions have it).
    Not so in firewalld's: before its last rule come those of the zone, which may accept anything.
    """
    if chain.get("policy") == "drop":
        return True
    own = [
        rule["expr"] for rule in rules if (rule["family"], rule["table"], rule["chain"]) == tuple(_place(chain).split())
    ]
    *before, last = own[-1] if own and chain["table"] != "firewalld" else [{}]
    refuses = "drop" in last or "reject" in last or (last.get("xt") or {}).get("name") == "REJECT"
    return refuses and all(statement.keys() <= {"counter", "log"} for statement in before)


def _way_through(chain: dict[str, Any], chains: set[str], bridge: str, family: str) -> str:
    """The rules that let the bridge pass, in the words of whoever made the chain: out, answers, published ports."""
    if (chain["table"], chain["name"]) != ("filter", "FORWARD"):
        rules = ("iifname {}", "oifname {} ct state established,related", "oifname {} ct status dnat")
        return "; ".join(f"nft insert rule {_place(chain)} {rule.format(bridge)} accept" for rule in rules)
    if "DOCKER-USER" not in chains and any(name.startswith("ufw-") for name in chains):
        return f"ufw route allow in on {bridge}"
    first, program = "DOCKER-USER" if "DOCKER-USER" in chains else "FORWARD", f"{family}tables"
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"
    return f"{program} -I {first} -i {bridge} -j ACCEPT; {program} -I {first} -o {bridge} {answers} -j ACCEPT"
