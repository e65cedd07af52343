"""Containers in user namespaces: ``minidockd --userns-remap``. Root inside is 100000 outside, and nobody.

The daemon of this module maps; --userns host is the control in many a test: the same attempt, with the host's root,
does succeed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.support import probe
from tests.support.boundary import DEFAULT_MASK, NONE, Report, check_baseline, run, run_within
from tests.support.cli import Cli
from tests.support.daemon import Daemon, Session
from tests.support.mapped import COUNT, FIRST, GRANT, REMAP, mapping_daemon, start
from tests.support.wait import eventually

pytestmark = pytest.mark.userns_remap

UNCONFINED = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined")


@pytest.fixture(scope="module")
def daemon(daemons: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with mapping_daemon(daemons, tmp_path_factory.mktemp("probe")) as daemon:
        yield daemon


@pytest.fixture
def box(minidock: Cli) -> Iterator[str]:
    """A busybox that waits; its name is box."""
    minidock.ok("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    yield "box"
    minidock.ok("rm", "-f", "box")


def pid_of(minidock: Cli, name: str) -> int:
    return int(minidock.ok("inspect", "--format", "{{.State.Pid}}", name))


def directory_of(daemon: Daemon, name: str) -> Path:
    return daemon.data_root / "containers" / daemon.cli.ok("inspect", "--format", "{{.Id}}", name)


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def shell(minidock: Cli, script: str, *options: str) -> str:
    return minidock.ok("run", "--rm", *options, "busybox", "sh", "-c", script)


def check_mapped(report: Report, effective: str = DEFAULT_MASK, bounding: str = DEFAULT_MASK) -> None:
    """The baseline, all of it; and what is different: the numbers, and the owner of the user namespace."""
    check_baseline(report, effective, bounding)
    assert report["uid_map"] == [0, FIRST, COUNT]
    assert report["namespaces"]["user"] != probe.run("report")["namespaces"]["user"]


# -- the boundary -----------------------------------------------------------------------------------------------------


def test_the_boundary_holds_for_every_way_in(minidock: Cli) -> None:
    check_mapped(report := run(minidock))
    assert report["pid"] == 1 and report["interfaces"] == ["lo", "eth0"] and report["uids"] == [0] * 4
    assert report["writable"]["/.probe"] == "ok" and report["writable"]["/dev/shm/.probe"] == "ok"
    check_mapped(report := run(minidock, "-t"))
    assert report["tty"] == [True] * 3 and report["dev"]["console"].startswith("c 136:0 ")
    check_mapped(run(minidock, "--cap-drop", "ALL"), NONE, NONE)
    check_mapped(report := run(minidock, "--read-only", "--security-opt", "no-new-privileges"))
    assert report["writable"]["/.probe"] == "EROFS" and report["no_new_privs"] == 1
    check_mapped(report := run(minidock, "-u", "user"), effective=NONE)
    assert report["uids"] == [1000] * 4 and report["writable"]["/.probe"] == "EACCES"


def test_the_boundary_holds_for_exec(minidock: Cli) -> None:
    name = minidock.ok("run", "-d", "probe", "/probe", "pause")
    check_mapped(report := run_within(minidock, name))
    assert 1 in report["processes"] and report["pid"] != 1
    check_mapped(report := run_within(minidock, name, "-t"))
    assert report["tty"] == [True] * 3
    check_mapped(report := run_within(minidock, name, "-u", "1000:1000"), effective=NONE)
    assert report["groups"] == [1000]
    everything = run_within(minidock, name, "--privileged")
    assert everything["uid_map"] == [0, FIRST, COUNT] and everything["seccomp"] == 0
    assert everything["writable"]["/proc/sys/kernel/panic"] != "ok", "all capabilities, and none of them over the host"
    minidock.ok("rm", "-f", name)


def test_the_boundary_holds_after_a_crash(daemons: Session, tmp_path: Path) -> None:
    """What the next daemon runs, and what it finds running: the map of that is asked of the kernel."""
    with mapping_daemon(daemons, tmp_path) as daemon:
        name = daemon.cli.ok("run", "-d", "probe", "/probe", "pause")
        daemon.kill()
        start(daemon)
        test_the_boundary_holds_for_every_way_in(daemon.cli)
        test_the_boundary_holds_for_exec(daemon.cli)
        check_mapped(run_within(daemon.cli, name, "-t"))
        check_mapped(run_within(daemon.cli, name, "-u", "1000:1000"), effective=NONE)
        daemon.cli.ok("rm", "-f", name)


def test_root_inside_is_nobody_outside(minidock: Cli, box: str) -> None:
    pid = pid_of(minidock, box)
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}\n" in status and f"Gid:\t{FIRST}" in status
    as_user = ["setpriv", "--clear-groups", "--regid", "0", "--reuid"]
    assert subprocess.run([*as_user, "1000", "kill", "-0", str(pid)], check=False, capture_output=True).returncode
    subprocess.run([*as_user, str(FIRST), "kill", "-0", str(pid)], check=True)
    assert minidock.ok("top", box).splitlines()[1].split()[0] == str(FIRST)
    assert minidock.ok("exec", box, "id", "-u") == "0"


@pytest.mark.docker_cli
def test_docker_sees_it(docker_cli: Cli) -> None:
    assert "name=userns" in json.loads(docker_cli.ok("info", "--format", "{{json .SecurityOptions}}"))
    name = docker_cli.ok("create", "--userns", "host", "busybox", "true")
    assert docker_cli.ok("inspect", "--format", "{{.HostConfig.UsernsMode}}", name) == "host"
    docker_cli.ok("rm", name)


def test_standard_streams_can_be_opened_again(minidock: Cli) -> None:
    for user in ("0", "1000"):
        done = minidock("run", "--rm", "-u", user, "busybox", "sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr")
        assert (done.code, done.out, done.err) == (0, "a\n", "b\n")


# -- what of the host is out of reach ---------------------------------------------------------------------------------


def test_a_file_of_the_host_is_not_root_s_inside(minidock: Cli, tmp_path: Path) -> None:
    """As root of the host it could be: whoever leaves the user namespace out fails here (the control)."""
    tmp_path.chmod(0o755)
    for name, mode in (("readable", 0o644), ("secret", 0o600)):
        (tmp_path / name).write_text("host\n")
        (tmp_path / name).chmod(mode)
    (given := tmp_path / "given").mkdir()
    os.chown(given, FIRST + 7, FIRST + 8)
    attempt = (
        "cat /h/readable; (echo x >/h/readable) 2>&1; cat /h/secret 2>&1; stat -c %u:%g /h/given; touch /h/given/f"
    )
    bind = ("-v", f"{tmp_path}:/h")
    words = shell(minidock, attempt, *bind)
    assert words.startswith("host\n") and words.count("ermission denied") == 2 and words.endswith("\n7:8")
    assert (tmp_path / "readable").read_text() == "host\n" and owner(given / "f") == (FIRST, FIRST)
    assert "denied" not in shell(minidock, attempt, *bind, "--userns", "host")
    assert (tmp_path / "readable").read_text() == "x\n"


def test_what_is_mounted_into_it_is_locked(daemon: Daemon, minidock: Cli, tmp_path: Path) -> None:
    """All capabilities, over mounts of its own; what came from the host keeps its flags, and covers what it covers."""
    tmp_path.chmod(0o755)
    (below := tmp_path / "below").mkdir()
    (below / "hidden").touch()
    os.chown(tmp_path, FIRST, FIRST)
    within = ("nsenter", f"--mount=/proc/{daemon.pid}/ns/mnt", "--")
    subprocess.run([*within, "mount", "-t", "tmpfs", "cover", str(below)], check=True)
    try:
        attempt = "mount -o remount,rw,bind /h; touch /h/f; umount /h/below; ls /h/below; echo end"
        options = ("-v", f"{tmp_path}:/h:ro", *UNCONFINED)
        assert shell(minidock, attempt, *options) == "end" and not (tmp_path / "f").exists()
        assert shell(minidock, attempt, *options, "--userns", "host") == "hidden\nend" and (tmp_path / "f").exists()
    finally:
        subprocess.run([*within, "umount", str(below)], check=True)


def test_what_takes_the_host_s_root_is_refused(minidock: Cli) -> None:
    """All capabilities and no filter: what is left is the user namespace."""
    panic = Path("/proc/sys/kernel/panic").read_text().strip()
    attempt = f"""
        mkdir /m; mount -t tmpfs t /m && echo mounted
        mknod /null c 1 3 2>&1; mount -o remount,rw,bind /proc/sys
        (echo {panic} >/proc/sys/kernel/panic) 2>&1; hostname x && hostname
    """
    words = shell(minidock, attempt, *UNCONFINED).splitlines()
    assert words[0] == "mounted" and words[-1] == "x", "the control: it has rights, over what is its own"
    assert ["ermi" in line for line in words[1:-1]] == [True] * 2, words
    assert shell(minidock, attempt, *UNCONFINED, "--userns", "host").splitlines() == ["mounted", "x"]
    lower = "cat /proc/self/oom_score_adj; (echo -1 >/proc/self/oom_score_adj) 2>&1 || true"
    words = shell(minidock, lower, "--oom-score-adj", "100", *UNCONFINED).splitlines()
    assert words[0] == "100" and "ermission denied" in words[1]


def test_capabilities_are_for_its_own_network(minidock: Cli, box: str) -> None:
    admin = ("--cap-add", "NET_ADMIN")
    assert "10.9.8.7" in shell(minidock, "ip addr add 10.9.8.7/32 dev eth0; ip addr", *admin)
    assert shell(minidock, "cat /proc/sys/net/ipv4/ip_forward", "--sysctl", "net.ipv4.ip_forward=0") == "0"
    theirs = ("--network", "container:box", *admin)
    user = minidock.ok("exec", box, "readlink", "/proc/self/ns/user")
    assert shell(minidock, "readlink /proc/self/ns/user", *theirs) == user, "who shares the network owns it as well"
    assert shell(minidock, "readlink /proc/self/ns/user") != user
    assert shell(minidock, "readlink /proc/self/ns/user; ps", "--pid", "container:box").splitlines()[0] == user


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--privileged"], "privileged mode is incompatible with user namespaces"),
        (["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
        (["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
        (["--ipc", "host"], "cannot share the host's IPC namespace when user namespaces are enabled"),
        (["-u", "70000"], "user 70000 does not exist in the container's user namespace"),
        (["--group-add", "65536"], "group 65536 does not exist"),
        (["--userns", "private"], "invalid USER mode: private"),
    ],
)
def test_refusals(minidock: Cli, options: list[str], words: str) -> None:
    done = minidock("run", "--rm", *options, "busybox", "true")
    assert done.code == 125 and words in done.err
    if "USER" not in words:
        minidock.ok("run", "--rm", *options, "--userns", "host", "busybox", "true")


def test_sharing_with_who_is_not_mapped(minidock: Cli, box: str) -> None:
    minidock.ok("run", "-d", "--name", "plain", "--userns", "host", "--ipc", "shareable", "busybox", "sleep", "1000")
    for mode in (["--network", "container:plain"], ["--pid", "container:plain"], ["--ipc", "container:plain"]):
        done = minidock("run", "--rm", *mode, "busybox", "true")
        assert done.code == 125 and "cannot share with container plain, which is not in a user namespace" in done.err
    minidock.ok("run", "--rm", "--userns", "host", "--network", "container:box", "busybox", "true")
    done = minidock("exec", "-u", "70000", box, "true")
    assert done.code == 126 and "user 70000 does not exist" in done.out + done.err
    minidock.ok("rm", "-f", "plain")


def test_shared_memory_is_shared_within_a_user_namespace(minidock: Cli) -> None:
    minidock.ok("run", "-d", "--name", "donor", "--ipc", "shareable", "-u", "1000", "busybox", "sleep", "1000")
    look = "readlink /proc/self/ns/user; readlink /proc/self/ns/ipc"
    mine = shell(minidock, f"{look}; echo x >/dev/shm/shared; ls -ldn /dev/mqueue", "--ipc", "container:donor")
    assert mine.splitlines()[:2] == minidock.ok("exec", "donor", "sh", "-c", look).splitlines()
    assert minidock.ok("exec", "donor", "cat", "/dev/shm/shared") == "x"
    minidock.ok("rm", "-f", "donor")


def test_namespaces_of_the_host_that_can_be_shared(minidock: Cli) -> None:
    assert shell(minidock, "hostname", "--uts", "host") == os.uname().nodename
    words = shell(minidock, "cat /proc/self/cgroup; touch /sys/fs/cgroup/x 2>&1 || true", "--cgroupns", "host")
    assert "/minidock-" in words and "Read-only file system" in words


# -- files ------------------------------------------------------------------------------------------------------------


def test_owners_on_the_disk_are_those_inside(daemon: Daemon, minidock: Cli, box: str) -> None:
    """A runtime that stores the host's numbers would need a second copy of each layer, and a translation in commit."""
    minidock.ok("exec", box, "sh", "-c", "echo a >/root.txt; echo b >/user.txt; chown 1000:2000 /user.txt; rm /bin/ps")
    upper = directory_of(daemon, box) / "upper"
    assert owner(upper / "root.txt") == (0, 0) and owner(upper / "user.txt") == (1000, 2000)
    layers = set(os.listdir(daemon.data_root / "layers"))
    look = "stat -c '%u:%g %n' /root.txt /user.txt /bin/busybox; test -e /bin/ps || echo gone"
    inside = minidock.ok("exec", box, "sh", "-c", look)
    assert inside.splitlines() == ["0:0 /root.txt", "1000:2000 /user.txt", "0:0 /bin/busybox", "gone"]
    assert set(minidock.ok("diff", box).splitlines()) >= {"A /root.txt", "A /user.txt", "D /bin/ps"}
    minidock.ok("commit", box, "committed")
    for options in ((), ("--userns", "host")):
        assert minidock.ok("run", "--rm", *options, "committed", "sh", "-c", look) == inside
    assert len(set(os.listdir(daemon.data_root / "layers")) - layers) == 1, "one new layer, for all who use it"
    minidock.ok("rmi", "committed")


