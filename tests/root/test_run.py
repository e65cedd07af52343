"""`minidock run`, the main job: what the container sees, what comes back, and that nothing stays.

Real Alpine, real kernel, the real client. The leak ledger (conftest.py) stands around every test here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.images import docker_archive, file, image_config, tar
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]


def test_a_container_sees_a_machine_of_its_own(minidock: Cli) -> None:
    """The issue's own line: Alpine's release, the id as host name, eth0 on the bridge, its processes, overlay root."""
    out = minidock.ok(
        "run", "--rm", "alpine", "sh", "-c", "cat /etc/alpine-release; hostname; ip -4 addr; ps; mount | head -1"
    )
    release, hostname, *rest = out.splitlines()
    text = "\n".join(rest)
    assert release.startswith("3.23")
    assert re.fullmatch("[0-9a-f]{12}", hostname)
    assert re.search(r"inet \d+\.\d+\.\d+\.\d+/\d+ .*eth0", text)
    processes = text[text.index("PID") : text.index("overlay on /")].splitlines()[1:]
    assert processes[0].split()[0] == "1" and len(processes) <= 3, "one tree, from pid 1, of this container only"
    assert "overlay on / type overlay" in text


def test_the_host_sees_no_mount_of_a_running_container(daemon: Daemon, minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "alpine", "sleep", "1000")
    try:
        assert ident not in Path("/proc/self/mountinfo").read_text()
        assert ident not in Path(f"/proc/{daemon.pid}/mountinfo").read_text()
        pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", ident)
        assert (
            ident in Path(f"/proc/{pid}/mountinfo").read_text()
            or "overlay" in Path(f"/proc/{pid}/mountinfo").read_text()
        )
    finally:
        minidock.ok("rm", "-f", ident)


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 126, 127, 128, 137, 255])
def test_the_exit_code_is_the_container_s(minidock: Cli, code: int) -> None:
    assert minidock("run", "--rm", "--network", "none", "busybox", "sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
def test_death_by_signal_is_128_plus_n(minidock: Cli, number: signal.Signals) -> None:
    command = f"sh -c 'kill -{int(number)} $$' & wait $!; exit $?"
    assert minidock("run", "--rm", "--network", "none", "busybox", "sh", "-c", command).code == 128 + number


def test_output_goes_where_it_belongs(minidock: Cli) -> None:
    result = minidock("run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.code, result.out, result.err) == (0, "out\n", "err\n")


def test_input_comes_through_and_ends(minidock: Cli) -> None:
    data = os.urandom(300_000).hex()
    result = minidock("run", "--rm", "-i", "--network", "none", "busybox", "sh", "-c", "cat; echo done", stdin=data)
    assert result.out == data + "done\n"


def test_without_i_there_is_no_input(minidock: Cli) -> None:
    assert minidock.ok("run", "--rm", "--network", "none", "busybox", "cat", stdin="ignored") == ""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["nosuchcommand"], 127, "executable file not found in $PATH"),
        (["/nosuch/binary"], 127, "no such file or directory"),
        (["/etc"], 126, "permission denied"),
        (["/etc/passwd"], 126, "permission denied"),
    ],
)
def test_what_can_t_be_executed(minidock: Cli, command: list[str], code: int, words: str) -> None:
    result = minidock("run", "--rm", "alpine", *command)
    assert result.code == code, str(result)
    assert words in result.err and command[0] in result.err
    assert len(result.err.strip().splitlines()) == 1, "one clear line"


def test_a_failed_start_leaves_the_container_created(minidock: Cli) -> None:
    result = minidock("run", "--name", "broken", "busybox", "nosuchcommand")
    assert result.code == 127
    assert minidock.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "broken") == "created 127"
    minidock.ok("rm", "broken")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--pull", "never", "nosuchimage", "true"], 125, "nosuchimage"),
        (["Alpine", "true"], 125, "lowercase"),
        (["--name", "a/b", "busybox", "true"], 125, "container name"),
        (["--mount", "type=bind,source=/no/such/dir,target=/x", "busybox", "true"], 125, "does not exist"),
        (["-v", "relative/path:/x", "busybox", "true"], 125, "volume name"),
        (["-m", "1k", "busybox", "true"], 125, "6MB"),
        (["-m", "lots", "busybox", "true"], 125, "size"),
        (["--cap-add", "NOPE", "busybox", "true"], 125, "capability"),
        (["-u", "nouser", "busybox", "true"], 125, "unable to find user nouser"),
        (["--network", "nonet", "busybox", "true"], 125, "network nonet not found"),
        (["-w", "relative", "busybox", "true"], 125, "absolute"),
        (["--nosuchflag", "busybox", "true"], 125, "nosuchflag"),
        ([], 1, "requires at least 1 argument"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(minidock: Cli, arguments: list[str], code: int, words: str) -> None:
    before = minidock.ok("ps", "-aq")
    result = minidock("run", "--rm", *arguments)
    assert result.code == code, str(result)
    assert words in result.err and "Traceback" not in result.err
    assert minidock.ok("ps", "-aq") == before


def test_a_name_belongs_to_one_container(minidock: Cli) -> None:
    minidock.ok("create", "--name", "taken", "busybox", "true")
    result = minidock("run", "--name", "taken", "busybox", "true")
    assert result.code == 125 and "already in use" in result.err
    minidock.ok("rm", "taken")


def test_environment_user_and_working_directory(minidock: Cli) -> None:
    out = minidock.ok(
        "run", "--rm", "-e", "A=1", "-e", "B", "--hostname", "box", "-u", "guest", "-w", "/new/dir", "alpine",
        "sh", "-c", "echo $A-$B-$HOME; id -un; pwd; hostname; cat /etc/hostname; grep box /etc/hosts",
    )  # fmt: skip
    lines = out.splitlines()
    assert lines[0].startswith("1--/")
    assert lines[1:5] == ["guest", "/new/dir", "box", "box"]
    assert lines[5].endswith("box")


def test_binds_volumes_tmpfs_and_a_read_only_root(minidock: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host")
    script = (
        "cat /bind/in; echo back > /bind/out; echo kept > /vol/x; echo x > /tmpfs/y;"
        "touch /ro/z 2>/dev/null || echo -ro; touch /z 2>/dev/null || echo -root"
    )
    out = minidock.ok(
        "run", "--rm", "--read-only", "-v", f"{tmp_path}:/bind", "-v", "data:/vol", "--tmpfs", "/tmpfs:size=1m",
        "--mount", f"type=bind,source={tmp_path},target=/ro,readonly", "alpine", "sh", "-c", script,
    )  # fmt: skip
    assert out == "from the host-ro\n-root"
    assert (tmp_path / "out").read_text() == "back\n"
    assert minidock.ok("run", "--rm", "-v", "data:/vol", "alpine", "cat", "/vol/x") == "kept"
    remove_volume(minidock, "data")


def remove_volume(minidock: Cli, name: str) -> None:
    """By the real docker CLI, since `minidock volume` is another issue's."""
    host = minidock.program[minidock.program.index("-H") + 1]
    Cli(["docker", "-H", host], minidock.env).ok("volume", "rm", name)


