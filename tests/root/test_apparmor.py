"""AppArmor: which profile a program runs under, for every way in; what the default one refuses; profiles of the host's.

What is asserted is the kernel's word, /proc/self/attr/current, and refusals that no other guard of ours would give.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.linux import apparmor
from tests.support.cli import Cli
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.apparmor]

RUN = ("run", "--rm", "--network", "none")
LABEL = ("cat", "/proc/self/attr/current")
OURS = "minidock-default (enforce)"
CAPABLE = ("--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE")
BARE = (*CAPABLE, "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined")
OTHER = "minidock-test-other"


def own(option: str) -> tuple[str, ...]:
    return ("--security-opt", f"apparmor={option}")


def unload(profile: str) -> None:
    Path("/sys/kernel/security/apparmor/.remove").write_text(profile)


@pytest.fixture
def other() -> Iterator[str]:
    """A profile of the host's, under which nothing is forbidden but a file by the name of `secret`."""
    text = f"profile {OTHER} flags=(attach_disconnected) {{ file, network, capability, signal, deny /**/secret rw, }}"
    parser = apparmor.parser()
    assert parser
    subprocess.run([parser, "-Kr"], input=text, text=True, check=True, timeout=60)
    yield OTHER
    if OTHER in apparmor.loaded():
        unload(OTHER)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ((), OURS),
        (("-t",), OURS),
        (("--init",), OURS),
        (("-u", "1000"), OURS),
        (("--security-opt", "no-new-privileges"), OURS),
        (("--read-only",), OURS),
        (own("minidock-default"), OURS),
        (("--privileged", *own("minidock-default")), OURS),
        (("--privileged",), "unconfined"),
        (own("unconfined"), "unconfined"),
    ],
)
def test_what_a_program_runs_under(minidock: Cli, options: tuple[str, ...], label: str) -> None:
    assert minidock.ok(*RUN, *options, "busybox", *LABEL).strip() == label


def test_exec_has_what_its_container_has_and_inspect_and_info_tell(minidock: Cli) -> None:
    def told() -> str:
        return str(json.loads(minidock.ok("inspect", "box"))[0]["AppArmorProfile"])

    minidock.ok("create", "--name", "box", "--network", "none", "--init", "busybox", "sleep", "1000")
    try:
        assert told() == "", "as docker: it is chosen at the start"
        minidock.ok("start", "box")
        assert told() == "minidock-default"
        for options in ((), ("-t",), ("-u", "1000"), ("--privileged",)):
            assert minidock.ok("exec", *options, "box", *LABEL).strip() == OURS, options
        assert minidock.ok("exec", "box", "cat", "/proc/1/attr/current") == OURS, "the pid 1 of --init"
        assert minidock("exec", "box", "kill", "-0", "1").code == 0
        minidock.ok("stop", "-t", "30", "box")
        assert json.loads(minidock.ok("inspect", "box"))[0]["State"]["ExitCode"] == 128 + 15, "stop's signal came in"
    finally:
        minidock.ok("rm", "-f", "box")
    assert "name=apparmor" in json.loads(minidock.ok("info", "--format", "{{json .SecurityOptions}}"))


@pytest.mark.parametrize("options", [(), ("-u", "1000"), ("--security-opt", "no-new-privileges")])
def test_the_init_is_confined_whatever_files_it_may_open(minidock: Cli, options: tuple[str, ...]) -> None:
    """It asks for its profile behind the limit. The variant opened a file beside fds 0 to 2, which are all that the
    limit allows, and ran on unconfined: the program could not signal it."""
    ident = minidock.ok(
        *RUN[:1], "-d", *RUN[2:], *options, "--init", "--ulimit", "nofile=3", "busybox", "sleep", "1000"
    )
    try:
        pid = minidock.ok("inspect", "--format", "{{.State.Pid}}", ident)
        label = Path(f"/proc/{pid}/attr/current")
        eventually(lambda: label.read_text().strip() == OURS, "pid 1 to be confined")
    finally:
        minidock.ok("rm", "-f", ident)
    none = minidock(*RUN, *options, "--init", "--ulimit", "nofile=0", "busybox", "true")
    assert none.code == 125 and "a nofile of 0 leaves it none" in none.err, str(none)


@pytest.mark.parametrize(
    "script",
    [
        "cat /proc/sys/vm/swappiness >/proc/sys/vm/swappiness",  # writes what is there already
        "cat /proc/sys/kernel/shmmni >/proc/sys/kernel/shmmni",
        "true >/proc/sysrq-trigger",
        "head -c 1 /proc/kcore",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /sys",
        "ls /sys/firmware",
    ],
)
def test_what_only_the_profile_refuses(minidock: Cli, script: str) -> None:
    run = (*RUN, *BARE, "busybox", "sh", "-c", f"mkdir -p /mnt; {script}")
    refused = minidock(*run)
    assert refused.code != 0 and "denied" in refused.err, refused
    bare = minidock(*run[:-4], *own("unconfined"), *run[-4:])
    assert "denied" not in bare.err, "or it was not the profile that refused it"


def test_signals_stay_among_containers(minidock: Cli) -> None:
    """With the host's pids in sight, and CAP_KILL: a process of the host is out of reach, its own are not."""
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        script = f"sleep 9 & kill -0 $! && echo own; kill -0 {bystander.pid} && echo host"
        result = minidock(*RUN, "--pid", "host", "busybox", "sh", "-c", script)
        bystander.kill()
    assert result.out == "own\n" and "denied" in result.err


def test_a_profile_of_the_host(minidock: Cli, other: str) -> None:
    script = "cat /proc/self/attr/current; echo >/tmp/open; echo >/tmp/secret"
    result = minidock(*RUN, *own(other), "busybox", "sh", "-c", script)
    assert result.out == f"{other} (enforce)\n" and result.err.count("denied") == 1
    assert "/tmp/secret" in result.err


def test_a_profile_that_is_not_there_is_refused_at_create_and_at_start(minidock: Cli, other: str) -> None:
    absent = minidock("create", *own("minidock-no-such"), "busybox")
    assert absent.code == 1 and "no such profile is loaded" in absent.err
    minidock.ok("create", "--name", "box", "--network", "none", *own(other), "busybox", "true")
    try:
        unload(other)
        assert "no such profile is loaded" in minidock("start", "box").err
    finally:
        minidock.ok("rm", "-f", "box")


def test_what_somebody_unloaded_is_loaded_again(minidock: Cli) -> None:
    unload(apparmor.DEFAULT)
    assert apparmor.DEFAULT not in apparmor.loaded()
    assert minidock.ok(*RUN, "busybox", *LABEL).strip() == OURS
