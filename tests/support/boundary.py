"""The hardening baseline as assertions on a probe's report: what holds for every process of a container.

For tests/root/test_boundary.py, which tells each way into a container, and test_userns.py, for which the same must hold
in a user namespace. Read next: probe.py.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support import probe
from tests.support.cli import Cli

Report = dict[str, Any]

DEV = set("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split())
DEFAULT_MASK = "00000000a80425fb"
NONE = "0" * 16
OWN_NAMESPACES = ("mnt", "uts", "ipc", "pid", "net", "cgroup")


def run(minidock: Cli, *options: str) -> Report:
    report: Report = json.loads(minidock.ok("run", "--rm", *options, "probe", "/probe"))
    return report


def run_within(minidock: Cli, box: str, *options: str) -> Report:
    report: Report = json.loads(minidock.ok("exec", *options, box, "/probe"))
    return report


def check_baseline(report: Report, effective: str = DEFAULT_MASK, bounding: str = DEFAULT_MASK) -> None:
    """What holds for every process of a container that is not privileged, however it got in."""
    assert report["capabilities"] == {
        "inheritable": NONE,
        "permitted": effective,
        "effective": effective,
        "bounding": bounding,
        "ambient": NONE,
    }
    assert (report["seccomp"], report["seccomp_filters"]) == (2, 1)
    assert report["session_keyring"] == "EPERM"
    assert set(report["fds"]) == {"0", "1", "2"}
    assert report["signals"] == {"ignored": NONE, "blocked": NONE, "caught": NONE}
    assert report["umask"] == "0022"
    assert report["oom_score_adj"] == "0"
    assert report["cgroup"] == "/"
    check_files(report)
    check_namespaces(report)


def check_files(report: Report) -> None:
    assert set(report["dev"]) - {"console"} == DEV
    mounts = {mount["target"]: mount for mount in report["mounts"]}
    assert not any(mount["propagation"] not in ("", "-") for mount in report["mounts"])
    for target in ("/proc", "/sys", "/dev/shm", "/dev/mqueue"):
        assert {"nosuid", "nodev", "noexec"} <= set(mounts[target]["options"].split(",")), target
    assert mounts["/sys"]["options"].startswith("ro,") and mounts["/sys/fs/cgroup"]["options"].startswith("ro,")
    masked = dict(report["masked"])
    assert masked.pop("/proc/self/status")["found"] > 0, "the control: something that is not masked"
    nothing = (0, "EACCES")  # the latter by AppArmor's profile, which names the path, too
    assert all(found == "missing" or found["found"] in nothing for found in masked.values()), masked
    for path in ("/proc/sys/kernel/panic", "/proc/irq/default_smp_affinity", "/sys/fs/cgroup/.probe"):
        assert report["writable"][path] in ("EROFS", "EACCES"), path


def check_namespaces(report: Report) -> None:
    host = probe.run("report")
    assert not [kind for kind in OWN_NAMESPACES if report["namespaces"][kind] == host["namespaces"][kind]]
    assert set(report["processes"]) <= set(range(1, 20))
