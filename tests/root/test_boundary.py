"""What a container sees of the host: the hardening baseline, told by the probe from inside real containers.

One table for all ways into a container: run, run -t, exec, exec -u, and the options that widen or narrow; by a daemon
and by the one that follows it after a SIGKILL. Each check of "is it shut?" has its control in --privileged, where the
same probe finds the door open. See ../support/probe.py.

Variants that it was seen to fail on: a capset(2) with inheritable capabilities (row 11 of docs/security.md), a writable
cgroup2 and no cgroup namespace (24), no close_range(2) and no closefrom in the daemon's spawn, in the monitor and in
`close_fds` (2; one of them alone is enough).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.runtime import capabilities
from tests.support import probe
from tests.support.boundary import DEFAULT_MASK, DEV, NONE, check_baseline, check_namespaces, run, run_within
from tests.support.cli import Cli
from tests.support.daemon import Daemon, Session


@pytest.fixture(scope="module", params=["first", "next"])
def daemon(
    daemon: Daemon, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """One with the probe as an image and a container named box that waits, for exec. All tests run for it, and once
    more for the one that comes after it was killed: what that runs, and what it finds running."""
    daemon.cli.ok("import", "-", "probe", stdin=probe.archive(tmp_path_factory.mktemp("probe")))
    daemon.cli.ok("run", "-d", "--name", "box", "probe", "/probe", "pause")
    if request.param == "next":
        daemon.kill()
        daemon.start()
        daemon.cli.ok("run", "--rm", "busybox", "true")
    yield daemon
    daemon.cli.ok("rm", "-f", "box")


@pytest.fixture
def box() -> str:
    return "box"


def test_run(minidock: Cli) -> None:
    report = run(minidock)
    check_baseline(report)
    assert (report["pid"], report["ppid"], report["sid"]) == (1, 0, 1)
    assert report["processes"] == [1] and report["interfaces"] == ["lo", "eth0"]
    assert report["tty"] == [False] * 3 and "console" not in report["dev"]
    assert report["no_new_privs"] == 0
    assert report["writable"]["/.probe"] == "ok" and report["writable"]["/dev/shm/.probe"] == "ok"


def test_run_with_a_terminal(minidock: Cli) -> None:
    report = run(minidock, "-t")
    check_baseline(report)
    assert report["tty"] == [True] * 3 and report["controlling_tty"] is True
    assert report["dev"]["console"].startswith("c 136:0 ")
    assert set(report["fds"].values()) == {"/dev/pts/0"}


def test_exec(minidock: Cli, box: str) -> None:
    report = run_within(minidock, box)
    check_baseline(report)
    assert 1 in report["processes"] and report["pid"] != 1


def test_exec_with_a_terminal(minidock: Cli, box: str) -> None:
    report = run_within(minidock, box, "-t")
    check_baseline(report)
    assert report["tty"] == [True] * 3 and report["controlling_tty"] is True and "console" not in report["dev"]


def test_another_user_has_no_capabilities(minidock: Cli, box: str) -> None:
    for report in (run(minidock, "-u", "1000:1000"), run_within(minidock, box, "-u", "1000:1000")):
        check_baseline(report, effective=NONE)
        assert report["uids"] == [1000] * 4 and report["gids"] == [1000] * 4 and report["groups"] == [1000]
        assert report["writable"]["/.probe"] == "EACCES"


def test_a_name_is_looked_up_in_the_image(minidock: Cli) -> None:
    report = run(minidock, "-u", "user")
    assert report["uids"][0] == 1000 and sorted(report["groups"]) == [1000, 2000]


def test_capabilities_can_be_dropped_and_added(minidock: Cli) -> None:
    check_baseline(run(minidock, "--cap-drop", "ALL"), NONE, NONE)
    chown = capabilities.hex_mask({"CAP_CHOWN"})
    check_baseline(run(minidock, "--cap-drop", "ALL", "--cap-add", "chown"), chown, chown)


def test_exec_has_no_more_than_the_container(minidock: Cli) -> None:
    name = minidock.ok("run", "-d", "--rm", "--cap-drop", "ALL", "probe", "/probe", "pause")
    check_baseline(run_within(minidock, name), NONE, NONE)
    minidock.ok("kill", name)
    minidock("wait", name)


def test_no_new_privileges(minidock: Cli) -> None:
    report = run(minidock, "--security-opt", "no-new-privileges")
    check_baseline(report)
    assert report["no_new_privs"] == 1


def test_a_read_only_root(minidock: Cli) -> None:
    report = run(minidock, "--read-only")
    check_baseline(report)
    assert report["writable"]["/.probe"] == "EROFS" and report["writable"]["/tmp/.probe"] == "EROFS"
    assert report["writable"]["/dev/shm/.probe"] == "ok"


def test_privileged_and_only_that_has_everything(minidock: Cli) -> None:
    """The control of all that is asserted shut above."""
    report = run(minidock, "--privileged")
    own = capabilities.hex_mask(capabilities.own_bounding())
    assert report["capabilities"] == {
        "inheritable": NONE, "permitted": own, "effective": own, "bounding": own, "ambient": NONE
    }  # fmt: skip
    assert (report["seccomp"], report["seccomp_filters"]) == (0, 0)
    assert report["masked"]["/proc/timer_list"]["found"] > 0 and report["masked"]["/proc/keys"]["found"] > 0
    assert report["writable"]["/proc/sys/kernel/panic"] == "ok"
    assert report["dev"].keys() > DEV and "kmsg" in report["dev"]
    assert isinstance(report["session_keyring"], int)
    assert report["session_keyring"] != probe.run("report")["session_keyring"]
    check_namespaces(report)


def test_seccomp_can_be_switched_off_or_chosen(minidock: Cli, tmp_path: Path) -> None:
    unconfined = run(minidock, "--security-opt", "seccomp=unconfined")
    assert unconfined["seccomp"] == 0 and unconfined["capabilities"]["effective"] == DEFAULT_MASK
    own = tmp_path / "own.json"
    own.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    result = minidock("run", "--rm", "--security-opt", f"seccomp={own}", "probe", "/probe", "socket", "2")
    assert json.loads(result.out)["socket"] == "EPERM"
    assert json.loads(minidock.ok("run", "--rm", "probe", "/probe", "socket", "2"))["socket"] == "ok"


def test_shut_socket_families_and_system_calls(minidock: Cli) -> None:
    for family in (38, 40, 1 << 32 | 38):
        assert json.loads(minidock("run", "--rm", "probe", "/probe", "socket", str(family)).out)["socket"] == "EPERM"
    assert json.loads(minidock("run", "--rm", "probe", "/probe", "socketcall", "2").out)["socket"] != "ok"


@pytest.mark.cgroup2
def test_devices_that_are_not_listed_can_be_made_but_not_opened(minidock: Cli) -> None:
    kmsg = ("/tmp/node", "c", "1", "11")
    answer = json.loads(minidock.ok("run", "--rm", "probe", "/probe", "mknod", *kmsg))
    assert answer == {"mknod": "ok", "read": "EPERM", "write": "EPERM"}
    control = json.loads(minidock.ok("run", "--rm", "--privileged", "probe", "/probe", "mknod", *kmsg))
    assert control["read"] == "ok"


LEGACY = """
    exec 9</
    trap '' HUP USR1
    umask 077
    echo 300 >/proc/self/oom_score_adj
    exec setpriv --inh-caps +chown,+sys_admin --ambient-caps +sys_admin "$@"
