"""The plan walker for real: steps in namespaces of their own, checked from inside the container that they make.

No daemon and no monitor: csrc/'s walker behind a small driver (../support/walker.py). Each test is about one or two
step kinds; what is asserted is what a program in the container finds. Here: start and stdio, the root and its mounts,
terminals, namespaces. Users, capabilities, init and execve: test_walker_process.py. Steps that fail:
test_walker_errors.py. Hostile images: test_walker_hostile.py. Read next: csrc/steps.def.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.linux import shim
from minidock.runtime.plan import Step, encode, step
from tests.support.wait import eventually
from tests.support.walker import (
    DEV,
    LINK_PTMX,
    NULL,
    PLAN_FD,
    PROC,
    PTS,
    REPORT_FD,
    SYS,
    Box,
    Outcome,
    drive,
    execve,
    sealed,
    spawn_driver,
    walk,
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# -- start, exit, stdio -----------------------------------------------------------------------------------------------


def test_a_container_runs_and_its_exit_code_comes_back(box: Box) -> None:
    outcome = box.sh("echo out; echo err >&2; exit 7")
    assert outcome.started and (outcome.code, outcome.out, outcome.err) == (7, "out\n", "err\n")
    assert set(outcome.errors) == {0} and all(usec < 10_000_000 for usec in outcome.usec)


def test_death_by_signal(box: Box) -> None:
    # Without a pid namespace: a pid 1 would ignore it.
    plan = [step("stdio", "pipe", "none", 0, 0), step("clone3", "mnt", ""), *execve("/bin/sh", "-c", "kill -9 $$")]
    assert walk(plan).code == 128 + signal.SIGKILL


@pytest.mark.parametrize(("mode", "said"), [("open", "hello\n"), ("once", "hello\n"), ("none", "")])
def test_stdin(box: Box, mode: str, said: str) -> None:
    plan = box.plan(args=("/bin/cat",), stdio=step("stdio", "pipe", mode, 0, 0))
    assert walk(plan, stdin=b"hello\n").out == said


def test_nothing_of_the_host_is_left(box: Box) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    outcome = box.sh(
        "ls /; cat /proc/self/mountinfo; ls /proc/self/fd | wc -l; readlink /proc/self/cwd", PROC, DEV, NULL
    )
    names, fds, cwd = outcome.out.split("\n/proc")[0], outcome.out.splitlines()[-2], outcome.out.splitlines()[-1]
    mounts = [line for line in outcome.out.splitlines() if " - " in line]
    assert names.split()[:4] == ["bin", "dev", "proc", *names.split()[3:4]]
    assert [line.split()[4] for line in mounts] == ["/", "/proc", "/dev"]
    assert not any("shared:" in line or "master:" in line for line in mounts)
    assert (fds, cwd) == ("4", "/")  # 0 to 2, and the one that ls opens
    assert Path("/proc/self/mountinfo").read_text() == before


def test_an_inherited_fd_does_not_reach_the_program(box: Box) -> None:
    host = os.open("/", os.O_RDONLY)
    plan = box.plan(PROC, args=("/bin/ls", "/proc/self/fd"))
    assert walk(plan, fds=[host, host, host]).out.split() == ["0", "1", "2", "3"]
    os.close(host)


def test_standard_null_devices_are_the_containers_own(box: Box) -> None:
    host = os.stat("/dev/null")
    outcome = box.sh("stat -L -c '%d %t:%T' /proc/self/fd/0 /dev/null", PROC, DEV, NULL)
    first, second = outcome.out.splitlines()
    assert first == second and first.endswith(" 1:3") and not first.startswith(f"{host.st_dev} ")


def test_without_a_null_device_stdin_is_empty_all_the_same(box: Box) -> None:
    outcome = box.sh("cat; readlink /proc/self/fd/0", PROC)
    assert outcome.out.startswith("pipe:") and outcome.code == 0


# -- mounts -----------------------------------------------------------------------------------------------------------


def test_file_systems_and_their_flags(box: Box) -> None:
    shm = step("mount", "tmpfs", "/dev/shm", "nosuid,nodev,noexec", "source=shm,mode=1777,size=65536k")
    mqueue = step("mount", "mqueue", "/dev/mqueue", "nosuid,nodev,noexec", "")
    outcome = box.sh("cat /proc/mounts", PROC, SYS, DEV, PTS, shm, mqueue)
    found = {line.split()[1]: line.split() for line in outcome.out.splitlines()}
    assert found["/proc"][2:4] == ["proc", "rw,nosuid,nodev,noexec,relatime"]
    assert found["/sys"][3].startswith("ro,nosuid,nodev,noexec")
    assert found["/dev/shm"][0] == "shm" and found["/dev/shm"][3].startswith(
        "rw,nosuid,nodev,noexec,relatime,size=65536k"
    )
    assert found["/dev"][3].startswith("rw,nosuid,size=65536k,mode=755")
    assert "ptmxmode=666" in found["/dev/pts"][3] and found["/dev/mqueue"][2] == "mqueue"
    assert found["/"][2] == "overlay"


def test_binds_of_directories_and_files(box: Box, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "hosts"
    data.mkdir()
    file.write_text("127.0.0.1 here\n")
    outcome = box.sh(
        "cat /etc/hosts; touch /data/new /locked/new; grep -E ' /(data|locked) ' /proc/self/mountinfo | wc -l",
        PROC,
        step("bind", str(file), "/etc/hosts", "ro"),
        step("bind", str(data), "/data", "rec,rprivate"),
        step("bind", str(data), "/locked", "rec,ro,nosuid,rslave"),
    )
    assert outcome.started and "127.0.0.1 here" in outcome.out and "Read-only file system" in outcome.err
    assert (data / "new").exists()


def test_a_target_under_a_dangling_link_is_made_inside(box: Box, tmp_path: Path) -> None:
    """As Debian's /etc/resolv.conf -> ../run/resolv.conf and /var/run -> /run in images without /run."""
    (box.image / "etc").mkdir()
    (box.image / "etc/resolv.conf").symlink_to("../run/systemd/resolv.conf")
    (box.image / "var").mkdir()
    (box.image / "var/run").symlink_to("/run")
    file = tmp_path / "file"
    file.write_text("content\n")
    binds = [step("bind", str(file), target, "ro") for target in ("/etc/resolv.conf", "/var/run/app.sock")]
    assert box.sh("cat /run/systemd/resolv.conf /run/app.sock /etc/resolv.conf", *binds).out == "content\n" * 3


