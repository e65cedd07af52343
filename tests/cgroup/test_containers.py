"""Limits of real containers, by a real daemon: what is asked for is enforced, told, and seen from inside and outside.

In the machine of MINIDOCK_VM a system call takes ten times as long as elsewhere: few containers, no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import probe
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.needs import cgroup2_mount
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.cgroup("memory", "cpu", "cpuset", "pids", "io")]

MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def image(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon.cli.ok("import", "-", "probe", stdin=probe.archive(tmp_path_factory.mktemp("probe")))


Start = Callable[..., str]


@pytest.fixture
def start(minidock: Cli) -> Iterator[Start]:
    """Starts the probe in the background with some options and a verb; removed after the test."""
    idents: list[str] = []

    def start(*options: str, verb: tuple[str, ...] = ("pause",)) -> str:
        idents.append(minidock.ok("run", "-d", "--network", "none", *options, "probe", "/probe", *verb))
        return idents[-1]

    yield start
    for ident in idents:
        minidock.ok("rm", "-f", ident)


def cgroup(daemon: Daemon, ident: str) -> Path:
    (base,) = daemon.cgroups()
    return base / ident


def inspected(minidock: Cli, ident: str) -> Any:
    return json.loads(minidock.ok("inspect", ident))[0]


@pytest.mark.docker_cli
def test_more_memory_than_allowed_is_death_for_all_and_is_told(daemon: Daemon, minidock: Cli, start: Start) -> None:
    """memory.oom.group: the kernel takes the whole container, no half of it runs on. 64 MiB in 128 is the control."""
    fine = start("-m", "128m", verb=("alloc", "64"))
    assert minidock.ok("wait", fine) == "0"
    assert inspected(minidock, fine)["State"]["OOMKilled"] is False
    ident = start("-m", "32m")
    assert (cgroup(daemon, ident) / "memory.oom.group").read_text() == "1\n"
    assert (cgroup(daemon, ident) / "memory.max").read_text() == f"{32 * MIB}\n"
    minidock("exec", ident, "/probe", "alloc", "64")
    assert minidock.ok("wait", ident) == "137", "the process that asked for nothing went, too"
    state = inspected(minidock, ident)["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 137, True)
    past = ("--since", "1", "--until", str(int(time.time()) + 1))
    events = daemon.docker.ok("events", *past, "-f", f"container={ident}", "--format", "{{.Action}}").splitlines()
    assert events.index("oom") < events.index("die")


FORK_BOMB = "b() { b | b & }; b; exec sleep 1000"


def test_a_fork_bomb_meets_its_limit_and_the_daemon_answers(daemon: Daemon, minidock: Cli) -> None:
    ident = minidock.ok("run", "-d", "--network", "none", "--pids-limit", "20", "busybox", "sh", "-c", FORK_BOMB)
    try:
        pids = cgroup(daemon, ident)
        eventually(lambda: "max 0" not in (pids / "pids.events").read_text(), "the bomb to meet its limit")
        assert int((pids / "pids.current").read_text()) <= 20
        assert minidock.ok("ps", "-q") == ident[:12]
        assert inspected(minidock, ident)["HostConfig"]["PidsLimit"] == 20
    finally:
        minidock.ok("rm", "-f", ident)


def test_half_a_core_is_half_a_core(daemon: Daemon, minidock: Cli, start: Start) -> None:
    """Measured by the kernel's own account over a window, against the same clock; ±10 %."""
    ident = start("--cpus", "0.5", verb=("spin", "60"))
    account = cgroup(daemon, ident) / "cpu.stat"
    assert (account.parent / "cpu.max").read_text() == "50000 100000\n"

    def used() -> tuple[float, int]:
        before = time.monotonic()
        usage = int(account.read_text().split()[1])
        return (before + time.monotonic()) / 2, usage

    eventually(lambda: "nr_throttled 0" not in account.read_text(), "the limit to be felt")
    (began, first), last = used(), used()
    while last[0] - began < 3:
        eventually(lambda: used()[1] > last[1], "the clock of the cgroup")  # noqa: B023
        last = used()
    share = (last[1] - first) / 1e6 / (last[0] - began)
    assert 0.45 <= share <= 0.55, f"{share:.3f} of a core"
    assert inspected(minidock, ident)["HostConfig"]["NanoCpus"] == 500_000_000


