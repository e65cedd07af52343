"""The doctor on a machine that has every controller that containers need: nothing to complain about."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.linux import doctor_cgroup

CONTROLLERS = doctor_cgroup.CONTROLLERS.keys()


@pytest.mark.cgroup("memory", "cpu", "pids", "cpuset", "io")
def test_a_full_cgroup_v2_is_well() -> None:
    found = doctor_cgroup.checks()
    assert [check.name for check in found] == ["cgroup v2", *(f"cgroup {name}" for name in CONTROLLERS)]
    lacking = CONTROLLERS - set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())  # hugetlb, at most
    assert {check.name for check in found if check.status != "ok"} == {f"cgroup {name}" for name in lacking}, found
