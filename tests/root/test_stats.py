"""Stats of real containers: what docker-py and the docker CLI read, streamed and at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cli import Cli

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]


def test_stats_of_a_busy_container(minidock: Cli, docker_cli: Cli, docker_api: Any) -> None:
    ident = minidock.ok("run", "-d", "--name", "busy", "busybox", "sh", "-c", "while :; do :; done")
    found = docker_api.containers.get("busy").stats(stream=False)
    assert found["id"] == ident and found["name"] == "/busy" and found["pids_stats"]["current"] == 1
    spent = found["cpu_stats"]["cpu_usage"]["total_usage"] - found["precpu_stats"]["cpu_usage"]["total_usage"]
    assert spent > 50_000_000, "of the second between the two samples it was busy for most"
    assert found["cpu_stats"]["system_cpu_usage"] > found["precpu_stats"]["system_cpu_usage"] > 0
    assert list(found["networks"]) == ["eth0"]
    stream = docker_api.api.stats("busy", decode=True)
    first, second = next(stream), next(stream)
    assert second["preread"] == first["read"] != second["read"]
    assert float(minidock.ok("stats", "--no-stream", "--format", "{{.CPUPerc}}", "busy").rstrip("%")) > 5
    minidock.ok("rm", "-f", "busy")
    assert not list(stream)[5:], "the stream ends with the container"


@pytest.mark.docker_cli
def test_the_docker_cli_shows_them(minidock: Cli, docker_cli: Cli) -> None:
    minidock.ok("run", "-d", "--name", "idle", "--network", "none", "busybox", "sleep", "1000")
    assert docker_cli.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}") == "idle 1"
    minidock.ok("stop", "-t", "0", "idle")
    assert docker_cli.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "idle") == "idle 0"
    assert minidock("stats", "--no-stream", "nosuch").code == 1
    minidock.ok("rm", "idle")