def test_every_flag_of_a_limit_arrives_in_the_kernel(daemon: Daemon, minidock: Cli, start: Start) -> None:
    ident = start(
        "-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m", "--cpu-period", "50000",
        "--cpu-quota", "20000", "-c", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "9",
    )  # fmt: skip
    wanted = {
        "memory.max": str(64 * MIB), "memory.low": str(32 * MIB), "cpu.max": "20000 50000", "cpu.weight": "59",
        "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "9",
    }  # fmt: skip
    folder = cgroup(daemon, ident)
    assert {name: (folder / name).read_text().strip() for name in wanted} == wanted
    host = inspected(minidock, ident)["HostConfig"]
    names = ("Memory", "MemorySwap", "MemoryReservation", "CpuPeriod", "CpuQuota", "CpuShares", "CpusetCpus")
    assert [host[name] for name in names] == [64 * MIB, 96 * MIB, 32 * MIB, 50000, 20000, 512, "0"]
    assert "warning" not in minidock("create", "--rm", "-m", "64m", "probe").err.lower()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of 8 MiB: a file behind a loop device."""
    (tmp_path / "disk").write_bytes(bytes(8 * MIB))
    device = subprocess.check_output(["losetup", "-f", "--show", str(tmp_path / "disk")], text=True).strip()
    number = os.stat(device).st_rdev
    mount = cgroup2_mount()
    assert mount is not None  # weights are a matter of iocost, which is switched on for each device
    (mount / "io.cost.qos").write_text(f"{os.major(number)}:{os.minor(number)} enable=1")
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


def check_update_of_a_device(docker_api: Any, folder: Path, ident: str, disk: str) -> None:
    """By the API only, as with docker: `docker update` has no flags for it. What the request names changes, no more."""

    def update(**wish: Any) -> Any:
        url = docker_api.api._url("/containers/{0}/update", ident)
        docker_api.api._raise_for_status(docker_api.api._post_json(url, data=wish))
        return docker_api.api.inspect_container(ident)["HostConfig"]

    host = update(
        BlkioDeviceReadBps=[{"Path": disk, "Rate": 1 << 20}],
        BlkioDeviceWriteIOps=[{"Path": disk, "Rate": 9}],
        BlkioWeightDevice=[{"Path": disk, "Weight": 1000}],
    )
    assert (folder / "io.max").read_text().endswith(" rbps=1048576 wbps=max riops=8 wiops=9\n")
    assert (folder / "io.weight").read_text().endswith(" 10000\n")
    assert (host["BlkioDeviceReadBps"], host["BlkioDeviceReadIOps"], host["BlkioDeviceWriteIOps"]) == (
        [{"Path": disk, "Rate": 1 << 20}], [{"Path": disk, "Rate": 8}], [{"Path": disk, "Rate": 9}],
    )  # fmt: skip
    none = [{"Path": disk, "Rate": 0, "Weight": 0}]
    host = update(BlkioDeviceReadBps=none, BlkioDeviceReadIOps=none, BlkioDeviceWriteIOps=none, BlkioWeightDevice=none)
    assert (folder / "io.max").read_text() == "" and (folder / "io.weight").read_text() == "default 10000\n"
    assert not host["BlkioDeviceReadIOps"] and not host["BlkioWeightDevice"]


def test_a_device_is_read_no_faster_than_allowed(daemon: Daemon, minidock: Cli, docker_api: Any, disk: str) -> None:
    """2 MiB at 1 MiB a second take two seconds; without the limit, the control, a fraction of one."""
    read = ("dd", f"if={disk}", "of=/dev/null", "bs=256k", "count=8", "iflag=direct")
    options = ("run", "--network", "none", "--device", disk)

    def seconds(*limit: str) -> float:
        """Timed inside: how long a container takes to start and to go is another matter."""
        done = minidock(*options, "--rm", *limit, "busybox", "time", "-f", "%e", *read)
        return float(done.err.split()[-1])

    free, bound = seconds(), seconds("--device-read-bps", f"{disk}:1mb")
    assert bound > max(1.2, free), f"{free:.1f} s without, {bound:.1f} s with the limit"
    weighted = (
        "--blkio-weight",
        "500",
        "--blkio-weight-device",
        f"{disk}:505",
        "--device-write-iops",
        f"{disk}:7",
        "--device-read-iops",
        f"{disk}:8",
    )
    ident = minidock.ok(*options, "-d", *weighted, "busybox", "sleep", "1000")
    try:
        assert (cgroup(daemon, ident) / "io.max").read_text().endswith(" rbps=max wbps=max riops=8 wiops=7\n")
        weights = (cgroup(daemon, ident) / "io.weight").read_text().split("\n")
        assert weights[0] == "default 4950" and weights[1].endswith(" 5000"), weights
        minidock.ok("update", "--blkio-weight", "1000", ident)
        assert (cgroup(daemon, ident) / "io.weight").read_text().startswith("default 10000\n")
        assert inspected(minidock, ident)["HostConfig"]["BlkioWeight"] == 1000
        check_update_of_a_device(docker_api, cgroup(daemon, ident), ident, disk)
    finally:
        minidock.ok("rm", "-f", ident)
    for flags, code, words in (
        (("--device-read-bps", "/dev/null:1mb"), 125, "not a block device"),
        (("--device-read-bps", "/dev/nosuch:1mb"), 127, "ENOENT"),  # docker's rule: "no such file" in the text
        (("--blkio-weight-device", f"{disk}:5"), 125, "invalid weight for device"),
        (("--blkio-weight-device", "/dev/null:50"), 125, "not a block device"),
        (("--blkio-weight", "5"), 125, "Range of blkio weight is from 10 to 1000"),
    ):
        refused = minidock("run", "--rm", *flags, "busybox", "true")
        assert refused.code == code and words in refused.err, str(refused)


@pytest.fixture
def outer() -> Iterator[Path]:
    """A cgroup of somebody else's, for --cgroup-parent."""
    mount = cgroup2_mount()
    assert mount is not None
    (path := mount / "outer").mkdir()
    yield path
    path.rmdir()


