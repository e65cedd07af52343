"""docker-compose, the old one in Python and the new one in Go, takes files up and down with our daemon.

The files are in compose/. Each is taken as a user takes it: up, look, use, scale, down; and after `down -v` the leak
ledger says that nothing is left. See: https://docs.docker.com/reference/compose-file/
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import Cli, base_env
from tests.support.daemon import Daemon
from tests.support.needs import program_of
from tests.support.wait import eventually

FILES = Path(__file__).parent / "compose"

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.time_limit(300)]

Compose = Callable[[str], Cli]


@pytest.fixture(
    params=[
        pytest.param("1", marks=pytest.mark.compose_1),
        pytest.param("2.26", marks=pytest.mark.compose_2),
    ]
)
def compose(request: pytest.FixtureRequest, daemon: Daemon) -> Compose:
    """`compose(FILE)(COMMAND, …)`, as the project `md`."""
    program = program_of("docker-compose", request.param)
    environment = base_env(daemon.base) | {"DOCKER_HOST": daemon.host, "COMPOSE_PROJECT_NAME": "md"}
    environment["DOCKER_BUILDKIT"] = "0"  # the classic builder; compose 2 looks for BuildKit without asking
    return lambda file: Cli([program or "", "-f", str(FILES / file)], environment)


def test_two_services(compose: Compose, minidock: Cli) -> None:
    pair = compose("pair.yaml")
    pair.ok("up", "-d", timeout=120)
    eventually(lambda: "served" in pair.ok("logs", "--no-color", "client"), "the client to be served", timeout=60)
    assert "ready" in pair.ok("logs", "--no-color", "web")
    listed = pair.ok("ps")
    assert listed.count("Up") == 2 and "web" in listed and "client" in listed
    assert pair.ok("exec", "-T", "web", "cat", "/www/index.html") == "served"
    assert pair("exec", "-T", "client", "sh", "-c", "exit 7").code == 7

    pair.ok("up", "-d", "--no-recreate", "--scale", "client=3", timeout=120)
    assert len(pair.ok("ps", "-q", "client").split()) == 3
    assert pair.ok("run", "--rm", "-T", "client", "echo", "once", timeout=120).endswith("once")

    pair.ok("restart", "-t", "0", "web", timeout=120)
    pair.ok("down", "-t", "0", timeout=120)
    assert minidock.ok("ps", "-aq") == "" and "md_default" not in minidock.ok("network", "ls")


def test_networks_volumes_health_and_ports(compose: Compose, daemon: Daemon, minidock: Cli) -> None:
    three = compose("networks.yaml")
    three.ok("up", "-d", timeout=240)
    db, web = three.ok("ps", "-q", "db"), three.ok("ps", "-q", "web")
    assert minidock.ok("inspect", "-f", "{{.State.Health.Status}}", db) == "healthy"
    # web could read at its first moment what db had written before it was healthy
    eventually(lambda: "row" in three.ok("logs", "--no-color", "web"), "web's first line")

    assert three.ok("exec", "-T", "web", "ping", "-c", "1", "database")
    assert three.ok("exec", "-T", "client", "wget", "-qO-", "http://web/table") == "row"
    assert three("exec", "-T", "client", "ping", "-c", "1", "database").code != 0
    assert daemon.netns.run("busybox", "wget", "-qO-", "http://127.0.0.1:18080/table") == "row\n"
    assert three("exec", "-T", "web", "sh", "-c", "echo more >> /data/table").code != 0

    networks = json.loads(minidock.ok("inspect", web))[0]["NetworkSettings"]["Networks"]
    assert set(networks) == {"md_front", "md_back"}
    three.ok("down", "-v", "-t", "0", timeout=120)
    assert minidock.ok("ps", "-aq") == minidock.ok("volume", "ls", "-q") == ""


def test_an_image_that_is_built(compose: Compose, minidock: Cli) -> None:
    built = compose("built.yaml")
    built.ok("build", timeout=120)
    built.ok("up", "-d", timeout=120)
    eventually(lambda: "hello" in (said := built.ok("logs", "--no-color", "app")) and "blue" in said, "what it says")
    built.ok("down", "--rmi", "local", "-t", "0", timeout=120)
    assert "md" not in minidock.ok("images")
    minidock.ok("image", "prune", "-f")  # the steps below it, which compose 2 leaves