def test_copy_on_write_a_container_changes_only_its_own(minidock: Cli) -> None:
    minidock.ok("run", "--name", "writer", "alpine", "sh", "-c", "rm /etc/motd; echo mine > /etc/issue")
    assert minidock.ok("run", "--rm", "alpine", "sh", "-c", "ls /etc/motd; head -1 /etc/issue").startswith(
        "/etc/motd\nWelcome"
    )
    minidock.ok("start", "-a", "writer")
    minidock.ok("rm", "writer")


def test_networks_none_and_host(daemon: Daemon, minidock: Cli) -> None:
    inside = minidock.ok("run", "--rm", "--network", "none", "alpine", "ip", "-o", "link")
    assert [line.split(": ")[1] for line in inside.splitlines()] == ["lo"]
    assert "UP" in inside
    host = minidock.ok("run", "--rm", "--network", "host", "alpine", "ip", "-o", "link")
    assert "minidock0" in host


def test_two_containers_reach_each_other_over_the_bridge(minidock: Cli) -> None:
    server = minidock.ok("run", "-d", "busybox", "nc", "-ll", "-p", "7", "-e", "echo", "hello")
    address = minidock.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", server)
    try:
        command = f"for i in 1 2 3 4 5 6 7 8 9; do nc -w 2 {address} 7 </dev/null && exit; done"
        assert minidock.ok("run", "--rm", "busybox", "sh", "-c", command) == "hello"
    finally:
        minidock.ok("rm", "-f", server)


