"""The plan walker: steps that fail. Which step, which errno, what it was about, and that nothing goes on behind it.

The daemon makes its messages of these three, so each must name the path or argument at fault. Read next: csrc/report.c.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.runtime.plan import step
from tests.support.walker import DEV, NOT_REACHED, PROC, Box, execve, walk


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failing_step_is_named_and_the_rest_is_not_reached(box: Box) -> None:
    outcome = box.sh("true", PROC, step("mount", "nosuchfs", "/x", "", ""), DEV)
    assert outcome.failed == ("mount", "ENODEV") and outcome.detail == "nosuchfs"
    assert outcome.errors[outcome.failed_step + 1 :] == (NOT_REACHED,) * (len(outcome.errors) - outcome.failed_step - 1)
    assert set(outcome.errors[: outcome.failed_step]) == {0}


@pytest.mark.parametrize(
    ("bad", "error", "detail"),
    [
        (step("mount", "tmpfs", "/x", "nosiud", ""), "EINVAL", "unknown mount flag: nosiud"),
        (step("mount", "tmpfs", "/x", "", "nosuch=1"), "EINVAL", "tmpfs option nosuch"),
        (step("mount", "tmpfs", "/", "", ""), "EINVAL", "/ is the root itself"),
        (step("bind", "/nosuch/source", "/x", ""), "ENOENT", "/nosuch/source"),
        (step("bind", "/etc/passwd", "/bin", ""), "EISDIR", "/bin"),
        (step("bind", "/etc", "/bin/busybox", ""), "ENOTDIR", "/bin/busybox"),
        (step("sysctl", "kernel.no_such", "1"), "ENOENT", "/proc/sys/kernel/no_such"),
        (step("sysctl", "net/../../1/oom_score_adj", "1"), "EINVAL", "not a sysctl name"),
        (step("oom_score_adj", "1001"), "ERANGE", "not a score"),
        (step("mknod", "/n", "x", 0, 0, "600", 0, 0), "EINVAL", "unknown node type: x"),
        (step("mknod", "/n", "p", 0, 0, "0o600", 0, 0), "EINVAL", "not an octal mode"),
        (step("mkdir", "/bin/busybox/x", "755", 0, 0), "ENOTDIR", "/bin/busybox/x"),
        (step("mkdir", "/x", "755", -1, 0), "EINVAL", "not a number in range: -1"),
        (step("user", 4294967295, 0, ""), "ERANGE", "4294967295"),
        (step("user", 0, 0, "1,,2"), "EINVAL", "malformed list of groups"),
        (step("capabilities", "xyz", "0"), "EINVAL", "not a hexadecimal mask"),
        (step("seccomp", b"1234567"), "EINVAL", "not a list of"),
        (step("hostname", "h" * 65), "EINVAL", "hhh"),
        (step("workdir", "relative"), "EINVAL", "not an absolute path"),
        (step("setns", "fd:900", "net"), "EBADF", "fd:900 net"),
        (step("setns", "7", "net"), "EINVAL", "fd:N"),
        (step("unshare", "mnt"), "EINVAL", "mnt"),
        (step("userns", "fd:900", "pid", ""), "EBADF", "fd:900"),
        (step("userns", "fd:900", "pid", "/no/such/cgroup"), "ENOENT", "/no/such/cgroup"),
        (step("tree", "/no/such", ""), "ENOENT", "/no/such"),
        (step("tree", "/etc", "", "", "fd:900"), "EBADF", "/etc with shifted ids"),
        (step("bind", "tree:0", "/x", ""), "EINVAL", "tree:0: no `tree` step opened it"),
        (step("tty"), "EINVAL", "stdio is not a pty"),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_errors_name_what_they_are_about(box: Box, bad: object, error: str, detail: str) -> None:
    outcome = box.sh("true", bad)  # type: ignore[arg-type]
    assert (outcome.failed[1], outcome.started) == (error, False)
    assert detail in outcome.detail


def test_errors_of_the_monitors_own_steps(tmp_path: Path) -> None:
    tail = (step("clone3", "", ""), *execve("/bin/true"))
    missing = str(tmp_path / "no/such")
    assert walk([step("log", missing, 0, 1), *tail]).failed == ("log", "ENOENT")
    assert walk([step("devices", missing, b""), *tail]).failed == ("devices", "ENOENT")
    outcome = walk([step("clone3", "", missing), *execve("/bin/true")])
    assert outcome.failed == ("clone3", "ENOENT") and outcome.detail == missing
    assert walk([step("clone3", "pid,nosuch", ""), *execve("/bin/true")]).detail == "unknown namespace: nosuch"


def test_a_child_that_dies_on_the_way_is_blamed_on_the_step(box: Box) -> None:
    # A filter that kills at the next system call: the process can't say anything any more.
    kill_all = (6).to_bytes(2, "little") + bytes(2) + (0x80000000).to_bytes(4, "little")
    outcome = box.sh("true", late=[step("seccomp", kill_all)])
    assert outcome.failed == ("seccomp", "EIO") or outcome.failed == ("signals", "EIO")
    assert "killed by signal 31" in outcome.detail


@pytest.mark.parametrize("seals", [0])
def test_a_plan_that_is_not_sealed_is_refused(seals: int) -> None:
    outcome = walk([step("clone3", "", ""), *execve("/bin/true")], seals=seals)
    assert not outcome.started and outcome.error == "EINVAL" and "sealed" in outcome.detail