def test_volumes_and_files_in_etc_belong_to_who_the_container_says(daemon: Daemon, minidock: Cli) -> None:
    fill = "echo x >/v/f; chown 33:44 /v/f; touch /v/root; echo 1.2.3.4 more >>/etc/hosts && stat -c %u /v /etc/hosts"
    assert shell(minidock, fill, "-v", "shifted:/v") == "0\n0"
    for options in ((), ("--userns", "host")):
        look = shell(minidock, "stat -c %u:%g /v/f /v/root; touch /v/root", "-v", "shifted:/v", *options)
        assert look == "33:44\n0:0"
    assert owner(daemon.data_root / "volumes/shifted/_data/f") == (33, 44)
    copied = shell(minidock, "stat -c '%u %n' /tmp/* /tmp | tail -1; touch /home/new", "-v", "/tmp", "-v", "/home")
    assert copied == "0 /tmp"
    minidock.ok("volume", "rm", "shifted")


def test_capabilities_of_files_are_given_in_either_world(daemon: Daemon, minidock: Cli, tmp_path: Path) -> None:
    """CAP_NET_BIND_SERVICE on /probe, for a user who is not root; from an image, and put into a container by cp."""
    attribute = bytes.fromhex("01000002" + "00040000" + "00" * 12)
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tar.gettarinfo(probe.program(), "probe")
        entry.pax_headers = {"SCHILY.xattr.security.capability": attribute.decode("utf-8", "surrogateescape")}
        with probe.program().open("rb") as file:
            tar.addfile(entry, file)
    minidock.ok("run", "-d", "--name", "capable", "probe", "/probe", "pause")
    minidock.ok("cp", "-", "capable:/", stdin=buffer.getvalue())
    assert run_within(minidock, "capable", "-u", "1000")["capabilities"]["effective"] == "0000000000000400"
    stored = directory_of(daemon, "capable") / "upper/probe"
    assert os.getxattr(stored, "security.capability") == attribute, "as any image has it"
    minidock.ok("export", "-o", str(tmp_path / "tar"), "capable")
    with tarfile.open(tmp_path / "tar", errors="surrogateescape") as tar:
        assert tar.getmember("probe").pax_headers == entry.pax_headers
    minidock.ok("commit", "capable", "capable")
    for options in ((), ("--userns", "host")):
        report = json.loads(minidock.ok("run", "--rm", "-u", "1000", *options, "capable", "/probe"))
        assert report["capabilities"]["effective"] == "0000000000000400"
    minidock.ok("rm", "-f", "capable")
    minidock.ok("rmi", "capable")


