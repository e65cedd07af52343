"""Docker's limits as cgroup files: values, order, warnings by name, and Docker's refusals in Docker's words."""

from __future__ import annotations

import pytest

from minidock.cgroup.limits import (
    Limits,
    check,
    check_available,
    check_page_sizes,
    cpu_list,
    settings,
    warnings,
    weight,
)
from minidock.wire.errors import InvalidArgument

MIB = 1 << 20
OOM = {"memory.oom.group": "1"}


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(), {}),
        (Limits(memory=0, memory_swap=0, cpu_shares=0, cpuset_cpus=""), {}),
        (Limits(memory=64 * MIB), {**OOM, "memory.max": str(64 * MIB), "memory.swap.max": str(64 * MIB)}),
        (
            Limits(memory=64 * MIB, memory_swap=96 * MIB),
            {**OOM, "memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB)},
        ),
        (Limits(memory=64 * MIB, memory_swap=64 * MIB), {**OOM, "memory.max": str(64 * MIB), "memory.swap.max": "0"}),
        (Limits(memory=64 * MIB, memory_swap=-1), {**OOM, "memory.max": str(64 * MIB), "memory.swap.max": "max"}),
        (Limits(memory_reservation=32 * MIB), {"memory.low": str(32 * MIB)}),
        (Limits(nano_cpus=1_500_000_000), {"cpu.max": "150000 100000"}),
        (Limits(nano_cpus=10_000_000), {"cpu.max": "1000 100000"}),
        (Limits(cpu_quota=20000, cpu_period=50000), {"cpu.max": "20000 50000"}),
        (Limits(cpu_quota=20000), {"cpu.max": "20000 100000"}),
        (Limits(cpu_quota=-1), {"cpu.max": "max 100000"}),
        (Limits(cpu_shares=1024), {"cpu.weight": "100"}),
        (Limits(cpuset_cpus="0-1", cpuset_mems="0"), {"cpuset.cpus": "0-1", "cpuset.mems": "0"}),
        (Limits(pids_limit=100), {"pids.max": "100"}),
        (Limits(pids_limit=-1), {"pids.max": "max"}),
        (Limits(pids_limit=0), {"pids.max": "max"}),
        (Limits(io_weight=10), {"io.weight": "default 1"}),
        (Limits(io_weight=1000), {"io.weight": "default 10000"}),
        (Limits(io_max=("8:0 rbps=1",)), {"io.max": "8:0 rbps=1"}),
        (
            Limits(hugepages=(("2MB", 4 * MIB), ("1GB", 0))),
            {
                "hugetlb.2MB.rsvd.max": "4194304",
                "hugetlb.2MB.max": "4194304",
                "hugetlb.1GB.rsvd.max": "0",
                "hugetlb.1GB.max": "0",
            },
        ),
        (Limits(hugepages=(("2MB", -1),)), {"hugetlb.2MB.rsvd.max": "max", "hugetlb.2MB.max": "max"}),
    ],
)
def test_files_and_values(limits: Limits, files: dict[str, str]) -> None:
    assert {setting.file: setting.value for setting in settings(limits)} == files


@pytest.mark.parametrize(
    ("shares", "expected"),
    # The three fixed points, the ends.
    [
        (1, 1),
        (2, 1),
        (3, 2),
        (1023, 100),
        (1024, 100),
        (1025, 101),
        (2048, 174),
        (262143, 10000),
        (262144, 10000),
        (300000, 10000),
    ],
)
def test_shares_become_weights(shares: int, expected: int) -> None:
    assert weight(shares) == expected


def test_weights_never_fall_as_shares_rise() -> None:
    weights = [weight(shares) for shares in range(2, 262145, 37)]
    assert weights == sorted(weights)


def warn(limits: Limits, files: set[str]) -> list[str]:
    return warnings(limits, lambda file: file in files, lambda file: f"no {file.partition('.')[0]} here")


def test_a_missing_controller_is_named() -> None:
    assert warn(Limits(memory=64 * MIB), {"cpu.max"}) == [
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. "
        "Limitation discarded (no memory here; see minidock doctor).",
    ]
    assert warn(Limits(memory=64 * MIB), {"memory.max", *OOM}) == [
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap (no memory here; see minidock doctor).",
    ]


