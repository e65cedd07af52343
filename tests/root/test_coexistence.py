"""Beside the rules of others: a FORWARD chain that drops, as Docker and ufw set it, by Debian's own iptables; one that
rejects what its other rules did not take; and a chain of nft's own.

Nothing of ours touches it, and an accept in a table of ours could not help; so the doctor names the rules that do.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.netns import Netns
from tests.support.sockets import Place
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.iptables]

HOST, NEIGHBOUR, NEIGHBOUR6 = "192.0.2.1", "192.0.2.9", "2001:db8::9"


@pytest.fixture
def outside(daemon: Daemon) -> Iterator[Netns]:
    """A neighbour of the host that knows the host's addresses only."""
    with ExitStack() as undo:
        outside, run = Netns(), daemon.netns.run
        undo.callback(outside.close)
        run(*"ip link add uplink type veth peer eth0 netns".split(), str(outside.pid))
        undo.callback(run, *"ip link delete uplink".split())
        run(*"ip link set uplink up".split())
        outside.run(*"ip link set eth0 up".split())
        for end, addresses in (
            (run, (f"{HOST}/24", "2001:db8::1/64")),
            (outside.run, (f"{NEIGHBOUR}/24", f"{NEIGHBOUR6}/64")),
        ):
            for address in addresses:
                end("ip", "address", "add", address, "dev", "uplink" if end == run else "eth0", "nodad")
        yield outside


def reaches(minidock: Cli, name: str, target: str) -> bool:
    return minidock("exec", name, "ping", "-c1", "-w1", target).code == 0


IPTABLES = {
    "FORWARD": ("-P FORWARD DROP",),
    "DOCKER-USER": ("-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j RETURN"),
    "REJECT": ("-A FORWARD -m conntrack --ctstate INVALID -j DROP", "-A FORWARD -j REJECT"),
}


def shut(run: Callable[..., str], how: str, undo: ExitStack) -> None:
    """Lets nothing through that no rule names, in the way of `how`; `undo` opens it again."""
    if how == "nft":
        run("nft", "add table inet own; add chain inet own shut { type filter hook forward priority 5; policy drop; }")
        undo.callback(run, "nft", "delete", "table", "inet", "own")
    for rule in IPTABLES.get(how, ()):
        for program in ("iptables-nft", "ip6tables-nft"):
            run(program, *rule.split())
    for family in ("ip", "ip6") if how in IPTABLES else ():
        undo.callback(run, "nft", "delete", "table", family, "filter")


def advice(minidock: Cli) -> tuple[str, str]:
    checks = json.loads(minidock("doctor", "--json").out)["Checks"]
    check = next(one for one in checks if one["Name"] == "forward policy")
    return check["Status"], check["Hint"]


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ("FORWARD", "iptables -I FORWARD -i minidock0"),
        ("DOCKER-USER", "iptables -I DOCKER-USER -i minidock0"),
        ("REJECT", "iptables -I FORWARD -i minidock0"),
        ("nft", "nft insert rule inet own shut iifname minidock0 accept"),
    ],
)
@pytest.mark.ipv6
def test_what_the_doctor_says_of_a_forward_chain_that_drops_is_what_helps(
    daemon: Daemon, outside: Netns, how: str, first: str
) -> None:
    minidock, run = daemon.cli, daemon.netns.run
    with ExitStack() as undo:
        minidock.ok("network", "create", "--ipv6", "n1")
        undo.callback(minidock, "network", "rm", "n1")
        for name, options in (("aa", []), ("bb", ["--network", "n1", "-p", "8080:80"])):
            minidock.ok("run", "-d", "--name", name, *options, "alpine", "sleep", "1000")
            undo.callback(minidock, "rm", "-f", name)
        assert reaches(minidock, "aa", NEIGHBOUR) and reaches(minidock, "bb", NEIGHBOUR6), "the control"
        assert advice(minidock)[0] == "ok"
        shut(run, how, undo)
        assert not reaches(minidock, "aa", NEIGHBOUR) and not reaches(minidock, "bb", NEIGHBOUR6)
        status, hint = advice(minidock)
        assert status == "warn" and first in hint
        for command in hint.split("; "):
            program, *arguments = shlex.split(command)
            run(program if program == "nft" else f"{program}-nft", *arguments)
        assert advice(minidock)[0] == "ok"
        for name, target in (("aa", NEIGHBOUR), ("bb", NEIGHBOUR), ("bb", NEIGHBOUR6)):
            assert reaches(minidock, name, target), (name, target)
        pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "bb")
        server = Place(f"/proc/{pid}/ns/net", 80, socket.SOCK_STREAM, "::")
        undo.callback(server.socket.close)
        assert server.peer(outside.path, "2001:db8::1", 8080) == NEIGHBOUR6
        assert server.peer(outside.path, HOST, 8080) == f"::ffff:{NEIGHBOUR}"


def test_the_daemon_says_at_its_start_that_a_firewall_is_in_the_way(daemon: Daemon) -> None:
    daemon.stop()
    offset = len(daemon.log_text())
    with ExitStack() as undo:
        shut(daemon.netns.run, "nft", undo)
        daemon.start()
        told = "containers can't reach beyond this host"
        eventually(lambda: told in daemon.log_text(offset), "the warning in the log")
        assert "hint: nft insert rule inet own shut iifname minidock0 accept" in daemon.log_text(offset)
