"""The plan walker: what the program is when it starts. Users, capabilities, seccomp, signals, limits, `init`, execve.

What is asserted is what the program reads in its own /proc, which is the kernel's word and not the walker's.
Read next: csrc/steps_identity.c, csrc/steps_init.c, csrc/steps_exec.c.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from minidock.runtime.plan import step
from tests.support.walker import DEV, NULL, PROC, Box, walk


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# -- identity ---------------------------------------------------------------------------------------------------------

STATUS = "cat /proc/self/status"


def status(text: str) -> dict[str, str]:
    return {line.partition(":")[0]: " ".join(line.split()[1:]) for line in text.splitlines() if ":" in line}


def test_capability_sets(box: Box) -> None:
    late = [step("bounding", "a80425fb"), step("user", 0, 0, "0"), step("capabilities", "a80425fb", "a80425fb")]
    found = status(box.sh(STATUS, PROC, late=late).out)
    assert [found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        "0" * 16,
        "00000000a80425fb",
        "00000000a80425fb",
        "00000000a80425fb",
        "0" * 16,
    ]


def test_a_user_who_is_not_root(box: Box) -> None:
    late = [step("bounding", "a80425fb"), step("user", 1000, 1001, "1001,2000"), step("capabilities", "0", "0")]
    found = status(box.sh(f"{STATUS}; echo reopened >/proc/self/fd/1", PROC, late=late).out)
    assert (found["Uid"], found["Gid"], found["Groups"]) == ("1000 1000 1000 1000", "1001 1001 1001 1001", "1001 2000")
    assert (found["CapPrm"], found["CapEff"], found["CapBnd"]) == ("0" * 16, "0" * 16, "00000000a80425fb")
    assert "reopened" in box.sh("echo reopened >/proc/self/fd/1", PROC, late=late).out


def test_no_groups_at_all(box: Box) -> None:
    assert status(box.sh(STATUS, PROC, late=[step("user", 0, 0, "")]).out)["Groups"] == ""


def test_no_new_privileges_and_a_filter(box: Box) -> None:
    # mkdir(2) answers EPERM (0x50001), everything else is allowed.
    filter_ = b"".join(
        code.to_bytes(2, "little") + bytes((jt, jf)) + k.to_bytes(4, "little")
        for code, jt, jf, k in ((0x20, 0, 0, 0), (0x15, 0, 1, 83), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000))
    )
    late = [step("no_new_privs"), step("seccomp", filter_)]
    outcome = box.sh(f"{STATUS}; mkdir /x", PROC, late=late)
    found = status(outcome.out)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2") and "Operation not permitted" in outcome.err
    control = status(box.sh(STATUS, PROC).out)
    assert (control["NoNewPrivs"], control["Seccomp"]) == ("0", "0")


def test_a_session_keyring_of_its_own(box: Box) -> None:
    # /proc/keys lists what one may view: the host's user keyrings are not reachable through the new session.
    names = [box.sh("cat /proc/keys", PROC, late=[step("keyring", "_ses.same")]).out for _ in range(2)]
    ids = [{line.split()[0] for line in text.splitlines() if "_ses.same" in line} for text in names]
    assert ids[0] and ids[1] - ids[0]  # the name is the same, the keyring is not


def test_signals_are_as_after_a_login(box: Box) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN), signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        found = status(walk(box.plan(PROC, args=("/bin/cat", "/proc/self/status"))).out)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGPIPE, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert (found["SigIgn"], found["SigBlk"], found["Umask"]) == ("0" * 16, "0" * 16, "0022")


def test_limits(box: Box) -> None:
    late = [step("rlimit", "nofile", 100, 200), step("rlimit", "core", 0, "unlimited")]
    lines = box.sh("cat /proc/self/limits", PROC, late=late).out.splitlines()
    assert [line.split()[3:5] for line in lines if line.startswith("Max open files")] == [["100", "200"]]


@pytest.mark.parametrize(("name", "soft"), [("nosuch", "1"), ("nofile", "-1"), ("nofile", "1e3"), ("nofile", "010")])
def test_bad_limits(box: Box, name: str, soft: str) -> None:
    outcome = box.sh("true", late=[step("rlimit", name, soft, soft)])
    assert outcome.failed == ("rlimit", "EINVAL")


# -- init -------------------------------------------------------------------------------------------------------------

INIT = [step("init")]


@pytest.mark.parametrize("code", [0, 1, 126, 127, 128, 255])
def test_init_passes_the_exit_code_on(box: Box, code: int) -> None:
    assert box.sh(f"exit {code}", late=INIT).code == code


def test_init_turns_a_signal_into_a_code(box: Box) -> None:
    assert box.sh("kill -TERM $$", late=INIT).code == 128 + signal.SIGTERM


def test_init_forwards_signals(box: Box) -> None:
    outcome = box.sh("trap 'echo got; exit 9' TERM; kill -TERM 1; sleep 5 & wait", DEV, NULL, late=INIT)
    assert (outcome.out, outcome.code) == ("got\n", 9)


# An orphan that ends under a pid 1 (or 2) which has become `sleep` and waits for nobody; and a look for zombies.
ORPHAN = """
    sh -c 'sleep 0.1 &'
    look() { busybox grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; }
    (for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo $(look); done) &
    exec sleep 2