def test_no_warning_where_the_files_are_or_nothing_is_limited() -> None:
    assert warn(Limits(memory=64 * MIB), {"memory.max", "memory.swap.max", *OOM}) == []
    assert warn(Limits(pids_limit=-1, cpu_quota=-1), set()) == []


def test_huge_pages_are_of_a_size_that_the_kernel_has_and_without_the_controller_there_is_a_warning() -> None:
    files = {f"hugetlb.{size}.{kind}" for size in ("2MB", "1GB") for kind in ("max", "rsvd.max", "current")}
    wanted = Limits(hugepages=(("2MB", 4 * MIB),))
    check_page_sizes(wanted.hugepages, files)
    assert warn(wanted, files) == []
    with pytest.raises(InvalidArgument, match="no huge pages of 64KB; hint: it has 1GB, 2MB"):
        check_page_sizes((("64KB", 0),), files)
    check_page_sizes((("64KB", 0),), {"memory.max"})
    assert warn(wanted, {"memory.max"}) == [
        "Your kernel does not support hugetlb limits or the cgroup is not mounted. "
        "Limit of huge pages discarded (no hugetlb here; see minidock doctor).",
    ]
    assert warn(Limits(hugepages=(("2MB", -1),)), set()) == []


def test_each_limit_warns_once() -> None:
    everything = Limits(64 * MIB, 64 * MIB, 32 * MIB, 10**9, 512, None, None, "0", "0", 10)
    lines = warn(everything, set())
    assert len(lines) == 6  # memory, reservation, quota, shares, pids, and both halves of cpuset in one
    assert len(set(lines)) == 6


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(memory=6 * MIB - 1), "Minimum memory limit allowed is 6MB"),
        (Limits(memory=-1), "Minimum memory limit allowed is 6MB"),
        (Limits(memory_reservation=-1), "Minimum memory reservation allowed is 6MB"),
        (Limits(memory_swap=64 * MIB), "You should always set the Memory limit"),
        (Limits(memory=64 * MIB, memory_swap=32 * MIB), "Minimum memoryswap limit should be larger"),
        (Limits(memory=64 * MIB, memory_reservation=65 * MIB), "can not be less than memory reservation"),
        (Limits(memory_reservation=1), "Minimum memory reservation"),
        (Limits(nano_cpus=10**9, cpu_period=50000), "Conflicting options"),
        (Limits(nano_cpus=2 * 10**9 + 1), "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs"),
        (Limits(nano_cpus=9_999_999), "Range of CPUs"),
        (Limits(nano_cpus=-1), "Range of CPUs"),
        (Limits(cpu_period=999), "CPU cfs period"),
        (Limits(cpu_period=1_000_001), "CPU cfs period"),
        (Limits(cpu_quota=999), "CPU cfs quota"),
        (Limits(cpu_shares=-1), "invalid CPU shares"),
        (Limits(cpuset_cpus="0;1"), "Invalid value 0;1 for cpuset-cpus"),
        (Limits(cpuset_mems="0\n1"), "for cpuset-mems"),
        (Limits(cpuset_cpus="٣"), "for cpuset-cpus"),
        (Limits(hugepages=(("2M", 0),)), "invalid size of huge pages: '2M'"),
        (Limits(hugepages=(("../2MB", 0),)), "invalid size of huge pages"),
        (Limits(hugepages=(("2MB", -2),)), "invalid limit of huge pages of 2MB: -2"),
        (Limits(hugepages=(("2MB", 0), ("2MB", 1))), "huge pages of 2MB are limited twice"),
    ],
)
def test_refusals(limits: Limits, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        check(limits, cpus=2)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(memory=6 * MIB, memory_swap=-1, memory_reservation=6 * MIB),
        Limits(nano_cpus=2 * 10**9, cpuset_cpus="0-1,3", cpu_shares=2),
        Limits(cpu_quota=1000, cpu_period=1000, pids_limit=-1),
    ],
)
def test_what_is_allowed(limits: Limits) -> None:
    check(limits, cpus=2)


def test_cpu_lists() -> None:
    assert cpu_list("0-2,5\n") == {0, 1, 2, 5}
    assert cpu_list("\n") == frozenset()
    check_available("CPUs", "0-1", "0-3\n")
    check_available("CPUs", None, "\n")
    with pytest.raises(InvalidArgument, match="Requested CPUs are not available - requested 0,4, available: 0-3"):
        check_available("CPUs", "0,4", "0-3\n")
