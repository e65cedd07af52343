"""The plan walker and cgroup v2: born inside, seen as "/", and with device rules that hold.

Needs a cgroup v2 tree to make a directory in, but no controller: a hybrid layout does. Read next: csrc/steps_devices.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.runtime.device_bpf import compile_rules
from minidock.runtime.devices import DEFAULT_RULES
from minidock.runtime.plan import Step, step
from tests.support.needs import cgroup2_mount
from tests.support.walker import DEV, NULL, PROC, Box, execve, walk

pytestmark = pytest.mark.cgroup2


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    mount = cgroup2_mount()
    assert mount
    path = mount / f"minidock-walker-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()  # fails if a process is left in it


def plan(box: Box, cgroup: Path, *inside: Step, before: tuple[Step, ...] = (), script: str) -> list[Step]:
    head = (step("stdio", "pipe", "none", 0, 0), *before, step("clone3", "mnt,pid", str(cgroup)))
    middle = (step("private"), box.overlay(), PROC, DEV, NULL, *inside, step("pivot_root"))
    return [*head, *middle, *execve("/bin/sh", "-c", script)]


def test_born_in_its_cgroup(box: Box, cgroup: Path) -> None:
    outcome = walk(plan(box, cgroup, script="cat /proc/self/cgroup"))
    assert f"0::/{cgroup.name}\n" in outcome.out


def test_its_cgroup_is_the_root_of_what_it_sees(box: Box, cgroup: Path) -> None:
    mount = step("mount", "cgroup2", "/sys/fs/cgroup", "ro,nosuid,nodev,noexec", "")
    script = "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x"
    outcome = walk(plan(box, cgroup, step("unshare", "cgroup"), mount, script=script))
    lines = outcome.out.splitlines()
    assert "0::/" in lines and "1" in lines and "Read-only file system" in outcome.err


def test_device_rules_hold(box: Box, cgroup: Path) -> None:
    rules = step("devices", str(cgroup), compile_rules(DEFAULT_RULES))
    nodes = [step("mknod", "/dev/zero", "c", 1, 5, "666", 0, 0), step("mknod", "/dev/kmsg", "c", 1, 11, "666", 0, 0)]
    look = ": </dev/zero && echo zero; : </dev/kmsg && echo kmsg"
    assert walk(plan(box, cgroup, *nodes, script=look)).out == "zero\nkmsg\n"  # the control: without rules
    outcome = walk(plan(box, cgroup, *nodes, before=(rules,), script=look))
    assert outcome.out == "zero\n" and "can't open /dev/kmsg: Operation not permitted" in outcome.err


def test_a_program_that_the_kernel_refuses(box: Box, cgroup: Path) -> None:
    outcome = walk(plan(box, cgroup, before=(step("devices", str(cgroup), bytes(8)),), script="true"))
    assert outcome.failed == ("devices", "EINVAL") and "refuses" in outcome.detail
    outcome = walk(plan(box, cgroup, before=(step("devices", str(cgroup), bytes(7)),), script="true"))
    assert outcome.failed == ("devices", "EINVAL") and "not a list" in outcome.detail
