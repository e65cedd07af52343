"""Beside the rules of others: a FORWARD chain that drops, as Docker and ufw set it, by Debian's own iptables.

Nothing of ours touches it, and an accept in a table of ours could not help; so the doctor names the rules that do.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.netns import Netns
from tests.support.sockets import Place

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


def advice(minidock: Cli) -> tuple[str, str]:
    checks = json.loads(minidock("doctor", "--json").out)["Checks"]
    check = next(one for one in checks if one["Name"] == "forward policy")
    return check["Status"], check["Hint"]


@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
@pytest.mark.ipv6
def test_what_the_doctor_says_of_a_forward_chain_that_drops_is_what_helps(
    daemon: Daemon, outside: Netns, chain: str
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
        for program, family in (("iptables-nft", "ip"), ("ip6tables-nft", "ip6")):
            run(program, "-P", "FORWARD", "DROP")
            undo.callback(run, "nft", "delete", "table", family, "filter")
            if chain == "DOCKER-USER":
                for rule in ("-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j RETURN"):
                    run(program, *rule.split())
        assert not reaches(minidock, "aa", NEIGHBOUR) and not reaches(minidock, "bb", NEIGHBOUR6)
        status, hint = advice(minidock)
        assert status == "warn" and f"iptables -I {chain} -i minidock0" in hint
        for command in hint.split("; "):
            program, *arguments = shlex.split(command)
            run(f"{program}-nft", *arguments)
        assert advice(minidock)[0] == "ok"
        for name, target in (("aa", NEIGHBOUR), ("bb", NEIGHBOUR), ("bb", NEIGHBOUR6)):
            assert reaches(minidock, name, target), (name, target)
        pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "bb")
        server = Place(f"/proc/{pid}/ns/net", 80, socket.SOCK_STREAM, "::")
        undo.callback(server.socket.close)
        assert server.peer(outside.path, "2001:db8::1", 8080) == NEIGHBOUR6
        assert server.peer(outside.path, HOST, 8080) == f"::ffff:{NEIGHBOUR}"