"""


def test_nothing_leaks_of_what_the_daemon_was_started_with(daemons: Session, tmp_path: Path) -> None:
    """The daemon has the host's "/" as fd 9 (CVE-2024-21626's way out), capabilities in its inheritable and ambient
    sets (CVE-2022-24769), ignored signals, another umask and OOM score; a runtime that passes them on fails here."""
    daemon = Daemon(daemons)
    try:
        daemon.start(prefix=("sh", "-c", LEGACY, "sh"))
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert os.readlink(f"/proc/{daemon.pid}/fd/9") == "/", "the control: the daemon does have it"
        assert re.search(r"CapInh:\t0+200001\nCapPrm", status) and re.search(r"CapAmb:\t0+200000\n", status)
        daemon.cli.ok("import", "-", "probe", stdin=probe.archive(tmp_path / "root"))
        check_baseline(run(daemon.cli))
        check_baseline(run(daemon.cli, "-u", "1000"), effective=NONE)
        box = daemon.cli.ok("run", "-d", "probe", "/probe", "pause")
        daemon.kill()
        daemon.start(prefix=("sh", "-c", LEGACY, "sh"))
        check_baseline(run_within(daemon.cli, box))
        check_baseline(run_within(daemon.cli, box, "-u", "1000"), effective=NONE)
        daemon.cli.ok("rm", "-f", box)
    finally:
        daemon.close()


def test_init_reaps_orphans(minidock: Cli) -> None:
    without = json.loads(minidock.ok("run", "--rm", "probe", "/probe", "orphans", "3"))
    reaped = json.loads(minidock.ok("run", "--rm", "--init", "probe", "/probe", "orphans", "3"))
    assert without == {"orphans": 3, "zombies": 3}, "the control: the probe as pid 1 reaps nobody"
    assert reaped == {"orphans": 3, "zombies": 0}
