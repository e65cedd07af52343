"""The plan walker against images that want out: links in place of directories, look-alikes of devices, fds left open.

Most tests have a place on the "host" (a folder beside the root) that must be as it was afterwards; the docstring says
which known hole it is and what a runtime with that hole does.
Read next: csrc/path.c, csrc/step.c, csrc/steps_tty.c.

Variants that each was seen to fail on: path_open() without RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS (rows 2, 4, 5, 7,
8, 9 of docs/security.md); `rootfs` without O_NOFOLLOW (6); walk_null() without a look at the device's number (7); the
terminal's directory not asked for devpts (8); sysctls without RESOLVE_NO_XDEV (10); a dumpable reaper (3).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minidock.runtime.plan import Step, step
from tests.support.walker import DEV, LINK_PTMX, NULL, PROC, PTS, SYS, Box, execve, walk


class Victim:
    """A folder of the host with a file in it; ``untouched`` tells whether anything in or on it changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "file").write_text("host\n")
        self.before = self.look()

    def look(self) -> list[tuple[str, int, int, int, bytes]]:
        found = []
        for path in sorted([self.folder, *self.folder.rglob("*")]):
            st = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path), st.st_mode, st.st_uid, st.st_rdev, content))
        return found

    @property
    def untouched(self) -> bool:
        return self.look() == self.before


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path / "victim")


def links(victim: Victim) -> list[str]:
    """Ways to spell the victim in a link: absolute, and up and out. Both must end in the container's own tree."""
    return [str(victim.folder), "../../../../../../../../../.." + str(victim.folder)]


def test_the_look_can_fail(victim: Victim) -> None:
    (victim.folder / "file").write_text("changed\n")
    assert not victim.untouched


# -- the way to a mount point -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [0, 1])
def test_a_mount_point_behind_a_link(box: Box, victim: Victim, tmp_path: Path, way: int) -> None:
    """CVE-2021-30465: a runtime that joins rootfs and target as text mounts over, or makes directories in, the host."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "inside").write_text("")
    (box.image / "link").symlink_to(links(victim)[way])
    for one in (
        step("bind", str(data), "/link/new/deep", "rec"),
        step("mount", "tmpfs", "/link/tmp", "", ""),
        step("mkdir", "/link/made", "777", 5, 5),
        step("mknod", "/link/node", "c", 1, 3, "666", 0, 0),
        step("symlink", "x", "/link/sym"),
    ):
        outcome = box.sh(f"ls -d {victim.folder}/*", one)
        assert outcome.started and outcome.out.startswith(str(victim.folder)), outcome
        assert victim.untouched


def test_a_working_directory_behind_a_link(box: Box, victim: Victim) -> None:
    """CVE-2024-45310: WORKDIR with a link component made directories on the host."""
    (box.image / "srv").symlink_to(victim.folder)
    outcome = box.sh("pwd -P", late=[step("workdir", "/srv/app")])
    assert outcome.out.strip() == f"{victim.folder}/app" and victim.untouched


def test_links_that_go_in_circles(box: Box) -> None:
    (box.image / "a").symlink_to("b")
    (box.image / "b").symlink_to("a")
    for one in (step("mkdir", "/a/x", "755", 0, 0), step("mount", "tmpfs", "/a", "", "")):
        assert box.sh("true", one).failed == (one.kind, "ELOOP")


@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
def test_proc_and_sys_as_links(box: Box, victim: Victim, fstype: str) -> None:
    """CVE-2019-19921: with /proc elsewhere, masks and labels are written to files that the image chose."""
    target = {"proc": "/proc", "sysfs": "/sys"}[fstype]
    (box.image / target[1:]).symlink_to(victim.folder)
    outcome = box.sh("true", step("mount", fstype, target, "", ""))
    assert outcome.failed[0] == "mount" and outcome.failed[1] in ("ELOOP", "ENOTDIR")
    assert "plain directory" in outcome.detail and victim.untouched


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self", "/alias/sys/kernel", "/proc/self/task"])
def test_volumes_over_proc(box: Box, tmp_path: Path, target: str) -> None:
    """CVE-2019-16884: a volume on /proc makes every later write to "/proc" a write to the volume."""
    (box.image / "alias").symlink_to("proc")
    data = tmp_path / "data"
    data.mkdir()
    outcome = box.sh("true", PROC, step("bind", str(data), target, "rec"))
    assert outcome.failed == ("bind", "EPERM"), outcome
    assert box.sh("true", step("mount", "tmpfs", "/proc", "", "")).failed == ("mount", "EPERM")


def test_the_files_of_proc_that_may_be_covered(box: Box, tmp_path: Path) -> None:
    """As lxcfs does; the control of the test above."""
    file = tmp_path / "cpuinfo"
    file.write_text("one cpu\n")
    assert box.sh("cat /proc/cpuinfo", PROC, step("bind", str(file), "/proc/cpuinfo", "ro")).out == "one cpu\n"


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [0, 1])
def test_dev_as_a_link(box: Box, victim: Victim, way: int) -> None:
    """CVE-2026-41579: runc 1.1.5 replaced a host file `ptmx` and left fd, stdin, stdout, stderr beside it."""
    (victim.folder / "ptmx").write_text("host\n")
    victim.before = victim.look()
    (box.image / "dev").symlink_to(links(victim)[way])
    std = [step("symlink", f"/proc/self/fd/{n}", f"/dev/std{name}") for n, name in enumerate(("in", "out", "err"))]
    console = step("console")
    stdio = step("stdio", "pty", "none", 24, 80)
    plan = box.plan(PROC, DEV, PTS, NULL, LINK_PTMX, *std, console, stdio=stdio, args=("/bin/ls", "/dev/"))
    outcome = walk(plan)
    assert outcome.started and "stdin" in outcome.out and victim.untouched
    without_mount = box.sh("ls /dev/", LINK_PTMX, NULL, *std)
    assert "ptmx" in without_mount.out and victim.untouched


@pytest.mark.parametrize("fake", ["link", "file", "other device", "fifo"])
def test_a_false_null_device(box: Box, victim: Victim, fake: str) -> None:
    """CVE-2025-31133: the mask over /proc/timer_list becomes a writable bind of whatever /dev/null leads to."""
    null = box.image / "dev/null"
    null.parent.mkdir()
    if fake == "link":
        null.symlink_to(victim.folder / "file")
    elif fake == "file":
        null.write_text("")
    elif fake == "fifo":
        os.mkfifo(null)
    else:
        os.mknod(null, 0o020666, os.makedev(1, 5))
    assert box.sh("true", PROC, step("mask", "/proc/timer_list")).failed == ("mask", "EINVAL")
    assert box.sh("true", NULL).failed == ("mknod", "EEXIST")
    reading = box.sh("cat; readlink /proc/self/fd/0", PROC)  # and stdin does not become the false one
    assert reading.out.startswith("pipe:") and victim.untouched


def test_a_console_that_is_a_link(box: Box, victim: Victim) -> None:
    """CVE-2025-52565: the bind on /dev/console lands where a link in the image leads."""
    (box.image / "dev").mkdir()
    (box.image / "dev/console").symlink_to(victim.folder / "file")
    stdio = step("stdio", "pty", "none", 0, 0)
    outcome = walk(box.plan(PTS, step("console"), stdio=stdio, args=("/bin/true",)))
    assert outcome.failed == ("console", "ELOOP") and victim.untouched


@pytest.mark.parametrize("hostile", ["nothing", "plain folder", "link to a folder"])
def test_a_false_devpts(box: Box, victim: Victim, hostile: str) -> None:
    if hostile != "nothing":
        (box.image / "dev/pts" if hostile == "plain folder" else box.image / "dev").mkdir(parents=True)
    if hostile == "link to a folder":
        (box.image / "dev/pts").symlink_to("/tmp")
        (box.image / "tmp").mkdir()
        os.mknod(box.image / "tmp/ptmx", 0o020666, os.makedev(5, 2))
    stdio = step("stdio", "pty", "none", 0, 0)
    outcome = walk(box.plan(step("console"), stdio=stdio, args=("/bin/true",)))
    assert outcome.failed == ("console", "ENOENT" if hostile == "nothing" else "EINVAL")
    assert "/dev/pts" in outcome.detail


# -- the root itself --------------------------------------------------------------------------------------------------


def test_a_root_that_is_a_link(box: Box, tmp_path: Path) -> None:
    """CVE-2019-18837: an image directory that points at the host's "/"."""
    (tmp_path / "fake").symlink_to("/")
    head = [step("clone3", "mnt", ""), step("private"), step("rootfs", str(tmp_path / "fake"), "0")]
    assert walk([*head, *execve("/bin/true")]).failed == ("rootfs", "ENOTDIR")


