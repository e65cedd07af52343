"""Verbs on containers that exist, from both clients: update, pause, unpause, rename."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]


@pytest.fixture
def web(minidock: Cli) -> Iterator[str]:
    """A container that runs."""
    minidock.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "1000")
    yield "web"
    minidock("rm", "-f", "web", "www")


def test_update_changes_limits_and_policy(minidock: Cli, docker_api: Any, web: str) -> None:
    assert minidock.ok("update", "--cpu-shares", "300", "--restart", "on-failure:4", web) == "web"
    shown = (
        "{{.HostConfig.CpuShares}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
    )
    assert minidock.ok("inspect", "-f", shown, web) == "300 on-failure 4"
    docker_api.containers.get(web).update(restart_policy={"Name": "always"})
    assert minidock.ok("inspect", "-f", shown, web) == "300 always 0", "what is not named stays"
    os.kill(int(minidock.ok("inspect", "-f", "{{.State.Pid}}", web)), signal.SIGKILL)
    eventually(
        lambda: minidock.ok("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", web) != "0 running", "its end"
    )
    eventually(lambda: minidock.ok("inspect", "-f", "{{.State.Status}}", web) == "running", "the new policy to hold")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--restart", "sometimes"], "unknown policy 'sometimes'"),
        ([], "you must provide one or more flags"),
    ],
)
def test_update_is_checked_as_create_is(minidock: Cli, web: str, flags: list[str], words: str) -> None:
    before = minidock.ok("inspect", "-f", "{{json .HostConfig}}", web)
    result = minidock("update", *flags, web)
    assert result.code == 1 and words in result.err, str(result)
    assert minidock.ok("inspect", "-f", "{{json .HostConfig}}", web) == before


def test_pause_unpause_rename(minidock: Cli, web: str) -> None:
    assert minidock.ok("pause", web) == web
    assert "(Paused)" in minidock.ok("ps")
    assert "already paused" in minidock("pause", web).err
    assert minidock.ok("unpause", web) == web
    assert "same name as its current name" in minidock("rename", web, web).err
    assert "Error when allocating new name: Invalid container name (a/b)" in minidock("rename", web, "a/b").err
    minidock.ok("rename", web, "www")
    assert minidock.ok("ps", "--format", "{{.Names}}") == "www"