def tar_of(**owners: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (uid, gid) in owners.items():
            entry = tarfile.TarInfo(name)
            entry.uid, entry.gid = uid, gid
            tar.addfile(entry)
    return buffer.getvalue()


def owners_in(archive: bytes) -> dict[str, tuple[int, int]]:
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        return {entry.name: (entry.uid, entry.gid) for entry in tar}


def test_cp_and_export_tell_owners_as_inside(minidock: Cli, box: str, tmp_path: Path) -> None:
    def check(name: str) -> None:
        minidock.ok("cp", "-", f"{box}:/home", stdin=tar_of(**{name: (5, 6), f"{name}0": (0, 0)}))
        minidock.ok("cp", f"{box}:/home", str(out := tmp_path / name))
        whole = owners_in(Path(minidock.ok("export", "-o", str(out) + ".tar", box) or str(out) + ".tar").read_bytes())
        assert whole[f"home/{name}"] == (5, 6) and whole[f"home/{name}0"] == (0, 0) == whole["bin/busybox"]

    check("running")
    assert minidock.ok("exec", box, "stat", "-c", "%u:%g", "/home/running", "/home/running0") == "5:6\n0:0"
    done = minidock("cp", "-", f"{box}:/home", stdin=tar_of(far=(70000, 0)))
    assert done.code == 1 and "user 70000 does not exist in the container's user namespace" in done.err
    minidock.ok("stop", "-t", "0", box)
    check("stopped")
    minidock.ok("start", box)
    assert minidock.ok("exec", box, "stat", "-c", "%u:%g", "/home/stopped", "/home/stopped0") == "5:6\n0:0"


# -- its life ---------------------------------------------------------------------------------------------------------


def test_a_start_that_fails_names_the_step_and_leaves_nothing(minidock: Cli, tmp_path: Path) -> None:
    assert minidock("run", "--rm", "busybox", "/no/such").code == 127
    assert minidock("run", "--rm", "busybox", "/etc").code == 126
    (gone := tmp_path / "gone").mkdir()
    minidock.ok("create", "--name", "lost", "-v", f"{gone}:/x", "busybox", "true")
    gone.rmdir()
    done = minidock("start", "lost")
    assert done.code == 1 and f"tree {gone}" in done.err
    minidock.ok("rm", "lost")


def test_health_restarts_and_exit_codes(minidock: Cli) -> None:
    check = "grep -q 100000 /proc/self/uid_map && touch /seen"
    minidock.ok("run", "-d", "--name", "well", "--health-cmd", check, "--health-interval", "100ms", "busybox",
                "sh", "-c", "until test -e /seen; do sleep 0.1; done; sleep 1000")  # fmt: skip
    eventually(lambda: minidock.ok("inspect", "--format", "{{.State.Health.Status}}", "well") == "healthy", "healthy")
    minidock.ok("restart", "-t", "0", "well")
    assert minidock.ok("exec", "well", "ls", "/seen") == "/seen"
    minidock.ok("rm", "-f", "well")
    minidock("run", "--name", "again", "--restart", "on-failure:1", "busybox", "sh", "-c", "echo run; exit 3")
    eventually(lambda: minidock.ok("logs", "again") == "run\nrun", "it to have run twice", timeout=30)
    assert minidock.ok("wait", "again") == "3"
    minidock.ok("rm", "again")
    assert minidock("run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$").code == 137


def test_another_daemon_with_another_setting(daemons: Session, tmp_path: Path) -> None:
    """A container that runs keeps its map over kill -9; at a start it gets that of the daemon that starts it."""
    daemon = Daemon(daemons)
    try:
        daemon.start(*REMAP, prefix=daemon.granting(GRANT))
        daemon.load("busybox")
        minidock = daemon.cli
        minidock.ok("run", "-d", "--name", "box", "-v", "data:/v", "busybox", "sleep", "1000")
        minidock.ok("exec", "box", "sh", "-c", "touch /mine /v/mine")
        daemon.kill()
        daemon.start()
        ids = ("sh", "-c", "stat -c %u /mine /v/mine; cat /proc/self/uid_map")
        assert minidock.ok("exec", "box", *ids).split() == ["0", "0", "0", str(FIRST), str(COUNT)]
        minidock.ok("cp", "-", "box:/", stdin=tar_of(put=(1, 2)))
        assert minidock.ok("exec", "box", "stat", "-c", "%u:%g", "/put") == "1:2"
        minidock.ok("restart", "-t", "0", "box")
        assert minidock.ok("exec", "box", *ids).split()[:3] == ["0", "0", "0"]
        assert owner(Path(f"/proc/{pid_of(minidock, 'box')}/root/mine")) == (0, 0), "not mapped any more"
        minidock.ok("create", "--name", "strong", "--privileged", "busybox", "true")
        daemon.stop()
        other = 300000
        daemon.start("--userns-remap", "4321", prefix=daemon.granting(f"4321:{other}:1000", f"4321:{other * 2}:70000"))
        assert minidock.ok("exec", "box", *ids).split()[:3] == ["0", "0", "0"]
        done = minidock("start", "strong")
        assert done.code == 1 and "privileged mode is incompatible with user namespaces" in done.err
        minidock.ok("restart", "-t", "0", "box")
        assert minidock.ok("exec", "box", *ids).split()[:5] == ["0", "0", "0", str(other), "1000"]
        assert minidock.ok("exec", "-u", "1001", "box", "id", "-u") == "1001"
        assert owner(Path(f"/proc/{pid_of(minidock, 'box')}/root/mine")) == (other, other)
        minidock.ok("rm", "-f", "box", "strong")
        minidock.ok("volume", "rm", "data")
    finally:
        daemon.close()


def test_a_daemon_that_can_not_map_does_not_start(daemons: Session) -> None:
    daemon = Daemon(daemons)
    try:
        daemon.start(*REMAP, prefix=daemon.granting("other:100000:65536"), wait=False)
        assert daemon.process and daemon.process.wait(30) == 1
        text = daemon.log_text()
        assert (
            "no subordinate ids for minidock in /etc/subuid" in text
            and "echo minidock:165536:65536 >>/etc/subuid" in text
        )
        daemon.process = None
    finally:
        daemon.close()
