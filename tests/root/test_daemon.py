"""minidockd itself: its flags, its lock, its orderly stop, and that containers outlive it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from minidock.daemon import main
from tests.support.daemon import Daemon, Session
from tests.support.figures import Figure
from tests.support.procfs import runs
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]


def status(daemon: Daemon, name: str) -> str:
    return daemon.cli.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_containers_outlive_the_daemon(fresh_daemon: Daemon, how: str) -> None:
    """SIGTERM or SIGKILL: the container runs on, its output is not lost, and the next daemon has it in hand.

    Seen to fail where restore adopts no monitor.
    """
    cli = fresh_daemon.cli
    cli.ok(
        "run",
        "-d",
        "--name",
        "survivor",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; while :; do echo x; sleep 0.05; done",
    )
    pid = cli.ok("inspect", "-f", "{{.State.Pid}}", "survivor")
    getattr(fresh_daemon, how)()
    size = os.stat(next(fresh_daemon.data_root.glob("containers/*/*-json.log"))).st_size
    log = next(fresh_daemon.data_root.glob("containers/*/*-json.log"))
    eventually(lambda: log.stat().st_size > size, "output while no daemon runs")
    fresh_daemon.start()
    assert cli.ok("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "survivor") == f"{pid} running"
    assert cli.ok("exec", "survivor", "echo", "reached") == "reached"
    cli.ok("stop", "survivor")
    assert status(fresh_daemon, "survivor") == "exited 7"
    cli.ok("rm", "survivor")


def test_containers_end_with_the_machine_and_come_back_with_it(fresh_daemon: Daemon) -> None:
    """A systemctl that says what systemd's does while the machine goes down. Seen to fail without the question."""
    cli, tools = fresh_daemon.cli, fresh_daemon.base / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\necho stopping\nexit 1\n")
    (tools / "systemctl").chmod(0o755)
    fresh_daemon.stop()
    fresh_daemon.start(prefix=("env", f"PATH={tools}:{os.environ['PATH']}"))
    script = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
    for name, policy in (("once", "no"), ("again", "unless-stopped")):
        cli.ok("run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script)
    cli.ok("run", "-d", "--name", "deaf", "--stop-timeout", "1", "busybox", "sleep", "1000")
    pids = cli.ok("inspect", "-f", "{{.State.Pid}}", "once", "again", "deaf").split()
    fresh_daemon.stop(timeout=60)
    assert not any(runs(int(pid)) for pid in pids)
    fresh_daemon.start()
    eventually(lambda: status(fresh_daemon, "again").startswith("running"), "its restart policy to hold")
    assert (status(fresh_daemon, "once"), status(fresh_daemon, "deaf")) == ("exited 7", "exited 137")
    cli.ok("rm", "-f", "once", "again", "deaf")


def test_an_exit_while_no_daemon_runs_is_not_lost(fresh_daemon: Daemon) -> None:
    """Seen to fail where the next daemon does not read exit records."""
    cli = fresh_daemon.cli
    go = fresh_daemon.base / "go"
    go.mkdir()
    until = ("-v", f"{go}:/go", "busybox", "sh", "-c", "until [ -e /go/on ]; do sleep 0.05; done; exit $0")
    cli.ok("run", "-d", "--name", "kept", *until, "42")
    cli.ok("run", "-d", "--rm", "--name", "gone", *until, "43")
    pids = [int(cli.ok("inspect", "-f", "{{.State.Pid}}", name)) for name in ("kept", "gone")]
    fresh_daemon.kill()
    (go / "on").touch()
    eventually(lambda: not any(runs(pid) for pid in pids), "both containers to end")
    fresh_daemon.start()
    assert status(fresh_daemon, "kept") == "exited 42"
    assert cli.ok("ps", "-aq", "--filter", "name=gone") == ""
    assert cli.ok("wait", "kept") == "42"
    cli.ok("rm", "kept")


def test_a_lost_monitor_is_never_exit_code_0(fresh_daemon: Daemon, figure: Figure) -> None:
    """SIGKILL of the monitor: its container is killed, and the code is one of an error, with a reason.

    Seen to fail where a missing exit record is 0.
    """
    cli = fresh_daemon.cli
    cli.ok("run", "-d", "--name", "orphan", "busybox", "sleep", "1000")
    pid = int(cli.ok("inspect", "-f", "{{.State.Pid}}", "orphan"))
    began = time.monotonic()
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    eventually(lambda: not runs(pid), "the container to be killed")
    took = time.monotonic() - began
    eventually(lambda: status(fresh_daemon, "orphan") in ("exited 255", "exited 137"), "its state")
    assert cli.ok("inspect", "-f", "{{.State.Error}}", "orphan")
    cli.ok("rm", "orphan")
    figure("a monitor is killed", "its container in 2 s; 137 or 255, and why", f"after {took:.2f} s")


def test_a_wait_is_answered_by_the_next_daemon(fresh_daemon: Daemon) -> None:
    """kill -9 of the daemon during `minidock run`: output goes on, and the exit code arrives.

    Seen to fail where the client does not ask again.
    """
    script = "echo begin; sleep 2; echo end; exit 6"
    with fresh_daemon.cli.start("run", "--rm", "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        fresh_daemon.kill()
        fresh_daemon.start()
        assert process.stdout.readline() == b"end\n"
        assert process.wait(20) == 6


def test_two_daemons_side_by_side(daemons: Session) -> None:
    """Different roots and bridges, one network namespace: neither touches what is the other's.

    Seen to fail where all instances have one name.
    """
    first = Daemon(daemons)
    second = Daemon(daemons, ["--bridge", "minidock1"], netns=first.netns)
    try:
        for daemon in (first, second):
            daemon.start()
            daemon.load("busybox")
            daemon.cli.ok("run", "-d", "--name", "same", "busybox", "sleep", "1000")
        second.stop()
        second.start()
        assert status(first, "same") == status(second, "same") == "running 0"
        addresses = [d.cli.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "same") for d in (first, second)]
        assert addresses[0].split(".")[:2] != addresses[1].split(".")[:2]
        for daemon in (first, second):
            daemon.cli.ok("rm", "-f", "same")
    finally:
        second.close()
        first.close()


def _said(user: int, *arguments: str) -> str:
    """What minidockd says before it ends: a process of its own, which has all imported that the user may not read."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(_say, user, arguments).result(timeout=60)


def _say(user: int, arguments: tuple[str, ...]) -> str:
    os.setuid(user)
    result = CliRunner().invoke(main, [*arguments])
    return f"{result.exit_code} {result.output}"


def test_why_it_can_not_start(tmp_path: Path) -> None:
    nobody, root = 65534, 0
    with TemporaryDirectory() as private:  # 0700, below a folder that is open to all
        told = _said(nobody, "--data-root", private)
    assert told == "1 minidockd: minidockd must be root; hint: start it with sudo\n"
    nowhere = ("--data-root", "/proc/nosuch", "--exec-root", str(tmp_path / "run"))
    assert _said(root, *nowhere) == "1 minidockd: /proc/nosuch: no such file or directory\n"


def test_a_second_daemon_on_the_same_root_is_refused(daemon: Daemon) -> None:
    """Seen to fail without the lock."""
    command = daemon.command("--host", f"unix://{daemon.base}/other.sock")
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1 and "another minidockd uses" in second.stderr
    assert daemon.cli.ok("ps") and daemon.socket.exists()


def test_the_socket_is_root_s_and_the_group_s(daemon: Daemon) -> None:
    """Seen to fail where its mode is 0666."""
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660 and daemon.socket.stat().st_uid == 0
    # CAP_DAC_READ_SEARCH, so that nobody can read our own files wherever they lie; it opens no socket.
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reads, *daemon.cli.program, "ps"]
    result = subprocess.run(
        as_nobody, env=dict(daemon.cli.env), capture_output=True, text=True, check=False, timeout=30
    )
    assert result.returncode == 1
    assert "permission denied" in result.stderr.lower() and len(result.stderr.splitlines()) == 1


def test_nothing_of_the_data_root_is_for_others(daemon: Daemon) -> None:
    """Row 25. Variant: _make_roots() with mode 0755 and a umask of 022."""
    for root in (daemon.data_root, daemon.exec_root):
        assert stat.S_IMODE(root.stat().st_mode) == 0o710
    for name in ("containers", "content", "layers", "minidock.db"):
        assert stat.S_IMODE((daemon.data_root / name).stat().st_mode) & 0o007 == 0, name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--nosuch"], "nosuch"),
        (["--bip", "banana"], "invalid --bip"),
        (["--log-level", "loud"], "loud"),
        (["--config-file", "/no/such/file"], "/no/such/file"),
        (["--host", "tcp://0.0.0.0:0"], "tcp"),
        (["--bridge", "much-too-long-a-name"], "bridge name"),
    ],
)
def test_a_wrong_flag_is_refused_with_one_clear_line(
    daemons: Session, tmp_path: Path, options: list[str], words: str
) -> None:
    """Seen to fail where our errors are not caught: a traceback."""
    roots = ["--data-root", str(tmp_path / "d"), "--exec-root", str(tmp_path / "r"), "--host", f"unix://{tmp_path}/s"]
    daemon = Daemon(daemons)
    try:
        command = [*daemon.program, *roots, *options]
        process = daemon.netns.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=30)
        assert process.returncode != 0
        assert words in err.decode() and "Traceback" not in err.decode()
        assert not (tmp_path / "s").exists()
    finally:
        daemon.close()


def test_the_configuration_file(daemons: Session, tmp_path: Path) -> None:
    """Seen to fail where unknown keys are passed over."""
    path = tmp_path / "daemon.json"
    daemon = Daemon(daemons, ["--config-file", str(path)])
    try:
        path.write_text(json.dumps({"registry-mirrors": ["http://127.0.0.1:5"], "bip": "10.77.0.1/24"}))
        daemon.start()
        info = json.loads(daemon.cli.ok("info", "--format", "json"))
        assert info["RegistryConfig"]["Mirrors"] == ["http://127.0.0.1:5/"] or "127.0.0.1:5" in str(
            info["RegistryConfig"]
        )
        assert "10.77.0.1" in daemon.netns.run("ip", "-4", "addr", "show", "minidock0")
        daemon.stop()
        for text, words in (
            ("{", "read"),
            ('{"nosuch": 1}', "nosuch"),
            ('{"hosts": "x"}', "hosts"),
            ('{"bip": 1}', "bip"),
        ):
            path.write_text(text)
            offset = daemon.log.stat().st_size
            daemon.start(wait=False)
            assert daemon.ended(20) == 1
            assert words in daemon.log_text(offset)
    finally:
        daemon.close()


def test_without_a_daemon_the_client_says_how_to_start_one(tmp_path: Path, daemon: Daemon) -> None:
    """Seen to fail without the hint."""
    cli = daemon.cli
    elsewhere = type(cli)([cli.program[0], "-H", f"unix://{tmp_path}/nosuch.sock"], cli.env)
    for arguments, code in ((["ps"], 1), (["run", "alpine"], 125)):
        result = elsewhere(*arguments)
        assert result.code == code
        assert f"{tmp_path}/nosuch.sock" in result.err and "minidockd" in result.err
        assert len(result.err.splitlines()) == 1


def test_a_data_root_that_can_t_carry_an_overlay_is_told(daemons: Session) -> None:
    """An overlay over an overlay: the start fails in one line that says what to do, and leaves nothing.

    Seen to fail without the hint.
    """
    daemon = Daemon(daemons)
    layers = daemon.base / "layers"
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir(parents=True)
    mount = f"mount -t overlay none -o lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    try:
        daemon.start(prefix=["unshare", "-m", "sh", "-c", f'{mount} {daemon.data_root} && exec "$@"', "sh"])
        daemon.load("busybox")
        result = daemon.cli("run", "--rm", "busybox", "true")
        assert result.code == 125 and "--data-root" in result.err and len(result.err.splitlines()) == 1
        assert daemon.cli.ok("ps", "-aq") == ""
    finally:
        daemon.close()


def test_the_last_one_out_takes_the_cgroup_away(fresh_daemon: Daemon) -> None:
    """A daemon that ends leaves its cgroup to the containers that run on, and without them none.

    Seen to fail where `close` is not called.
    """
    cli = fresh_daemon.cli
    cli.ok("run", "-d", "--name", "last", "busybox", "sleep", "1000")
    fresh_daemon.stop()
    assert len(fresh_daemon.cgroups()) == 1
    fresh_daemon.start()
    cli.ok("rm", "-f", "last")
    fresh_daemon.stop()
    assert not fresh_daemon.cgroups()
    fresh_daemon.start()
    assert cli.ok("run", "--rm", "busybox", "echo", "again") == "again"
