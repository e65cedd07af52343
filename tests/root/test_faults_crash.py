"""The daemon is killed at exact system calls, and at any moment; the next one finds or finishes everything.

For each verb the kill comes at the k-th call of one kind, from the first to the one that the verb does not reach any
more (`make test-slow`; a few of them in `make test`). Read next: ../support/faults.py, docs/life-of-a-container.md.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

import pytest

from tests.support import ledger
from tests.support.daemon import Daemon, Session
from tests.support.faults import Api, balance, check_legal, clear, died, struck
from tests.support.figures import Figure
from tests.support.procfs import runs
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.slow, pytest.mark.time_limit(240)]

CALLS = {
    "mkdir": "mkdir,mkdirat",
    "rename": "rename,renameat,renameat2",
    "send": "sendmsg,sendto",
    "spawn": "clone,clone3,vfork,fork",
    "unlink": "unlink,unlinkat,rmdir",
    "database": "pwrite64,fsync,fdatasync",
}
FEW = {
    "create": (("mkdir", 1), ("mkdir", 3), ("database", 2)),
    "start": (("database", 3), ("send", 2), ("spawn", 1), ("mkdir", 2)),
    "exec": (("send", 2), ("spawn", 1)),
    "stop": (("send", 1), ("database", 1), ("unlink", 1)),
    "rm": (("rename", 1), ("database", 3), ("unlink", 1)),
}
LOOP = ("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done")


def _prepare(api: Api, verb: str) -> str:
    """A container in the state from which the verb starts; its id."""
    if verb == "create":
        return ""
    ident = api.create(*LOOP, Mounts=[{"Type": "volume", "Target": "/v"}])
    if verb in ("exec", "stop", "rm"):
        api.ok("POST", f"/containers/{ident}/start")
    if verb == "rm":
        api.ok("POST", f"/containers/{ident}/stop?t=20")
    return ident


def _do(api: Api, verb: str, ident: str) -> None:
    if verb == "create":
        mounts = {"Mounts": [{"Type": "volume", "Target": "/v"}]}
        api.ask("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": mounts})
    elif verb == "start":
        api.ask("POST", f"/containers/{ident}/start")
    elif verb == "exec":
        status, session = api.ask("POST", f"/containers/{ident}/exec", {"Cmd": ["sleep", "0.2"]})
        if status == 201:
            api.ask("POST", f"/exec/{session['Id']}/start", {"Detach": True})
    elif verb == "stop":
        api.ask("POST", f"/containers/{ident}/stop?t=20")
    else:
        api.ask("DELETE", f"/containers/{ident}?v=1")


def _strike(daemon: Daemon, session: Session, verb: str, calls: str, when: int) -> bool:
    """One kill and what comes of it; False if the verb made fewer such calls."""
    before = ledger.take(session)
    api = Api(daemon)
    ident = _prepare(api, verb)
    with struck(daemon, CALLS[calls], "signal=SIGKILL", when):
        _do(api, verb, ident)
        dead = died(daemon, timeout=0.3)
    dead = dead or died(daemon, timeout=0.2)  # strace was not done with its threads
    if dead:
        daemon.start()
    api = Api(daemon)
    states = check_legal(daemon, {ident: {0, 7}})
    for created in [one for one, status in states.items() if status == "created"]:
        api.ok("POST", f"/containers/{created}/start")  # whole, or not there at all
    if verb == "exec" and dead:
        assert states[ident] == "running"
    clear(api)
    balance(session, before, f"{verb}, killed at {calls} number {when}")
    return dead


@pytest.mark.parametrize("verb", list(FEW))
def test_killed_at_an_exact_call(
    fresh_daemon: Daemon, daemons: Session, verb: str, scale: Callable[[int, int], int], figure: Figure
) -> None:
    """Ledger 0, legal states, no wrong code.

    Seen to fail where the container's row is written after its directories, or what is half made is kept (create),
    where cgroups are not swept (start), where the exit record is not read (stop), and where a removal deletes the row
    before the volumes (rm).
    """
    kills = 0
    if scale(0, 1):
        for calls in CALLS:
            for when in range(1, 40):
                if not _strike(fresh_daemon, daemons, verb, calls, when):
                    break
                kills += 1
        assert kills >= 5
    else:
        kills = sum(_strike(fresh_daemon, daemons, verb, calls, when) for calls, when in FEW[verb])
        assert kills
    figure(f"daemon killed at exact calls of {verb}", "ledger 0, legal states", f"{kills} kill points, ledger 0")


def test_killed_at_any_moment(
    fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int], figure: Figure
) -> None:
    """Cycles of create, start, exec, rm by three clients while the daemon is killed again and again.

    Seen to fail where restore does not sweep the cgroups that belong to nobody.
    """
    before = ledger.take(daemons)
    rounds, dice = scale(4, 100), random.Random(4)
    for _ in range(rounds):
        over = threading.Event()
        clients = [threading.Thread(target=_cycle, args=(fresh_daemon, over)) for _ in range(3)]
        for client in clients:
            client.start()
        over.wait(dice.uniform(0.05, 0.8))
        fresh_daemon.kill()
        over.set()
        for client in clients:
            client.join()
        fresh_daemon.start()
        check_legal(fresh_daemon, {})
    clear(Api(fresh_daemon))
    balance(daemons, before, f"{rounds} kills at any moment")
    figure("daemon killed at any moment", "ledger 0, legal states", f"{rounds} kills, ledger 0")


def _cycle(daemon: Daemon, over: threading.Event) -> None:
    while not over.is_set():
        api = Api(daemon)
        status, made = api.ask("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sh", "-c", "exit 3"]})
        if status != 201:
            continue
        api.ask("POST", f"/containers/{made['Id']}/start")
        api.ask("DELETE", f"/containers/{made['Id']}?force=1&v=1")
        api.close()


def test_a_stop_is_carried_on(fresh_daemon: Daemon, figure: Figure) -> None:
    """Killed while ``stop -t 3`` waits: the KILL still arrives, not before its time.

    Seen to fail where the deadline is not carried on by the next daemon: the container ran on.
    """
    api = Api(fresh_daemon)
    ident = api.create("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    api.ok("POST", f"/containers/{ident}/start")
    began = time.monotonic()
    stopping = threading.Thread(target=lambda: Api(fresh_daemon).ask("POST", f"/containers/{ident}/stop?t=3"))
    stopping.start()
    eventually(lambda: b'"StopDeadline": 0' not in _row(fresh_daemon, ident), "the intent to be written")
    fresh_daemon.kill()
    stopping.join()
    fresh_daemon.start()
    api = Api(fresh_daemon)
    eventually(lambda: api.state(ident)["Status"] == "exited", "the KILL")
    took = time.monotonic() - began
    assert api.state(ident)["ExitCode"] == 137 and took >= 3
    clear(api)
    figure("daemon killed while stop -t 3 waits", "SIGKILL arrives, exited", f"137 after {took:.1f} s")


def _row(daemon: Daemon, ident: str) -> bytes:
    database = sqlite3.connect(f"file:{daemon.data_root}/minidock.db?mode=ro", uri=True)
    try:
        return str(database.execute("SELECT state FROM containers WHERE id = ?", (ident,)).fetchone()[0]).encode()
    finally:
        database.close()


def test_exits_while_no_daemon_runs(fresh_daemon: Daemon, scale: Callable[[int, int], int], figure: Figure) -> None:
    """Each exit code is there, each time of the end is the monitor's, ``--rm`` is honoured, one die event each.

    Seen to fail where the next daemon does not read the exit records (each code was 255).
    """
    count = scale(12, 100)
    api, began = Api(fresh_daemon), time.time()
    fifo = fresh_daemon.base / "go"
    fifo.mkdir()
    script = "while [ ! -e /go/on ]; do sleep 0.1; done; exit $0"
    idents = [
        api.create("sh", "-c", script, str(n), Binds=[f"{fifo}:/go"], AutoRemove=n % 4 == 3, NetworkMode="none")
        for n in range(count)
    ]
    for ident in idents:
        api.ok("POST", f"/containers/{ident}/start")
    pids = [api.state(ident)["Pid"] for ident in idents]
    fresh_daemon.kill()
    (fifo / "on").touch()
    eventually(lambda: not any(runs(pid) for pid in pids), "all containers to end", timeout=60)
    ended = time.time()
    fresh_daemon.start()
    api = Api(fresh_daemon)
    for n, ident in enumerate(idents):
        if n % 4 == 3:
            assert api.ask("GET", f"/containers/{ident}/json")[0] == 404
            continue
        state = api.state(ident)
        assert (state["Status"], state["ExitCode"]) == ("exited", n), state
        finished = datetime.fromisoformat(state["FinishedAt"][:26] + "+00:00").timestamp()
        assert began <= finished <= ended + 1
    query = f"since={int(began) - 1}&until={int(time.time()) + 1}&filters=" + quote('{"event":["die"]}')
    api.request("GET", f"/events?{query}")
    died = [json.loads(line)["Actor"]["ID"] for line in api.getresponse().read().splitlines()]
    assert sorted(died) == sorted(idents)
    clear(Api(fresh_daemon))
    reached = f"{count} of {count} codes, {len(died)} events"
    figure("containers exit while no daemon runs", "all codes, one die event each", reached)


def test_what_looks_like_a_reboot(fresh_daemon: Daemon, scale: Callable[[int, int], int], figure: Figure) -> None:
    """Daemon, monitors, containers killed, the exec root wiped: exited 255 with a reason; names, networks usable.

    Seen to fail where a missing exit record counts as 0.
    """
    count, api = scale(5, 50), Api(fresh_daemon)
    names = [f"c{n}" for n in range(count)]
    api.ok("POST", "/networks/create", {"Name": "net"})
    for name in names:
        api.create("sleep", "1000", name=name, NetworkMode="net")
        api.ok("POST", f"/containers/{name}/start")
    always = api.create("sleep", "1000", name="always", RestartPolicy={"Name": "always"})
    api.ok("POST", "/containers/always/start")
    fresh_daemon.kill()
    for base in fresh_daemon.cgroups():
        (base / "monitors" / "cgroup.kill").write_text("1")
        for events in base.glob("*/cgroup.kill"):
            events.write_text("1")
    eventually(lambda: not any(p.read_text() for b in fresh_daemon.cgroups() for p in b.glob("*/cgroup.procs")), "ends")
    for base in fresh_daemon.cgroups():
        for below in (*base.iterdir(), base):
            if below.is_dir():
                below.rmdir()
    shutil.rmtree(fresh_daemon.exec_root)
    for link in fresh_daemon.netns.links() - {"lo"}:
        subprocess.run([*fresh_daemon.netns.enter, "ip", "link", "del", link], check=False, capture_output=True)
    fresh_daemon.netns.run("nft", "flush", "ruleset")
    began = time.monotonic()
    fresh_daemon.start()
    took = time.monotonic() - began
    api = Api(fresh_daemon)
    for name in names:
        state = api.state(name)
        assert (state["Status"], state["ExitCode"]) == ("exited", 255) and state["Error"], state
    eventually(lambda: api.state(always)["Status"] == "running", "restart=always")
    for name in names:
        api.ok("POST", f"/containers/{name}/start")
        api.ok("DELETE", f"/containers/{name}?force=1")
    api.create("true", name=names[0], NetworkMode="net")
    clear(api)
    api.ok("DELETE", "/networks/net")
    reached = f"{count} of {count}, served in {took:.1f} s"
    figure("what looks like a reboot", "exited 255, restart=always runs, names free", reached)