def test_detached_logs_stop_start_rm(minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "--name", "worker", "busybox", "sh", "-c", "echo started; exec sleep 1000")
    assert re.fullmatch("[0-9a-f]{64}", ident)
    eventually(lambda: minidock.ok("logs", "worker") == "started", "the log")
    assert "Up" in minidock.ok("ps", "--filter", "name=worker")
    assert minidock.ok("stop", "-t", "0", "worker") == "worker"
    assert "Exited (137)" in minidock.ok("ps", "-a", "--filter", "name=worker")
    assert minidock.ok("start", "worker") == "worker"
    eventually(lambda: minidock.ok("logs", "worker") == "started\nstarted", "the log of two runs")
    assert minidock("rm", "worker").code == 1
    minidock.ok("rm", "-f", "worker")


def test_exec_in_a_running_container(minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "-e", "A=1", "alpine", "sleep", "1000")
    try:
        out = minidock.ok("exec", "-e", "B=2", "-w", "/tmp", ident, "sh", "-c", "echo $A$B; pwd; hostname; ps | wc -l")
        assert out.splitlines()[:3] == ["12", "/tmp", ident[:12]]
        assert minidock("exec", ident, "sh", "-c", "exit 7").code == 7
        assert minidock("exec", ident, "nosuch").code == 127
        assert minidock("exec", ident, "/etc").code == 126
        assert minidock.ok("exec", "-i", ident, "cat", stdin="through") == "through"
        assert minidock.ok("exec", "-u", "guest", ident, "id", "-un") == "guest"
    finally:
        minidock.ok("rm", "-f", ident)


def test_a_terminal(minidock: Cli) -> None:
    """Raw mode, size, resize, exit code; and the terminal is as before afterwards (terminal.py looks)."""
    with minidock.terminal("run", "--rm", "-it", "alpine", "sh", rows=30, columns=100) as terminal:
        terminal.expect("/ # ")
        terminal.type("stty size; tty\r")
        terminal.expect("30 100")
        terminal.expect("/dev/pts/0")
        terminal.resize(20, 60)
        terminal.type("sleep 0.3; stty size\r")
        terminal.expect("20 60")
        terminal.type("exit 9\r")
        assert terminal.wait() == 9