def test_a_target_may_lie_deep(box: Box, tmp_path: Path) -> None:
    """Broken build: one that takes more than 64 new directories for a loop of links (ELOOP)."""
    deep = "/d" * 200
    (tmp_path / "file").write_text("content\n")
    steps = [step("mkdir", deep, "755", 0, 0), step("bind", str(tmp_path), f"/e{deep}", "ro")]
    assert box.sh(f"stat -c %a {deep}; cat /e{deep}/file", *steps).out == "755\ncontent\n"


def test_masks_and_read_only_paths(box: Box) -> None:
    masks = [step("mask", path) for path in ("/proc/timer_list", "/sys/firmware", "/proc/nothing")]
    closed = [step("readonly", path) for path in ("/proc/sys", "/proc/sysrq-trigger", "/proc/nothing")]
    script = "wc -c </proc/timer_list; ls -A /sys/firmware | wc -l; stat -c %t:%T /proc/timer_list"
    script += "; echo 1 >/proc/sys/kernel/panic"
    outcome = box.sh(script, PROC, SYS, DEV, NULL, *masks, *closed)
    assert outcome.out.split() == ["0", "0", "1:3"] and "Read-only file system" in outcome.err
    control = box.sh("cat /proc/timer_list | head -c 1 | wc -c", PROC)
    assert control.out.strip() == "1"


def test_remount_ro_leaves_other_mounts_writable(box: Box) -> None:
    outcome = box.sh("touch /x; touch /dev/shm-x && echo dev", DEV, late=[step("remount_ro")])
    assert "Read-only file system" in outcome.err and outcome.out == "dev\n"


