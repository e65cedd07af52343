"""--hugetlb-limit: it arrives in the kernel, and of a pool of huge pages a container takes what it is allowed, no more.

The first needs the controller alone, which also machines have whose v2 tree has no other. The pool is the machine's,
and its owner's to make: `sysctl vm.nr_hugepages=8`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import probe
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.hugetlb]

MIB = 1 << 20
TOUCHED = '{"touched":2,"error":"ok"}'
RUN = ("run", "--network", "none")


@pytest.fixture(scope="module", autouse=True)
def image(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon.cli.ok("import", "-", "probe", stdin=probe.archive(tmp_path_factory.mktemp("probe")))


def limits(daemon: Daemon, ident: str) -> list[str]:
    (base,) = daemon.cgroups()
    return [(base / ident / f"hugetlb.2MB.{kind}").read_text().strip() for kind in ("max", "rsvd.max")]


def test_it_arrives_in_the_kernel_and_is_kept(daemon: Daemon, minidock: Cli) -> None:
    ident = minidock.ok(*RUN, "-d", "--hugetlb-limit", "2MB=5m", "probe", "/probe", "pause")
    try:
        assert limits(daemon, ident) == [str(4 * MIB)] * 2, "whole pages"
        minidock.ok("update", "--hugetlb-limit", "2MB=0", ident)
        assert limits(daemon, ident) == ["0"] * 2
        daemon.kill()
        daemon.start()
        minidock.ok("restart", "-t", "0", ident)
        assert limits(daemon, ident) == ["0"] * 2
        host = json.loads(minidock.ok("inspect", ident))[0]["HostConfig"]
        assert host["HugepageLimits"] == [{"PageSize": "2MB", "Limit": 0}]
        minidock.ok("update", "--hugetlb-limit", "2MB=-1", ident)
        assert min(map(int, (text.replace("max", str(1 << 62)) for text in limits(daemon, ident)))) > 1 << 60
    finally:
        minidock.ok("rm", "-f", ident)
    for limit, words in (("3MB=4m", "no huge pages of 3MB; hint: it has"), ("2M=4m", "invalid size of huge pages")):
        refused = minidock("create", "--hugetlb-limit", limit, "probe", "/probe")
        assert refused.code == 1 and words in refused.err, str(refused)


@pytest.mark.hugepages
def test_two_pages_are_had_and_a_third_is_not(daemon: Daemon, minidock: Cli) -> None:
    """The kernel documents two ends: a reservation that is too much fails, and so does, by SIGBUS, the touch of a page
    that was mapped without one. Broken builds: a limit on the pages alone lets the first pass, one on reservations
    alone the second. What runs is updated, down to what it holds; less is refused and changes nothing else."""

    def take(limit: str, *verb: str) -> Any:
        done = minidock(*RUN, "--rm", "--hugetlb-limit", limit, "probe", "/probe", "hugepages", *verb)
        return done.code, done.out.strip()

    ident = minidock.ok(*RUN, "-d", "--hugetlb-limit", "2MB=4m", "probe", "/probe", "hugepages", "2")
    try:
        eventually(lambda: TOUCHED in minidock.ok("logs", ident), "two pages to be had")
        assert take("2MB=5m", "3") == (1, '{"mapped":0,"error":"ENOMEM"}')
        assert take("2MB=4m", "3", "noreserve") == (128 + 7, '{"mapped":3,"error":"ok"}'), "the pool has more"
        minidock.ok("update", "--hugetlb-limit", "2MB=12m", ident)
        refused = minidock("update", "--pids-limit", "64", "--hugetlb-limit", "2MB=2m", ident)
        assert refused.code == 1 and "EBUSY" in refused.err and "uses more than that" in refused.err, str(refused)
        assert limits(daemon, ident) == [str(12 * MIB)] * 2
        assert json.loads(minidock.ok("inspect", ident))[0]["HostConfig"]["PidsLimit"] is None
        minidock.ok("update", "--hugetlb-limit", "2MB=4m", ident)
        assert limits(daemon, ident) == [str(4 * MIB)] * 2
    finally:
        minidock.ok("rm", "-f", ident)