def test_detach_keys_leave_it_running(minidock: Cli) -> None:
    with minidock.terminal("run", "-it", "--name", "left", "alpine", "sh") as terminal:
        terminal.expect("/ # ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert minidock.ok("inspect", "-f", "{{.State.Status}}", "left") == "running"
    with minidock.terminal("attach", "left") as terminal:
        terminal.type("echo again\r")
        terminal.expect("again\r\nagain")
        terminal.type("exit 3\r")
        assert terminal.wait() == 3
    minidock.ok("rm", "left")


def test_ctrl_c_reaches_the_container(minidock: Cli) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    with minidock.start("run", "--rm", "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"caught\n"
        assert process.wait(20) == 5


def test_init_reaps_and_forwards(minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    try:
        assert minidock.ok("exec", ident, "cat", "/proc/1/comm") == "minidock-init"
        minidock.ok("exec", ident, "sh", "-c", "sh -c 'sleep 0.1 &' ; sleep 0.4")
        assert " Z " not in minidock.ok("top", ident, "-eo", "pid,stat,args")
        minidock.ok("stop", "-t", "5", ident)
        assert minidock.ok("inspect", "-f", "{{.State.ExitCode}}", ident) == "143"
    finally:
        minidock.ok("rm", "-f", ident)


def test_a_restart_keeps_a_container_with_rm(minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "--rm", "busybox", "sleep", "1000")
    minidock.ok("restart", "-t", "0", ident)
    assert minidock.ok("inspect", "-f", "{{.State.Status}}", ident) == "running"
    minidock.ok("stop", "-t", "0", ident)
    eventually(lambda: minidock.ok("ps", "-aq") == "", "the end that removes it")


def test_a_tree_deeper_than_any_stack_is_deleted(daemon: Daemon, minidock: Cli) -> None:
    """Made inside by mkdir and cd; a recursive deletion would give up, or run out of descriptors."""
    script = "i=0; while [ $i -lt 2000 ]; do mkdir d && cd d; i=$((i+1)); done; mkdir -p /many/$i/x; touch f"
    minidock.ok("run", "--rm", "busybox", "sh", "-c", script)
    eventually(lambda: not any((daemon.data_root / "trash").iterdir()), "the trash to be empty")


def test_a_client_that_says_too_much_too_early_is_its_own_loss(daemon: Daemon, minidock: Cli) -> None:
    """100 kB behind the attach request: more than one message takes; the start goes on without that client."""
    ident = minidock.ok("create", "-i", "--name", "early", "busybox", "echo", "started")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        head = f"POST /v1.45/containers/{ident}/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: x\r\n"
        sock.sendall(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode() + b"x" * 100_000)
        assert sock.recv(12) == b"HTTP/1.1 101"
        assert minidock.ok("start", "-a", "early") == "started"
    minidock.ok("rm", "early")


def test_trace_and_plan_show_the_steps(minidock: Cli) -> None:
    traced = minidock("run", "--rm", "--trace", "busybox", "true")
    assert traced.code == 0
    for kind in ("clone3", "overlay", "pivot_root", "capabilities", "seccomp", "execve"):
        assert kind in traced.err
    planned = minidock.ok("plan", "busybox", "true")
    order = [line.split()[1] for line in planned.splitlines() if line[:1].isdigit() or line[:2].strip().isdigit()]
    assert order.index("clone3") < order.index("overlay") < order.index("pivot_root") < order.index("execve")
    assert minidock.ok("ps", "-aq") == ""


def test_an_image_for_another_machine_is_not_run(minidock: Cli, docker_cli: Cli) -> None:
    for client in (minidock, docker_cli):
        refused = client("create", "--pull", "never", "--platform", "linux/s390x", "busybox", "true")
        assert refused.code == 1 and "was found but does not match the specified platform" in refused.err
    assert minidock.ok("run", "--rm", "--platform", "linux", "busybox", "echo", "here") == "here"


def test_an_image_of_another_machine_that_nobody_asked_for_is_told_of(
    minidock: Cli, docker_cli: Cli, tmp_path: Path
) -> None:
    layer = tar(file("other"))
    config = json.loads(image_config([layer], Cmd=["/other"])) | {"architecture": "s390x", "variant": "z13"}
    (tmp_path / "other.tar").write_bytes(docker_archive([layer], ["other:1"], json.dumps(config).encode()))
    minidock.ok("load", "-q", "-i", str(tmp_path / "other.tar"))
    told = "WARNING: The requested image's platform (linux/s390x/z13) does not match the detected host platform (linux/"
    for client in (minidock, docker_cli):
        created = client("create", "--name", "other", "other:1")
        assert created.code == 0 and told in created.err
        wanted = client("create", "--platform", "linux/s390x", "--name", "wanted", "other:1")
        assert (wanted.code, wanted.err) == (0, "")
        minidock.ok("rm", "other", "wanted")
    minidock.ok("rmi", "other:1")


def test_cidfile(minidock: Cli, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    minidock.ok("run", "--cidfile", str(path), "--name", "cid", "busybox", "true")
    assert re.fullmatch("[0-9a-f]{64}", path.read_text())
    assert minidock("run", "--rm", "--cidfile", str(path), "busybox", "true").code == 125
    minidock.ok("rm", "cid")


def test_large_output_arrives_whole(minidock: Cli) -> None:
    result = minidock("run", "--rm", "--network", "none", "busybox", "sh", "-c", "seq 1 300000")
    assert result.out == "".join(f"{n}\n" for n in range(1, 300001))
