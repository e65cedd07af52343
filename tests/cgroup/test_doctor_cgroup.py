"""The doctor on a machine that has every controller: nothing to complain about."""

from __future__ import annotations

import pytest

from minidock.linux import doctor_cgroup


@pytest.mark.cgroup("memory", "cpu", "pids", "cpuset", "io")
def test_a_full_cgroup_v2_is_well() -> None:
    found = doctor_cgroup.checks()
    assert [check.name for check in found] == ["cgroup v2", *(f"cgroup {name}" for name in doctor_cgroup.CONTROLLERS)]
    assert {check.status for check in found} == {"ok"}, found