"""


def test_init_reaps_orphans(box: Box) -> None:
    # Any process is a zombie for a moment, so what counts is whether there is a look without one at the end.
    assert "0" in box.sh(ORPHAN, PROC, DEV, NULL, late=INIT).out.split()[-3:]
    assert "0" not in box.sh(ORPHAN, PROC, DEV, NULL).out.split()[-3:]  # the control: without it the zombie stays


def test_pid_one_holds_nothing(box: Box) -> None:
    late = [step("bounding", "a80425fb"), step("user", 1000, 1000, "1000"), step("capabilities", "0", "0"), *INIT]
    outcome = box.sh("ls /proc/1/fd; cat /proc/1/status /proc/1/comm; cat /proc/1/environ", PROC, late=late)
    found = status(outcome.out)
    assert found["Name"] == "minidock-init" and found["Uid"].startswith("1000") and found["CapPrm"] == "0" * 16
    assert "can't open '/proc/1/fd'" in outcome.err and "/proc/1/environ" in outcome.err  # not dumpable
    as_root = status(box.sh("cat /proc/1/status", PROC, late=INIT).out)
    assert (as_root["CapEff"], as_root["FDSize"] != "") == (f"{1 << 5:016x}", True)


# -- execve and workdir -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("nosuch", "ENOENT"),
        ("/nosuch", "ENOENT"),
        ("", "ENOENT"),
        ("/etc", "EACCES"),
        ("/notes", "EACCES"),
        ("notes", "EACCES"),
        ("/text", "ENOEXEC"),
        ("/bin/sh/x", "ENOTDIR"),
    ],
)
def test_programs_that_can_not_be_run(box: Box, program: str, error: str) -> None:
    (box.image / "etc").mkdir()
    (box.image / "notes").write_text("no x bit")
    (box.image / "text").write_text("neither ELF nor #!")
    (box.image / "text").chmod(0o755)
    plan = [*box.plan(args=("x",))[:-1], step("execve", 2, program, "argument", "PATH=/nowhere:/")]
    outcome = walk(plan)
    assert outcome.failed == ("execve", error) and outcome.detail == program


def test_the_search_uses_the_containers_path(box: Box) -> None:
    (box.image / "opt").mkdir()
    (box.image / "opt/tool").write_text("#!/bin/sh\necho tool $1\n")
    (box.image / "opt/tool").chmod(0o755)
    plan = [*box.plan(args=("x",))[:-1], step("execve", 2, "tool", "here", "A=1", "PATH=/nowhere:/opt")]
    assert walk(plan).out == "tool here\n"
    plan = [*box.plan(args=("x",))[:-1], step("execve", 1, "env", "A=1", "B=two words")]
    assert walk(plan).out == "A=1\nB=two words\n"


def test_the_working_directory_is_made(box: Box) -> None:
    outcome = box.sh("readlink /proc/self/cwd; stat -c '%a %u' .", PROC, late=[step("workdir", "/srv/app/data")])
    assert outcome.out.split() == ["/srv/app/data", "755", "0"]


def test_that_of_an_exec_is_found(box: Box) -> None:
    """Seen to fail where it is made for an exec, too."""
    outcome = box.sh("true", PROC, late=[step("workdir", "/srv/app", "existing")])
    assert outcome.failed == ("workdir", "ENOENT") and not (box.upper / "srv").exists()
    assert box.sh("pwd", PROC, late=[step("workdir", "/bin", "existing")]).out == "/bin\n"