def test_a_ready_directory_as_root(box: Box) -> None:
    head = [step("clone3", "mnt,pid", ""), step("private"), step("rootfs", str(box.base / "a/diff"), "1")]
    outcome = walk(
        [step("stdio", "pipe", "none", 0, 0), *head, step("pivot_root"), *execve("/bin/sh", "-c", "ls /; touch /x")]
    )
    assert outcome.out.split() == ["bin"] and "Read-only file system" in outcome.err


def test_more_layers_than_a_page_of_options_holds(box: Box) -> None:
    names = []
    for number in range(120):
        name = f"{number:064x}"
        (box.base / name / "diff").mkdir(parents=True)
        (box.base / name / "diff" / f"file{number}").write_text("")
        names.append(f"{name}/diff")
    lowers = ":".join([*names, "a/diff"])
    overlay = step("overlay", str(box.target), str(box.base), lowers, str(box.upper), str(box.folder / "work"), "")
    head = [step("stdio", "pipe", "none", 0, 0), step("clone3", "mnt", ""), step("private"), overlay]
    assert walk([*head, step("pivot_root"), *execve("/bin/sh", "-c", "ls -d /file* | wc -l")]).out.strip() == "120"


def test_directories_nodes_and_links(box: Box) -> None:
    inside = [
        step("mkdir", "/a/b/c", "1777", 5, 6),
        step("mkdir", "/bin", "700", 5, 6),
        step("mknod", "/fifo", "p", 0, 0, "640", 1, 2),
        step("symlink", "to/nowhere", "/link"),
        step("symlink", "to/nowhere", "/link"),
    ]
    outcome = box.sh("stat -c '%a %u:%g %F' /a /a/b/c /bin /fifo; readlink /link", *inside)
    assert outcome.out.splitlines() == [
        "755 0:0 directory",
        "1777 5:6 directory",
        "755 0:0 directory",
        "640 1:2 fifo",
        "to/nowhere",
    ]


# -- terminal ---------------------------------------------------------------------------------------------------------


def pty_plan(box: Box, script: str, *more: str) -> list[Step]:
    stdio = step("stdio", "pty", "open", 24, 80)
    return box.plan(PROC, DEV, PTS, LINK_PTMX, step("console"), stdio=stdio, args=("/bin/sh", "-c", script, *more))


def test_a_terminal_of_its_own(box: Box) -> None:
    outcome = walk(
        pty_plan(
            box, "tty; stty size; test -t 2 && echo err; ls -1 /dev/pts; cat /proc/mounts | wc -l; echo x >/dev/console"
        )
    )
    lines = outcome.out.replace("\r", "").splitlines()
    assert lines[:5] == ["/dev/pts/0", "24 80", "err", "0", "ptmx"] and lines[-1] == "x"


def test_the_terminal_is_the_controlling_one(box: Box) -> None:
    # proc_pid_stat(5): pgrp, session, tty_nr (136:0), tpgid. The shell is its session's leader and in the foreground.
    outcome = walk(pty_plan(box, "read stat </proc/self/stat; echo $stat"))
    assert outcome.out.split()[4:8] == ["1", "1", str(136 << 8), "1"]


def test_console_without_pty_stdio_is_refused(box: Box) -> None:
    outcome = walk(box.plan(DEV, PTS, step("console"), args=("/bin/true",)))
    assert outcome.failed == ("console", "EINVAL")


# -- namespaces and settings ------------------------------------------------------------------------------------------


def test_host_name_and_sysctls(box: Box) -> None:
    outcome = box.sh(
        "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/kernel/shmmni /proc/self/oom_score_adj",
        PROC,
        step("hostname", "inside"),
        step("domainname", "domain"),
        step("sysctl", "kernel.shmmni", "1234"),
        step("oom_score_adj", "77"),
    )
    assert outcome.out.split() == ["inside", "domain", "1234", "77"]


def test_names_of_the_host_are_safe_from_a_wrong_plan() -> None:
    plan = [step("clone3", "mnt", ""), step("hostname", "stolen"), *execve("/bin/true")]
    assert walk(plan).failed == ("hostname", "EINVAL") and os.uname().nodename != "stolen"


