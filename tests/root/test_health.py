"""Health checks on real containers: probes that run inside, what they report, and that the next daemon goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]

FAST = ("--health-interval", "100ms", "--health-retries", "2")


def run(cli: Cli, name: str, check: str, *flags: str) -> None:
    cli.ok(
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "--health-cmd",
        check,
        *FAST,
        *flags,
        "busybox",
        "sleep",
        "1000",
    )


def health(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli.ok("inspect", "-f", "{{json .State.Health}}", name))
    return found


def becomes(cli: Cli, name: str, status: str) -> dict[str, Any]:
    eventually(lambda: health(cli, name)["Status"] == status, f"{name} to be {status}")
    return health(cli, name)


def test_a_container_is_healthy_while_its_check_succeeds(minidock: Cli, docker_api: Any) -> None:
    run(minidock, "well", "test ! -e /sick && echo fine")
    found = becomes(minidock, "well", "healthy")
    assert found["FailingStreak"] == 0 and found["Log"][0]["Output"] == "fine\n" and found["Log"][0]["ExitCode"] == 0
    assert "(healthy)" in minidock.ok("ps", "--filter", "health=healthy")
    minidock.ok("exec", "well", "touch", "/sick")
    found = becomes(minidock, "well", "unhealthy")
    assert found["FailingStreak"] >= 2 and found["Log"][-1]["ExitCode"] == 1 and len(found["Log"]) <= 5
    assert minidock.ok("ps", "-q", "--filter", "health=healthy") == ""
    events = docker_api.events(
        since=1, until=2**31, filters={"container": "well", "event": "health_status"}, decode=True
    )
    assert [next(events)["Action"] for _ in range(2)] == ["health_status: healthy", "health_status: unhealthy"]
    events.close()
    minidock.ok("rm", "-f", "well")


def test_a_probe_that_takes_too_long_is_killed(minidock: Cli) -> None:
    run(minidock, "slow", "sleep 77", "--health-timeout", "200ms")
    found = becomes(minidock, "slow", "unhealthy")
    assert found["Log"][-1] | {"Start": "", "End": ""} == {
        "Start": "",
        "End": "",
        "ExitCode": -1,
        "Output": "Health check exceeded timeout (0.2s)",
    }
    assert minidock.ok("top", "slow").count("sleep 77") <= 2, "each is ended about when the next begins"
    minidock.ok("rm", "-f", "slow")


def test_output_is_cut_and_a_missing_command_is_a_failure(minidock: Cli) -> None:
    run(minidock, "loud", "yes | head -c 100000; exit 0")
    output = becomes(minidock, "loud", "healthy")["Log"][0]["Output"]
    assert len(output) == 4096 + len("...") and output.endswith("...")
    minidock.ok("rm", "-f", "loud")


def test_no_healthcheck_and_a_check_exclude_each_other(minidock: Cli) -> None:
    result = minidock("run", "--no-healthcheck", "--health-cmd", "true", "busybox", "true")
    assert result.code == 125 and "--no-healthcheck conflicts with --health-* options" in result.err


def test_the_next_daemon_goes_on_probing(fresh_daemon: Daemon) -> None:
    cli = fresh_daemon.cli
    run(cli, "kept", "test ! -e /sick")
    becomes(cli, "kept", "healthy")
    fresh_daemon.kill()
    fresh_daemon.start()
    assert health(cli, "kept")["Status"] == "healthy", "what was known is not forgotten"
    cli.ok("exec", "kept", "touch", "/sick")
    becomes(cli, "kept", "unhealthy")
    cli.ok("stop", "-t", "0", "kept")
    cli.ok("start", "kept")
    assert health(cli, "kept")["Status"] in ("starting", "unhealthy")
    cli.ok("rm", "-f", "kept")


def test_detach_keys_leave_an_exec(minidock: Cli) -> None:
    """ctrl-p ctrl-q, or the keys that were asked for: the client goes, the command stays."""
    minidock.ok("run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "1000")
    with minidock.terminal("exec", "-it", "--detach-keys", "a,b", "host", "cat") as terminal:
        terminal.type("hello\n")
        terminal.expect("hello\r\nhello")
        terminal.type("ab")
        assert terminal.wait() == 0
    assert "cat" in minidock.ok("top", "host")
    minidock.ok("rm", "-f", "host")
