"""--cgroup-parent: whose cgroup a container's is made in, what becomes of that, and where no container may be put.

What a parent's limits do is for the cgroup tier (tests/cgroup/test_containers.py); where things are is seen here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon, Session
from tests.support.needs import cgroup2_mount
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.cgroup2]
RUN = ("run", "-d", "--network", "none")
SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def slice() -> Iterator[Path]:
    """A cgroup that somebody else made, for containers or whatever."""
    mount = cgroup2_mount()
    assert mount is not None
    (path := mount / f"minidock-test-{os.getpid()}").mkdir()
    yield path
    path.rmdir()


def base(daemon: Daemon) -> Path:
    (found,) = daemon.cgroups()
    return found


def cgroup_of(minidock: Cli, name: str) -> Path:
    """As the kernel says."""
    pid, mount = minidock.ok("inspect", "--format", "{{.State.Pid}}", name), cgroup2_mount()
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert mount is not None
    return mount / next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))


@pytest.mark.docker_cli
def test_a_name_is_below_the_daemon_s_own_and_goes_with_the_last(daemon: Daemon, docker_cli: Cli) -> None:
    first = docker_cli.ok(*RUN, "--cgroup-parent", "team/web", *SLEEP)
    second = docker_cli.ok(*RUN, "--cgroup-parent", "team", *SLEEP)
    assert docker_cli.ok("inspect", "--format", "{{.HostConfig.CgroupParent}}", first) == "team/web"
    assert cgroup_of(docker_cli, first) == base(daemon) / "team/web" / first
    assert cgroup_of(docker_cli, second) == base(daemon) / "team" / second
    assert docker_cli.ok("exec", first, "cat", "/proc/self/cgroup").splitlines()[-1] == "0::/", "and sees nothing of it"
    docker_cli.ok("pause", first)
    docker_cli.ok("unpause", first)
    docker_cli.ok("rm", "-f", first)
    assert not (base(daemon) / "team/web").exists() and (base(daemon) / "team").exists()
    docker_cli.ok("stop", "-t", "0", second)
    docker_cli.ok("start", second)
    assert cgroup_of(docker_cli, second) == base(daemon) / "team" / second
    docker_cli.ok("rm", "-f", second)
    assert not (base(daemon) / "team").exists()


def test_an_absolute_path_is_somebody_s_who_keeps_it(daemon: Daemon, minidock: Cli, slice: Path) -> None:
    name = minidock.ok(*RUN, "--cgroup-parent", f"/{slice.name}", *SLEEP)
    assert cgroup_of(minidock, name) == slice / name
    assert minidock.ok("exec", name, "cat", "/proc/self/cgroup").splitlines()[-1] == "0::/"
    assert minidock.ok("top", name).count("\n") == 1
    minidock.ok("rm", "-f", name)
    assert slice.exists() and not [entry for entry in slice.iterdir() if entry.is_dir()]
    missing = minidock("run", "--rm", "--network", "none", "--cgroup-parent", f"/{slice.name}/nosuch", *SLEEP)
    assert missing.code == 125 and "it does not exist" in missing.err and not (slice / "nosuch").exists()


@pytest.mark.parametrize(
    "parent", ["..", "/..", "a/../..", "../x", "./a", "monitors", "monitors/a", "daemon", "a\nb", "x" * 256]
)
def test_no_name_leads_out_or_into_what_is_ours(daemon: Daemon, minidock: Cli, parent: str) -> None:
    """The variant: joined to the base as it comes, ``..`` and ``/..`` put the container beside the daemon's cgroup."""
    before = {path for path in base(daemon).iterdir() if path.is_dir()}
    refused = minidock("create", "--cgroup-parent", parent, "busybox", "true")
    assert refused.code == 1 and "invalid cgroup parent" in refused.err, str(refused)
    assert {path for path in base(daemon).iterdir() if path.is_dir()} == before


def test_no_container_is_put_into_another(daemon: Daemon, minidock: Cli) -> None:
    box = minidock.ok(*RUN, *SLEEP)
    for parent in (box, f"/{base(daemon).relative_to(cgroup2_mount() or '')}/{box}/a"):
        refused = minidock("create", "--cgroup-parent", parent, "busybox", "true")
        assert refused.code == 1 and "not for containers" in refused.err, str(refused)
    minidock.ok("rm", "-f", box)


def test_the_next_daemon_finds_them_and_sweeps_what_is_nobody_s(daemons: Session, slice: Path) -> None:
    """Killed without a word: one container runs on in each kind of parent, one ends meanwhile, and one is a cgroup
    only, as a start leaves that was cut short. The daemon's own --cgroup-parent is for who asks for none."""
    daemon = Daemon(daemons)
    try:
        daemon.start("--cgroup-parent", "all")
        daemon.load("busybox")
        ours = daemon.cli.ok(*RUN, *SLEEP)
        theirs = daemon.cli.ok(*RUN, "--cgroup-parent", f"/{slice.name}", *SLEEP)
        ended = daemon.cli.ok(*RUN, "--cgroup-parent", "short", *SLEEP)
        assert cgroup_of(daemon.cli, ours) == base(daemon) / "all" / ours
        pid = int(daemon.cli.ok("inspect", "--format", "{{.State.Pid}}", ended))
        daemon.kill()
        os.kill(pid, 9)
        (base(daemon) / "short" / ("ab" * 32)).mkdir()
        (base(daemon) / "empty/emptier").mkdir(parents=True)
        daemon.start()
        assert daemon.cli.ok("inspect", "--format", "{{.State.ExitCode}}", ended) == "137"
        eventually(lambda: not (base(daemon) / "short").exists(), "what was cut short to be swept")
        assert not (base(daemon) / "empty").exists()
        for name, place in ((ours, base(daemon) / "all"), (theirs, slice)):
            assert daemon.cli.ok("exec", name, "echo", "here") == "here"
            assert cgroup_of(daemon.cli, name) == place / name
        assert daemon.cli("doctor", "--leaks").code == 0
        daemon.cli.ok("rm", "-f", ours, theirs, ended)
        assert not (base(daemon) / "all").exists() and not (slice / theirs).exists()
    finally:
        daemon.close()