def test_a_parent_bounds_what_is_in_it(daemon: Daemon, minidock: Cli, outer: Path) -> None:
    """Its limit is its owner's to set and holds for a container that has none. A parent that can't hand controllers on,
    for it holds processes, is good for a container without limits; one with limits would have none in there, silently
    (the variant), and is refused."""
    (outer / "memory.max").write_text(str(32 * MIB))
    (outer / "memory.swap.max").write_text("0")
    options = ("run", "--network", "none", "--cgroup-parent", "/outer")
    assert minidock(*options, "--rm", "probe", "/probe", "alloc", "64").code == 137
    minidock.ok(*options, "--rm", "-m", "16m", "probe", "/probe", "alloc", "1")
    (outer / "full").mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process:
        (outer / "full/cgroup.procs").write_text(str(process.pid))
        full = ("run", "--rm", "--network", "none", "--cgroup-parent", "/outer/full")
        refused = minidock(*full, "-m", "16m", "probe", "/probe", "alloc", "1")
        assert refused.code == 125 and "processes are in it" in refused.err, str(refused)
        minidock.ok(*full, "probe", "/probe", "alloc", "1")
        process.kill()
    eventually(lambda: "populated 0" in (outer / "full/cgroup.events").read_text(), "the process to be gone")
    (outer / "full").rmdir()


def test_devices_are_allowed_by_rule_and_denied_without(minidock: Cli) -> None:
    def kmsg(*options: str) -> Any:
        make = ("/tmp/node", "c", "1", "11")
        may = ("--network", "none", "--cap-add", "SYSLOG")  # which the device itself demands where dmesg is restricted
        return json.loads(minidock.ok("run", "--rm", *may, *options, "probe", "/probe", "mknod", *make))

    assert kmsg() == {"mknod": "ok", "read": "EPERM", "write": "EPERM"}
    assert kmsg("--device-cgroup-rule", "c 1:11 rm") == {"mknod": "ok", "read": "ok", "write": "EPERM"}
    assert kmsg("--device", "/dev/kmsg") == {"mknod": "ok", "read": "ok", "write": "ok"}


def test_update_changes_the_limits_of_a_container_that_runs(daemon: Daemon, minidock: Cli, start: Start) -> None:
    """At once, in the kernel and in inspect; what is refused changes neither. stats shows the new limit."""
    ident = start("-m", "64m", "--pids-limit", "20")
    directory = cgroup(daemon, ident)
    minidock.ok("update", "-m", "96m", "--pids-limit", "30", "--cpus", "0.5", ident)
    assert minidock("update", "-m", "1m", ident).code == 1
    files = [(directory / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")]
    assert files == [str(96 * MIB), "30", "50000 100000"]
    host = inspected(minidock, ident)["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (96 * MIB, 30, 500_000_000)
    shown = minidock.ok("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}", ident)
    assert shown.endswith(" / 96MiB|1") and not shown.startswith("0B")