@pytest.mark.parametrize("kind", ["overlay", "mount", "pivot_root", "remount_ro"])
def test_nothing_is_mounted_where_the_host_could_see_it(box: Box, kind: str) -> None:
    steps = {
        "overlay": box.overlay(),
        "mount": PROC,
        "pivot_root": step("pivot_root"),
        "remount_ro": step("remount_ro"),
    }
    outcome = walk([step("clone3", "mnt", ""), steps[kind], *execve("/bin/true")])
    assert outcome.failed == (kind, "EINVAL") and "private" in outcome.detail
    outcome = walk([step("clone3", "pid", ""), step("private"), *execve("/bin/true")])
    assert outcome.failed == ("private", "EINVAL")


INNER = """
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts /dev/pts
    readlink /proc/self/ns/mnt
    exec sleep 60
"""


@pytest.fixture
def holder() -> Iterator[tuple[int, str]]:
    """Namespaces as of a container that runs: a pidfd of its pid 1, and the name of its mount namespace."""
    flags = ("--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
    process = subprocess.Popen(["unshare", *flags, "sh", "-c", INNER], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    name = process.stdout.readline().strip()
    eventually(lambda: comm(children(process.pid)[0]) == "sleep", "the container's program")
    pidfd = os.pidfd_open(int(children(process.pid)[0]))
    yield pidfd, name
    os.close(pidfd)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("mode", ["pipe", "pty"])
def test_joining_a_container(holder: tuple[int, str], mode: str) -> None:
    """An exec: the pid namespace before clone3, the others behind it; a terminal of the container's own devpts."""
    pidfd, name = holder
    script = "readlink /proc/self/ns/mnt; cat /proc/1/comm; tty; ls -1 /dev/pts"
    plan = [
        step("stdio", mode, "none", 30, 90),
        step("setns", "fd:0", "pid"),
        step("clone3", "", ""),
        step("setns", "fd:0", "mnt,uts"),
        step("session"),
        *([step("tty")] if mode == "pty" else []),
        step("workdir", "/tmp"),
        *execve("sh", "-c", script, env=("PATH=/usr/bin:/bin",)),
    ]
    lines = walk(plan, fds=[pidfd]).out.replace("\r", "").splitlines()
    assert lines[:2] == [name, "sleep"]
    assert lines[2:] == (["not a tty", "ptmx"] if mode == "pipe" else ["/dev/pts/0", "0", "ptmx"])


@pytest.fixture
def monitor(box: Box) -> Iterator[int]:
    """The driver, with a container that sleeps as another user."""
    user = [step("user", 1000, 1000, "1000"), step("capabilities", "0", "0")]
    plan = sealed(encode(box.plan(late=user, args=("/bin/sleep", "60"))))
    null = os.open("/dev/null", os.O_RDWR)
    pid = spawn_driver([str(drive()), "run"], {0: null, 1: null, 2: null, REPORT_FD: null, PLAN_FD: plan})
    eventually(lambda: any(comm(child) == "sleep" for child in children(pid)), "the program")
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(plan)
    os.close(null)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def comm(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_container_dies_with_its_monitor(monitor: int) -> None:
    """PR_SET_PDEATHSIG: a monitor that is killed leaves nobody running, whoever the program runs as."""
    pidfd = os.pidfd_open(int(children(monitor)[0]))
    os.kill(monitor, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10)[0], "the program outlives its monitor"
    os.close(pidfd)


@pytest.mark.strace
def test_who_joins_is_not_dumpable(holder: tuple[int, str], tmp_path: Path) -> None:
    """CVE-2016-9962: who is about to enter can't be traced from inside, from before the first setns or clone3 on."""
    plan = [step("setns", "fd:0", "pid"), step("clone3", "", ""), step("setns", "fd:0", "mnt"), *execve("/bin/true")]
    record = tmp_path / "record"
    argv = ["/usr/bin/strace", "-f", "-o", str(record), "-e", "trace=prctl,setns,clone3", str(drive()), "run"]
    content = sealed(encode(plan))
    read, write = os.pipe()
    os.waitpid(spawn_driver(argv, {0: read, 1: write, 2: write, 3: write, PLAN_FD: content, 6: holder[0]}), 0)
    for fd in (content, read, write):
        os.close(fd)
    calls = re.findall(r"(prctl\(PR_SET_DUMPABLE, \w+|setns|clone3)", record.read_text())
    assert calls[0] == "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE" and calls.count("setns") == 2


def test_a_whole_container_under_the_sanitizers(box: Box) -> None:
    inside = [PROC, SYS, DEV, PTS, NULL, LINK_PTMX, step("mask", "/proc/kcore"), step("readonly", "/proc/sys")]
    late = [
        step("hostname", "h"),
        step("workdir", "/srv"),
        step("bounding", "0"),
        step("user", 1000, 1000, "1000"),
        step("init"),
    ]
    outcome = box.sh("echo fine; exit 5", *inside, late=late, sanitize=True)
    assert (outcome.out, outcome.err, outcome.code) == ("fine\n", "", 5)


# -- a user namespace -------------------------------------------------------------------------------------------------


def shifted(box: Box, userns: int, *inside: Step, script: str, sanitize: bool = False) -> Outcome:
    """A start by way of the two processes of steps_userns.c, with layers that are shifted by 100000."""
    home = box.folder / "home"
    for name in ("upper", "work", "rootfs"):
        (home / name).mkdir(parents=True, exist_ok=True)
    writable = (str(home / "upper"), str(home / "work"), "")
    plan = [
        step("stdio", "pipe", "none", 0, 0, 100000, 100000),
        step("clone3", "mnt", ""),
        step("private"),
        step("overlay", str(home / "rootfs"), str(box.base), "b/diff:a/diff", *writable, "fd:0"),
        step("tree", "/dev/null", "nosuid,noexec"),
        step("userns", "fd:0", "mnt,pid,uts,ipc,net", ""),
        step("user", 0, 0, ""),
        step("session"),
        *(PROC, DEV, step("bind", "tree:0", "/dev/null", "")),
        *inside,
        step("pivot_root"),
        *execve("/bin/sh", "-c", script),
    ]
    return walk(plan, [userns], sanitize=sanitize)


@pytest.fixture
def userns() -> Iterator[int]:
    fd = shim.userns("0 100000 65536\n", "0 100000 65536\n")
    yield fd
    os.close(fd)


@pytest.mark.userns_remap
@pytest.mark.parametrize("sanitize", [False, True])
def test_a_container_in_a_user_namespace(box: Box, userns: int, sanitize: bool) -> None:
    script = "echo $$ $(id -u) $(cat /proc/self/uid_map); echo x >/made; echo y >/dev/null; mount | wc -l; exit 5"
    outcome = shifted(box, userns, script=script, sanitize=sanitize)
    assert (outcome.started, outcome.code, outcome.err) == (True, 5, ""), outcome
    assert outcome.out == "1 0 0 100000 65536\n4\n", "pid 1, root, and nothing of the host's mounts"
    assert (box.folder / "home/upper/made").stat().st_uid == 0


@pytest.mark.userns_remap
def test_a_step_that_fails_in_either_of_the_two_processes(box: Box, userns: int) -> None:
    """Both are gone afterwards: the driver reaps what is its child, and waits for nothing else."""
    assert shifted(box, userns, step("mount", "nosuchfs", "/x", "", ""), script="true").failed == ("mount", "ENODEV")
    unknown = step("bind", "tree:1", "/dev/zero", "")
    assert shifted(box, userns, unknown, script="true").failed == ("bind", "EINVAL")
    node = step("mknod", "/dev/zero", "c", 1, 5, "666", 0, 0)
    assert shifted(box, userns, node, script="true").failed == ("mknod", "EPERM"), "no device is made in there"
    (box.base / "a/diff").rename(box.base / "a/gone")
    outcome = shifted(box, userns, script="true")
    assert outcome.failed == ("overlay", "ENOENT") and "with shifted ids" in outcome.detail