# -- processes and fds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/proc/self/fd/6", "/proc/1/fd/6", "/proc/self/fd/6/deeper", "/link"])
def test_a_leaked_directory_is_no_way_out(box: Box, victim: Victim, path: str) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/N into a host directory that the runtime had left open."""
    (box.image / "link").symlink_to("/proc/self/fd/6")
    host = os.open(victim.folder, os.O_RDONLY | os.O_DIRECTORY)
    outcome = walk(box.plan(PROC, late=[step("workdir", path)], args=("/bin/ls", ".")), fds=[host])
    os.close(host)
    assert outcome.failed == ("workdir", "ELOOP") and victim.untouched


def test_what_has_not_reached_execve_can_not_be_looked_into(box: Box) -> None:
    """CVE-2016-9962: a process of the container traces the one that joins it, or reads its fds, before execve.

    The reaper of `init` is such a process for ever, with the same user and no more capabilities than its watcher.
    """
    script = "cat /proc/$1/environ /proc/$1/maps; ls /proc/$1/fd"
    outcome = box.sh(
        f"set -- 1; {script}",
        PROC,
        late=[step("bounding", "a80425fb"), step("capabilities", "a80425fb", "a80425fb"), step("init")],
    )
    assert outcome.err.count("Permission denied") >= 2 and not outcome.out
    control = box.sh("ls /proc/1/fd", PROC, late=[step("bounding", "a80425fb"), step("capabilities", "0", "0")])
    assert control.out.split()  # the program itself, after execve, may be looked at


def test_sysctls_do_not_follow_what_is_mounted_on_the_way(box: Box) -> None:
    """CVE-2025-52881: the write is redirected by a mount on the way; here the way is a procfs of our own, or none."""
    before = Path("/proc/sys/kernel/shmmni").read_text()
    closed = step("readonly", "/proc/sys")
    outcome = box.sh("true", PROC, closed, step("sysctl", "kernel.shmmni", "77"))
    assert outcome.failed == ("sysctl", "EXDEV")
    no_proc: list[Step] = [SYS, step("sysctl", "kernel.shmmni", "77"), PROC]
    assert box.sh("cat /proc/sys/kernel/shmmni", *no_proc).out == "77\n"
    assert Path("/proc/sys/kernel/shmmni").read_text() == before
