"""testcontainers-python, as a test suite uses it: a server on a network, waited for by HTTP, a client by its log.

In a process of its own, in the daemon's network namespace, where published ports are. Its reaper (Ryuk) is an image
that only a registry has, so it is switched off, as its makers provide for. See: https://testcontainers-python.readthedocs.io
"""

from __future__ import annotations

import sys

import pytest

from tests.support.cli import Cli, base_env
from tests.support.daemon import Daemon

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.time_limit(300)]

SCRIPT = r"""
import urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

serve = "mkdir /www; echo served > /www/index.html; echo ready; exec httpd -f -p 80 -h /www"
by_http = HttpWaitStrategy(80, "/index.html").for_response_predicate(lambda body: "served" in body)
with Network() as network:
    web = DockerContainer("busybox").with_command(["sh", "-c", serve]).with_env("COLOUR", "blue")
    web = web.with_exposed_ports(80).with_network(network).with_network_aliases("web").waiting_for(by_http)
    with web:
        url = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/index.html"
        print("http", urllib.request.urlopen(url).read())
        print("exec", *web.exec(["sh", "-c", "echo $COLOUR; exit 3"]))
        print("logs", web.get_logs())
        fetch = ["sh", "-c", "wget -qO- http://web/index.html; exec sleep 1000"]
        client = DockerContainer("alpine").with_command(fetch).with_network(network)
        with client.waiting_for(LogMessageWaitStrategy("served")):
            print("client", client.get_logs()[0])
"""


def test_a_server_that_is_waited_for(daemon: Daemon, minidock: Cli) -> None:
    environment = base_env(daemon.base) | {"DOCKER_HOST": daemon.host, "TESTCONTAINERS_RYUK_DISABLED": "true"}
    told = Cli([*daemon.netns.enter, sys.executable], environment).ok("-c", SCRIPT, timeout=240)
    assert told.splitlines() == [
        "http b'served\\n'",
        "exec 3 b'blue\\n'",
        "logs (b'ready\\n', b'')",
        "client b'served\\n'",
    ]
    assert minidock.ok("ps", "-aq") == ""
