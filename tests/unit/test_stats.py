"""Stats: counters as the kernel writes them, Docker's JSON, and the client's percentages."""

from __future__ import annotations

import os

from minidock.api.render.stats import stats
from minidock.cgroup.stats import BlockIo, Stats
from minidock.cli.stats import cpu_percent, row
from minidock.engine import statistics
from minidock.engine.config import Config, HostConfig
from minidock.engine.model import Container, Definition
from minidock.engine.statistics import Sample
from tests.support.fake_daemon import FakeDaemon
from tests.unit.conftest import Minidock

WEB = Container("1" * 64, "web", 1, Definition("i", Config(), HostConfig()))
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo:     9       9    0    0    0     0          0         0     9       9    0    0    0     0       0          0
  eth0:  1086      11    1    2    0     0          0         0   574       7    3    4    0     0       0          0
"""


def used(cpu: int, memory: int | None = 3 << 20) -> Stats:
    io = (BlockIo(8, 0, 4096, 512, 1, 1),)
    return Stats(cpu, cpu, 0, 0, 0, 0, memory, None, {"inactive_file": 1 << 20} if memory else {}, 2, None, io)


def sample(seconds: int, cpu: int, memory: int | None = 3 << 20) -> Sample:
    return Sample(seconds * 10**9, used(cpu, memory), seconds * 2 * 10**9, 2, 1 << 30, statistics.interfaces(DEV))


def test_interfaces_without_the_loopback() -> None:
    found = statistics.interfaces(DEV)
    assert list(found) == ["eth0"]
    names = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    assert found["eth0"] == dict(zip(names, (1086, 11, 1, 2, 574, 7, 3, 4), strict=True))


def test_the_machine_s_cpu_time() -> None:
    text = "cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n"
    assert statistics.machine(text) == (28 * 10**9 // os.sysconf("SC_CLK_TCK"), 2)


def test_half_a_core_is_fifty_percent() -> None:
    now, before = (stats(WEB, sample(s, s * 500_000), Sample()) for s in (11, 10))
    assert round(cpu_percent(now, before), 6) == 50.0
    assert cpu_percent(now, {}) == 0.0, "one sample tells no rate"


def test_a_row_is_docker_s() -> None:
    shown = row(stats(WEB, sample(10, 0), Sample()), None, False)
    assert (shown["ID"], shown["Name"], shown["PIDs"]) == ("1" * 12, "web", "2")
    assert (shown["MemUsage"], shown["MemPerc"]) == ("2MiB / 1GiB", "0.20%")
    assert (shown["NetIO"], shown["BlockIO"]) == ("1.09kB / 574B", "4.1kB / 512B")


def test_without_controllers_and_without_a_process_there_are_zeros() -> None:
    nothing = stats(WEB, sample(10, 0, memory=None), Sample())
    assert nothing["memory_stats"] == {} and row(nothing, None, False)["MemUsage"] == "0B / 0B"
    stopped = stats(WEB, Sample(), Sample())
    assert stopped["read"] == "0001-01-01T00:00:00Z" and stopped["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert "networks" not in stopped and row(stopped, None, False)["CPUPerc"] == "0.00%"


def test_the_command_prints_docker_s_table(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/json", [{"Id": WEB.id}])
    fake.on("GET", f"/containers/{WEB.id}/stats", stats(WEB, sample(10, 0), Sample()))
    head, line = minidock("stats", "--no-stream").stdout.splitlines()
    assert head.split("  ")[0] == "CONTAINER ID" and head.endswith("PIDS") and line.startswith("1" * 12)
    assert minidock("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}").stdout == "web 2\n"
