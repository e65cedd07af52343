"""--pid, --ipc, --uts and --cgroupns: what is shared is the other's, what is not stays one's own; docker's refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import probe
from tests.support.cli import Cli
from tests.support.daemon import Daemon, Session
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]

RUN = ("run", "--rm", "--network", "none")
ALL = ("mnt", "uts", "ipc", "pid", "net", "cgroup")


@pytest.fixture(scope="module", autouse=True)
def image(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon.cli.ok("import", "-", "probe", stdin=probe.archive(tmp_path_factory.mktemp("probe")))


def report(minidock: Cli, *options: str) -> Any:
    return json.loads(minidock.ok(*RUN, *options, "probe", "/probe"))


def of_the_host(found: Any) -> set[str]:
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ALL}
    return {kind for kind in ALL if str(found["namespaces"][kind]) in own[kind]}


@pytest.mark.parametrize(("flag", "kind"), [("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")])
def test_one_namespace_of_the_host_and_no_other(minidock: Cli, flag: str, kind: str) -> None:
    assert of_the_host(report(minidock)) == set()
    found = report(minidock, flag, "host")
    assert of_the_host(found) == {kind}
    assert found["seccomp"] == 2 and found["capabilities"]["effective"] == "00000000a80425fb"
    assert all(
        answer == "missing" or answer["found"] == 0 for path, answer in found["masked"].items() if "self" not in path
    )


def test_the_host_s_processes_are_seen_and_strays_end_with_the_container(minidock: Cli) -> None:
    """Nobody is pid 1 in there, so nothing but cgroup.kill ends what the first process leaves."""
    look = "readlink /proc/1/ns/pid; readlink /proc/self/ns/pid"
    script = f"sleep 1047 >/dev/null 2>&1 </dev/null & echo $!; {look}; exit 3"
    result = minidock(*RUN, "--pid", "host", "--privileged", "busybox", "sh", "-c", script)
    stray, *found = result.out.split()
    assert (result.code, len(set(found))) == (3, 1), str(result)
    eventually(lambda: not Path(f"/proc/{stray}").exists(), "the stray to be gone")
    masked = minidock.ok(*RUN, "--pid", "host", "busybox", "sh", "-c", "wc -c </proc/keys")
    assert masked == "0"


def test_another_container_s_processes(minidock: Cli) -> None:
    donor = minidock.ok("run", "-d", "--network", "none", "--name", "donor", "busybox", "sleep", "1047")
    try:
        seen = minidock.ok(*RUN, "--pid", "container:donor", "busybox", "ps", "-o", "pid,args")
        assert "1 sleep 1047" in seen and "ps -o" in seen
        guest = minidock.ok("run", "-d", "--network", "none", "--pid", "container:donor", "busybox", "sleep", "1048")
        assert minidock.ok("inspect", "-f", "{{.HostConfig.PidMode}}", guest) == f"container:{donor}"
        assert "sleep 1047" in minidock.ok("exec", guest, "ps")
        minidock.ok("kill", "donor")
        assert minidock.ok("wait", guest) == "137", "a pid namespace ends with its pid 1"
        result = minidock("start", guest)
        assert result.code == 1 and "cannot join PID of a non running container" in result.err
        minidock.ok("rm", guest)
    finally:
        minidock.ok("rm", "-f", "donor")


def test_shared_memory_by_ipc_mode(minidock: Cli) -> None:
    def shm(mode: str) -> str:
        script = "ls -d /dev/shm 2>/dev/null; grep -c ' /dev/shm ' /proc/mounts"
        return minidock(*RUN, "--ipc", mode, "busybox", "sh", "-c", script).out

    assert shm("private") == "/dev/shm\n1\n"
    assert shm("none") == "0\n"
    mark = Path(f"/dev/shm/minidock-test-{os.getpid()}")
    mark.write_text("of the host")
    try:
        command = (*RUN, "--ipc", "host", "busybox", "cat", str(mark))
        assert minidock.ok(*command) == "of the host"
    finally:
        mark.unlink()


@pytest.fixture
def donor(minidock: Cli) -> Iterator[str]:
    """A container whose shared memory others may join, with a letter in it."""
    options = ("--network", "none", "--ipc", "shareable", "--shm-size", "3m", "--name", "donor")
    minidock.ok("run", "-d", *options, "busybox", "sh", "-c", "echo hello > /dev/shm/letter; exec sleep 1049")
    yield "donor"
    for name in ("donor", "guest"):
        minidock("rm", "-f", name)


@pytest.mark.bridge
def test_shared_memory_of_another_container(minidock: Cli, docker_cli: Cli, donor: str) -> None:
    """By name (files of /dev/shm) and by key (the ipc namespace), both ways, and longer than the donor lives."""
    namespace = minidock.ok("exec", donor, "readlink", "/proc/self/ns/ipc")
    look = "cat /dev/shm/letter; readlink /proc/self/ns/ipc; df -k /dev/shm | awk 'END{print $2}'"
    for client, network in ((minidock, "none"), (docker_cli, "bridge")):
        command = ("run", "--rm", "--network", network, "--ipc", f"container:{donor}", "busybox", "sh", "-c", look)
        assert client.ok(*command).split() == ["hello", namespace, "3072"]
    assert "letter" not in minidock.ok(*RUN, "--ipc", "shareable", "busybox", "ls", "/dev/shm"), "it was not asked for"
    both = ("--ipc", f"container:{donor}", "--pid", f"container:{donor}", "--network", f"container:{donor}")
    minidock.ok(
        "run", "-d", "--name", "guest", *both, "busybox", "sh", "-c", "echo back >/dev/shm/answer; exec sleep 1050"
    )
    eventually(lambda: minidock("exec", donor, "cat", "/dev/shm/answer").out == "back\n", "the guest's answer")
    assert minidock.ok("exec", "guest", "readlink", "/proc/self/ns/ipc") == namespace
    assert minidock.ok("inspect", "-f", "{{.HostConfig.IpcMode}}", "guest").startswith("container:")
    grand = minidock.ok(*RUN, "--ipc", "container:guest", "busybox", "cat", "/dev/shm/answer")
    assert grand == "back", "what was joined can be joined in turn"


def test_shared_memory_outlives_its_donor_and_not_its_users(minidock: Cli, donor: str) -> None:
    minidock.ok(
        "run", "-d", "--name", "guest", "--network", "none", "--ipc", f"container:{donor}", "busybox", "sleep", "1050"
    )
    minidock.ok("rm", "-f", donor)
    assert minidock.ok("exec", "guest", "cat", "/dev/shm/letter") == "hello"
    minidock.ok("kill", "guest")
    result = minidock("start", "guest")
    assert result.code == 1 and "No such container" in result.err
    minidock.ok("run", "-d", "--network", "none", "--name", donor, "--ipc", "shareable", "busybox", "sleep", "1051")


def test_who_may_not_be_joined_is_not(minidock: Cli, donor: str) -> None:
    minidock.ok("run", "-d", "--name", "guest", "--network", "none", "busybox", "sleep", "1050")
    result = minidock(*RUN, "--ipc", "container:guest", "busybox", "true")
    assert result.code == 125 and "non-shareable IPC (hint: use IpcMode:shareable" in result.err
    minidock.ok("kill", donor)
    result = minidock(*RUN, "--ipc", f"container:{donor}", "busybox", "true")
    assert result.code == 125 and "cannot join IPC of a non running container" in result.err


def test_the_host_s_name(minidock: Cli) -> None:
    script = ("busybox", "sh", "-c", "hostname; cat /etc/hostname")
    assert set(minidock.ok(*RUN, "--uts", "host", *script).split()) == {os.uname().nodename}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--pid", "private"], "invalid PID mode: private"),
        (["--pid", "container:nobody"], "No such container: nobody"),
        (["--ipc", "container:"], "invalid IPC mode: container:"),
        (["--ipc", "container:nobody"], "No such container: nobody"),
        (["--uts", "other"], "invalid UTS mode: other"),
        (["--cgroupns", "other"], "invalid cgroup namespace mode: other"),
        (["--uts", "host", "-h", "box"], "conflicting options: hostname and the UTS mode"),
        (["--uts", "host", "--domainname", "a.b"], "conflicting options: domainname and the UTS mode"),
        (["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "not allowed in host ipc namespace"),
        (["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"], "not allowed in host network namespace"),
        (["--sysctl", "kernel.core_pattern=|/x"], "is not allowed"),
        (["--cpu-rt-runtime", "1000"], "Your kernel does not support CPU real-time scheduler"),
        (["--security-opt", "nosuch=1"], "invalid --security-opt"),
        (["--oom-score-adj", "1001"], "range for oom score adj"),
    ],
)
def test_refusals(minidock: Cli, flags: list[str], words: str) -> None:
    result = minidock("run", "--rm", *flags, "busybox", "true")
    assert result.code == 125 and words in result.err, str(result)


def test_flags_that_reach_the_process(minidock: Cli) -> None:
    script = (
        "cat /proc/sys/kernel/shmmni /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; cat /proc/sys/kernel/domainname;"
        " df -k /dev/shm | awk 'END{print $2}'; ls -l /dev/mykmsg"
    )
    out = minidock.ok(
        *RUN, "--sysctl", "kernel.shmmni=99", "--oom-score-adj", "321",
        "--ulimit", "nofile=100:200", "--domainname", "dom.example", "--shm-size", "3m",
        "--device", "/dev/kmsg:/dev/mykmsg:r", "busybox", "sh", "-c", script,
    ).splitlines()  # fmt: skip
    assert out[:6] == ["99", "321", "100", "200", "dom.example", "3072"] and out[6].startswith("crw")


@pytest.mark.docker_cli
def test_what_is_of_no_use_here_is_warned_about_and_not_refused(minidock: Cli, docker_cli: Cli) -> None:
    flags = ("--network", "none", "--memory-swappiness", "10", "--oom-kill-disable", "--security-opt", "label=user:x")
    for client in (minidock, docker_cli):
        result = client("run", "--rm", *flags, "busybox", "echo", "hi")
        assert (result.code, result.out) == (0, "hi\n")
        assert "Memory swappiness discarded" in result.err and "OomKillDisable discarded" in result.err
        assert "label" not in result.err


@pytest.mark.docker_cli
def test_masks_are_taken_off_where_that_is_asked_for(minidock: Cli, docker_cli: Cli) -> None:
    look = "head -c 1 /proc/timer_list >/dev/null && wc -c < /proc/keys; grep -c ' /proc/sys ' /proc/mounts"
    for client in (minidock, docker_cli):
        command = ("run", "--rm", "--network", "none")
        shut = client(*command, "busybox", "sh", "-c", look)
        assert shut.out.split() == ["0", "1"], str(shut)
        open_ = client(*command, "--security-opt", "systempaths=unconfined", "busybox", "sh", "-c", look)
        assert open_.out.split()[-1] == "0" and open_.out.split()[0] != "0", str(open_)


def test_no_new_privileges_for_everybody_and_who_opts_out(daemons: Session) -> None:
    """minidockd --no-new-privileges; an exec has what its container has."""
    daemon = Daemon(daemons)
    try:
        daemon.start("--no-new-privileges", "--bridge", "none")
        daemon.load("busybox")
        look = ("busybox", "grep", "NoNewPrivs", "/proc/self/status")
        assert daemon.cli.ok(*RUN, *look).split()[-1] == "1"
        assert daemon.cli.ok(*RUN, "--security-opt", "no-new-privileges=false", *look).split()[-1] == "0"
        name = daemon.cli.ok("run", "-d", "--network", "none", "busybox", "sleep", "1053")
        assert daemon.cli.ok("exec", name, *look[1:]).split()[-1] == "1"
        daemon.cli.ok("rm", "-f", name)
    finally:
        daemon.close()


@pytest.mark.parametrize("most", ["3", "4"])
def test_a_limit_of_open_files_is_the_program_s_and_not_its_start_s(minidock: Cli, most: str) -> None:
    """It was set before the working directory was opened: EMFILE at the start (the variant). A static shell needs
    no more than the three that it is born with, so that it starts with that for a limit, and so does an exec."""
    name = minidock.ok("run", "-d", "--ulimit", f"nofile={most}", "-w", "/made/here", "busybox", "sleep", "1000")
    try:
        assert minidock.ok("exec", name, "sh", "-c", "ulimit -n; pwd") == f"{most}\n/made/here"
    finally:
        minidock.ok("rm", "-f", name)
    options = ("-t", "--init", "-u", "1000", "--ulimit", f"nofile={most}")
    assert minidock.ok(*RUN, *options, "busybox", "sh", "-c", "ulimit -n").strip() == most
