"""Restart policies on real containers: they come back, stop when told to, and survive the daemon as Docker's do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]


def state(cli: Cli, name: str) -> str:
    return cli.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", name)


def field(cli: Cli, name: str, template: str) -> str:
    return cli.ok("inspect", "-f", "{{" + template + "}}", name)


def run(cli: Cli, name: str, policy: str, script: str) -> None:
    cli.ok("run", "-d", "--name", name, "--network", "none", "--restart", policy, "busybox", "sh", "-c", script)


def test_on_failure_gives_up_after_its_tries(minidock: Cli) -> None:
    """Seen to fail where tries are not counted."""
    run(minidock, "fails", "on-failure:2", "echo try; exit 3")
    eventually(lambda: state(minidock, "fails") == "exited 2 3", "two more tries, then the end")
    assert minidock.ok("logs", "fails").split() == ["try"] * 3
    minidock.ok("rm", "fails")


def test_on_failure_leaves_success_alone(minidock: Cli) -> None:
    """Seen to fail where the code does not matter."""
    run(minidock, "works", "on-failure", "exit 0")
    assert minidock.ok("wait", "works") == "0"
    assert state(minidock, "works") == "exited 0 0"
    minidock.ok("rm", "works")


def test_always_comes_back_until_it_is_stopped(minidock: Cli) -> None:
    """Seen to fail where a stop by hand does not count."""
    run(minidock, "ever", "always", "trap 'exit 0' TERM; sleep 1000 & wait")
    pid = field(minidock, "ever", ".State.Pid")
    os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: state(minidock, "ever").startswith("running 1"), "its return")
    assert field(minidock, "ever", ".State.Pid") != pid
    minidock.ok("stop", "ever")
    assert state(minidock, "ever") == "exited 1 0"
    minidock.ok("start", "ever")
    assert state(minidock, "ever").startswith("running 0"), "a start by hand counts from the beginning"
    minidock.ok("kill", "ever")
    assert state(minidock, "ever") == "exited 0 137"
    minidock.ok("rm", "ever")


def test_a_container_that_waits_can_be_stopped_and_removed(minidock: Cli) -> None:
    """It is `restarting`: shown by ps, refused by exec, rm and pause, ended by stop.

    Seen to fail where a stop leaves it restarting.
    """
    run(minidock, "loops", "always", "exit 1")
    eventually(lambda: state(minidock, "loops").startswith("restarting 4"), "a wait long enough to look at")
    assert "Restarting (1)" in minidock.ok("ps", "--filter", "name=loops")
    assert field(minidock, "loops", ".State.Running") == "true"
    for refused in (["exec", "loops", "true"], ["rm", "loops"]):
        result = minidock(*refused)
        assert result.code == 1 and "restarting" in result.err, str(result)
    minidock.ok("stop", "loops")
    assert state(minidock, "loops").startswith("exited")
    minidock.ok("start", "loops")
    eventually(lambda: state(minidock, "loops").startswith("restarting"), "the next wait")
    minidock.ok("rm", "-f", "loops")


def test_the_policy_outlives_the_daemon(fresh_daemon: Daemon) -> None:
    """What died while no daemon ran comes back; a stop by hand holds for unless-stopped and not for always.

    Seen to fail where unless-stopped starts what was stopped by hand.
    """
    cli = fresh_daemon.cli
    for name, policy in (("died", "unless-stopped"), ("stopped", "unless-stopped"), ("ever", "always"), ("not", "no")):
        run(cli, name, policy, "exec sleep 1000")
    cli.ok("stop", "-t", "0", "stopped", "ever")
    pids = [field(cli, name, ".State.Pid") for name in ("died", "not")]
    fresh_daemon.kill()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: not any(Path("/proc", pid).exists() for pid in pids), "both to be gone")
    fresh_daemon.start()
    eventually(lambda: state(cli, "died").startswith("running"), "unless-stopped to run again")
    eventually(lambda: state(cli, "ever").startswith("running"), "always to run again")
    assert state(cli, "stopped").startswith("exited") and state(cli, "not").startswith("exited")
    cli.ok("rm", "-f", "died", "stopped", "ever", "not")


def test_a_policy_goes_neither_with_rm_nor_with_a_wrong_name(minidock: Cli) -> None:
    """Seen to fail without the check."""
    refused = minidock("run", "--rm", "--restart", "always", "busybox", "true")
    assert refused.code == 125 and "can't create 'AutoRemove' container with restart policy" in refused.err
    assert minidock("run", "--restart", "sometimes", "busybox", "true").code == 125
