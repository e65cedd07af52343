"""The plan walker without a monitor: plans in, what came of them out. For tests of csrc/'s steps.

``drive`` (../root/drive.c, built by csrc/Makefile) walks a plan as the monitor does and reports as JSON. ``Box`` is a
root made of busybox and two layers in a folder of the test's own, with the steps that a container needs at least; a
test adds the steps it is about. Nothing here uses a cgroup or a network: root and mount namespaces are enough.
Read next: ../root/test_walker.py, csrc/walk.c.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minidock.runtime.plan import Step, encode, step
from tests.support.busybox import BUSYBOX
from tests.support.sources import TOP

NOT_REACHED = 0xFFFFFFFF
REPORT_FD, PLAN_FD, FIRST_EXTRA_FD = 3, 4, 6
APPLETS = "sh cat ls echo id mount umount ps kill sleep stat readlink touch mkdir true false test tty stty wc head env"


@cache
def drive(sanitize: bool = False) -> Path:
    """The driver, compiled; under AddressSanitizer and UBSan if asked."""
    arguments = ["SAN=1"] if sanitize else []
    subprocess.run(["make", "-s", "-C", str(TOP / "csrc"), "drive", *arguments], check=True, timeout=300)
    return TOP / "csrc" / "build" / ("san/drive" if sanitize else "drive")


@dataclass(frozen=True)
class Outcome:
    """What came of a plan. ``error`` is the errno's name of the step that failed, "" if none did."""

    steps: tuple[str, ...]
    started: bool
    status: int
    failed_step: int
    error: str
    detail: str
    errors: tuple[int, ...]
    usec: tuple[int, ...]
    out: str
    err: str

    @property
    def code(self) -> int:
        """As the monitor reports it: the exit status, or 128 and the signal."""
        return self.status >> 8 if self.status & 0x7F == 0 else 128 + (self.status & 0x7F)

    @property
    def failed(self) -> tuple[str, str]:
        """(kind of the step, errno's name), ("", "") if none failed."""
        return ("", "") if self.started else (self.steps[self.failed_step], self.error)


def sealed(content: bytes, seals: int | None = None) -> int:
    fd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    return fd if seals == 0 else _seal(fd)


def _seal(fd: int) -> int:
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def walk(
    plan: Sequence[Step] | bytes,
    fds: Iterable[int] = (),
    stdin: bytes = b"",
    *,
    sanitize: bool = False,
    seals: int | None = None,
) -> Outcome:
    """Walks the plan to its end and the container to its own, and gives what both left behind."""
    content = plan if isinstance(plan, bytes) else encode(plan)
    kinds = () if isinstance(plan, bytes) else tuple(one.kind for one in plan)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    wanted = {REPORT_FD: report_write, PLAN_FD: sealed(content, seals)}
    wanted |= {FIRST_EXTRA_FD + i: fd for i, fd in enumerate(fds)}
    argv = [str(drive(sanitize)), "run"]
    out, err = run_driver(argv, wanted, stdin)
    os.close(report_write)
    os.close(wanted[PLAN_FD])
    with open(report_read) as file:
        said = json.load(file)
    results = said["results"]
    return Outcome(
        steps=kinds,
        started=said["started"],
        status=said["status"],
        failed_step=said["failed_step"],
        error=errno.errorcode.get(said["errno"], ""),
        detail=said["detail"],
        errors=tuple(error for error, _ in results),
        usec=tuple(usec for _, usec in results),
        out=out,
        err=err,
    )


def spawn_driver(argv: list[str], wanted: dict[int, int]) -> int:
    """Runs the driver with exactly these fds (number there: fd here); gives its pid. pass_fds can't renumber."""
    lifted = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for number, fd in wanted.items()}
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in lifted.items()]
    pid = os.posix_spawn(argv[0], argv, {"PATH": os.environ["PATH"], **_sanitizer_options()}, file_actions=actions)
    for fd in lifted.values():
        os.close(fd)
    return pid


def run_driver(argv: list[str], wanted: dict[int, int], stdin: bytes) -> tuple[str, str]:
    """The same to its end; gives what it wrote to stdout and stderr."""
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    pid = spawn_driver(argv, {0: pipes[0][0], 1: pipes[1][1], 2: pipes[2][1], **wanted})
    for fd in (pipes[0][0], pipes[1][1], pipes[2][1]):
        os.close(fd)
    with open(pipes[0][1], "wb") as file:
        file.write(stdin)
    with open(pipes[1][0], "rb") as out, open(pipes[2][0], "rb") as err:
        texts = out.read(), err.read()
    os.waitpid(pid, 0)
    return texts[0].decode(errors="replace"), texts[1].decode(errors="replace")


def _sanitizer_options() -> dict[str, str]:
    # Leaks are not looked for: that takes ptrace, which a process that is not dumpable refuses.
    return {"ASAN_OPTIONS": "detect_leaks=0"}


class Box:
    """A root of two layers: busybox below, the test's own files (``image``) above; and the plans to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "layers"
        self.image = self.base / "b" / "diff"
        self.target = folder / "rootfs"
        self.upper = folder / "upper"
        for path in (self.base / "a/diff/bin", self.image, self.target, self.upper, folder / "work"):
            path.mkdir(parents=True)
        shutil.copy2(BUSYBOX, self.base / "a/diff/bin/busybox")
        for name in APPLETS.split():
            (self.base / "a/diff/bin" / name).symlink_to("busybox")

    def root(self, options: str = "") -> tuple[Step, ...]:
        """clone3 to overlay: what any plan of a container begins with."""
        return (
            step("clone3", "mnt,pid,uts,ipc", ""),
            step("session"),
            step("private"),
            self.overlay(options),
        )

    def overlay(self, options: str = "") -> Step:
        work = str(self.folder / "work")
        return step("overlay", str(self.target), str(self.base), "b/diff:a/diff", str(self.upper), work, options)

    def plan(
        self, *inside: Step, late: Sequence[Step] = (), stdio: Step | None = None, args: Sequence[str]
    ) -> list[Step]:
        """A whole plan: ``inside`` before pivot_root, ``late`` after it."""
        stdio = stdio or step("stdio", "pipe", "none", 0, 0)
        return [stdio, *self.root(), *inside, step("pivot_root"), *late, *execve(*args)]

    def sh(self, script: str, *inside: Step, late: Sequence[Step] = (), sanitize: bool = False) -> Outcome:
        """Runs a shell script in it."""
        return walk(self.plan(*inside, late=late, args=("/bin/sh", "-c", script)), sanitize=sanitize)


PROC = step("mount", "proc", "/proc", "nosuid,nodev,noexec", "")
SYS = step("mount", "sysfs", "/sys", "ro,nosuid,nodev,noexec", "")
DEV = step("mount", "tmpfs", "/dev", "nosuid,strictatime", "mode=755,size=65536k")
PTS = step("mount", "devpts", "/dev/pts", "nosuid,noexec", "newinstance,ptmxmode=0666,mode=0620,gid=5")
NULL = step("mknod", "/dev/null", "c", 1, 3, "666", 0, 0)
LINK_PTMX = step("symlink", "pts/ptmx", "/dev/ptmx")


def execve(*args: str, env: Sequence[str] = ("PATH=/bin",)) -> tuple[Step, ...]:
    return step("signals"), step("close_fds"), step("execve", len(args), *args, *env)
