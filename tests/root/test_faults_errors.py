"""System calls that fail, full disks, damaged files: an error that says so, nothing half-made, the rest goes on.

Read next: ../support/faults.py, test_faults_crash.py (the same for a daemon that is killed).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ledger
from tests.support.daemon import ARCHIVES, Daemon, Session
from tests.support.faults import Api, balance, clear, fill, kept_full, small_disk, struck
from tests.support.figures import Figure
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.slow, pytest.mark.time_limit(240)]

ALWAYS = {"Name": "always"}
FAILING = (
    ("mkdir,mkdirat", "EIO"),
    ("openat", "EMFILE"),
    ("socket", "EMFILE"),
    ("connect", "EIO"),
    ("memfd_create", "ENOMEM"),
    ("sendmsg", "EIO"),
    ("pidfd_open", "EMFILE"),
    ("epoll_ctl", "ENOMEM"),
    ("pwrite64", "EIO"),
    ("write", "EIO"),
    ("vfork,clone,clone3", "ENOMEM"),
    ("unlink,unlinkat", "EIO"),
    ("rmdir", "EIO"),
    ("setns", "EIO"),
)


@pytest.mark.parametrize("auto_remove", [False, True])
def test_each_call_of_a_start_fails_once(
    fresh_daemon: Daemon, daemons: Session, auto_remove: bool, scale: Callable[[int, int], int], figure: Figure
) -> None:
    """The k-th call of a kind fails in the daemon: the API says so or the container runs; then nothing is left of it.

    Seen to fail where the process that was spawned is not reaped when no pidfd is to be had (a zombie), and where a
    removal does not give back the address that a failed start could not give back.
    """
    api, errors, tried = Api(fresh_daemon), 0, 0
    some = FAILING if scale(0, 1) else FAILING[auto_remove::2]
    for calls, errno in some:
        for when in range(1, scale(2, 25)):
            tried += 1
            before = ledger.take(daemons)
            ident = api.create("sleep", "1000", AutoRemove=auto_remove)
            with struck(fresh_daemon, calls, f"error={errno}", when):
                status, answer = Api(fresh_daemon).ask("POST", f"/containers/{ident}/start")
            what = f"{calls} number {when} fails with {errno}: {status} {answer}"
            assert status == 204 or (status >= 400 and answer["message"]), what
            errors += status != 204
            found = api.ask("GET", f"/containers/{ident}/json")
            assert found[0] == 404 or (found[1]["State"]["Status"] == "running") == (status == 204), (what, found)
            clear(api)
            balance(daemons, before, what)
    assert errors
    kind = "--rm, " if auto_remove else ""
    reached = f"{errors} errors in {tried} starts, ledger 0"
    figure(f"a call of a start fails ({kind}daemon)", "an API error, ledger 0", reached)


def test_each_call_of_a_monitor_fails_once(
    fresh_daemon: Daemon, daemons: Session, scale: Callable[[int, int], int], figure: Figure
) -> None:
    """The same for the monitor and the container's first process, which strace follows from the daemon on.

    Seen to fail where the monitor's FAILED is taken for STARTED.
    """
    api, errors = Api(fresh_daemon), 0
    calls = ("mount", "pivot_root", "clone3", "openat2", "sethostname", "epoll_create1", "signalfd4", "execve")
    for call in calls if scale(0, 1) else calls[::2]:
        for when in range(1, scale(2, 12)):
            before = ledger.take(daemons)
            ident = api.create("sleep", "1000")
            with struck(fresh_daemon, call, "error=EIO", when, children=True):
                status, answer = Api(fresh_daemon).ask("POST", f"/containers/{ident}/start")
            assert status == 204 or (status >= 400 and answer["message"]), (call, when, status, answer)
            errors += status != 204
            assert (api.state(ident)["Status"] == "running") == (status == 204)
            clear(api)
            balance(daemons, before, f"{call} number {when} fails: {status} {answer}")
    assert errors
    figure("a call of a start fails (monitor, child)", "an API error, ledger 0", f"{errors} errors, ledger 0")


# -- damaged files ----------------------------------------------------------------------------------------------------


def _edit(daemon: Daemon, sql: str, *values: object) -> None:
    database = sqlite3.connect(daemon.data_root / "minidock.db")
    database.execute(sql, values)
    database.commit()
    database.close()


def test_rows_that_can_not_be_read_are_set_aside(fresh_daemon: Daemon, figure: Figure) -> None:
    """The rest is served; the container of such a row runs on, its name stays taken, nothing of it is deleted.

    Seen to fail where restore sweeps the cgroup of a container that is not in its list: it was killed.
    """
    api = Api(fresh_daemon)
    idents = [api.create("sleep", "1000", name=name) for name in ("whole", "broken")]
    for ident in idents:
        api.ok("POST", f"/containers/{ident}/start")
    pid, good = api.state(idents[1])["Pid"], _state_of(fresh_daemon, idents[1])
    for damage in ("", "{", '{"Status": "flying"}', "[]", '{"Status": "running", "Pid": "x"}', "\x00\x00"):
        fresh_daemon.kill()
        _edit(fresh_daemon, "UPDATE containers SET state = ? WHERE id = ?", damage, idents[1])
        fresh_daemon.start()
        api = Api(fresh_daemon)
        rows = api.ok("GET", "/containers/json?all=1")
        assert [row["Id"] for row in rows] == [idents[0]] and os.path.exists(f"/proc/{pid}"), damage
        assert api.state(idents[0])["Status"] == "running"
        status, answer = api.ask("POST", "/containers/create?name=broken", {"Image": "busybox"})
        assert status == 409 and "broken" in answer["message"]
        assert (fresh_daemon.data_root / "containers" / idents[1] / "upper").is_dir()
    assert f"container {idents[1]}: its row can't be read" in fresh_daemon.log_text()
    fresh_daemon.stop()
    _edit(fresh_daemon, "UPDATE containers SET state = ? WHERE id = ?", good, idents[1])
    fresh_daemon.start()
    assert Api(fresh_daemon).state(idents[1])["Pid"] == pid
    clear(Api(fresh_daemon))
    figure("damaged rows", "set aside with a reason, the rest served", "6 kinds of damage, nothing deleted")


def _state_of(daemon: Daemon, ident: str) -> str:
    database = sqlite3.connect(f"file:{daemon.data_root}/minidock.db?mode=ro", uri=True)
    try:
        return str(database.execute("SELECT state FROM containers WHERE id = ?", (ident,)).fetchone()[0])
    finally:
        database.close()


def _zeroes(data: bytes) -> bytes:
    return data[:4096] + bytes(len(data) - 4096)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"no database " * 1000, "not a database"),
        (lambda data: data[: len(data) // 2], "minidock.db"),
        (_zeroes, "minidock.db"),
    ],
)
def test_a_damaged_database_is_refused(fresh_daemon: Daemon, damage: Callable[[bytes], bytes], words: str) -> None:
    """One line that says which file and what to do, no traceback, and the file stays as it is.

    Seen to fail where sqlite3's errors are not ours: a traceback; and without quick_check: a daemon that served.
    """
    path = fresh_daemon.data_root / "minidock.db"
    fresh_daemon.stop()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    damaged, offset = path.read_bytes(), fresh_daemon.log.stat().st_size
    fresh_daemon.start(wait=False)
    assert fresh_daemon.ended(30) == 1
    text = fresh_daemon.log_text(offset)
    assert words in text and "hint" in text and "Traceback" not in text, text
    assert path.read_bytes() == damaged
    path.write_bytes(whole)
    fresh_daemon.start()
    assert Api(fresh_daemon).ok("GET", "/images/json")


def test_a_database_of_another_version_is_refused(fresh_daemon: Daemon) -> None:
    """Seen to fail where user_version is not looked at: the daemon served, and would have written into it."""
    fresh_daemon.stop()
    _edit(fresh_daemon, "PRAGMA user_version=99")
    offset = fresh_daemon.log.stat().st_size
    fresh_daemon.start(wait=False)
    assert fresh_daemon.ended(30) == 1 and "schema version 99" in fresh_daemon.log_text(offset)
    _edit(fresh_daemon, "PRAGMA user_version=1")
    fresh_daemon.start()


def test_damaged_records_of_a_run(fresh_daemon: Daemon) -> None:
    """An exit record that is none counts as missing: 255 with a reason, never 0. A damaged plan.json is said to be.

    Seen to fail where a record's fields are taken as they come ({"code": "0"}), and where plan.json is not checked.
    """
    api = Api(fresh_daemon)
    for record in (b"", b"{}", b'{"code":"0","signal":0,"finished":""}', b"\xff" * 5000, b"[" * 4000):
        ident = api.create("true")
        api.ok("POST", f"/containers/{ident}/start")
        api.ok("POST", f"/containers/{ident}/wait")
        plan = fresh_daemon.data_root / "containers" / ident / "plan.json"
        plan.write_bytes(record)
        status, answer = api.ask("GET", f"/minidock/containers/{ident}/plan")
        assert status == 409 and answer["message"], answer
        fresh_daemon.kill()
        state = {**json.loads(_state_of(fresh_daemon, ident)), "Status": "running"}
        _edit(fresh_daemon, "UPDATE containers SET state = ? WHERE id = ?", json.dumps(state), ident)
        directory = fresh_daemon.exec_root / "monitors" / ident
        directory.mkdir()
        (directory / "exit").write_bytes(record)
        fresh_daemon.start()
        api = Api(fresh_daemon)
        found = api.state(ident)
        assert (found["Status"], found["ExitCode"]) == ("exited", 255) and found["Error"], found
    clear(api)


# -- a full disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk(daemons: Session, figure: Figure) -> None:
    """Create, start, load and the log: an error that says so, nothing half-made, and all works again with room. `rm`
    works even then, with another container's log taking all room that it makes.

    Seen to fail where a stop by hand, or the deletion of a row, that can't be put on record is an error, and where the
    lease of a container that was removed then is nobody's business.
    """
    daemon = Daemon(daemons)
    try:
        daemon.start(prefix=small_disk(daemon, "24m"))
        daemon.load("busybox")
        root, api = f"/proc/{daemon.pid}/root{daemon.data_root}", Api(daemon)
        logger = api.create("sh", "-c", "while [ ! -e /tmp/end ]; do echo xxxxxxxxxxxxxxxx; sleep 0.01; done; exit 5")
        idle = api.create("sleep", "1000")
        for ident in (logger, idle):
            api.ok("POST", f"/containers/{ident}/start")
        fill(f"{root}/ballast")
        made = set(os.listdir(f"{root}/containers"))
        failed = [api.ask("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]}) for _ in range(40)]
        refused = [answer for status, answer in failed if status != 201]
        assert refused and all("full" in a["message"] or "space" in a["message"] for a in refused), refused
        created = {answer["Id"] for status, answer in failed if status == 201}
        assert set(os.listdir(f"{root}/containers")) == made | created
        load = daemon.cli("load", "-i", str(ARCHIVES["alpine"]))
        assert load.code != 0 and ("space" in load.err or "full" in load.err), load
        assert os.listdir(f"{root}/tmp") == []
        assert [api.state(ident)["Status"] for ident in (logger, idle)] == ["running", "running"]
        api.ok("DELETE", f"/containers/{idle}?force=1")
        os.unlink(f"{root}/ballast")
        new = api.create("true")
        api.ok("POST", f"/containers/{new}/start")
        session = api.ok("POST", f"/containers/{logger}/exec", {"Cmd": ["touch", "/tmp/end"]})
        api.ok("POST", f"/exec/{session['Id']}/start", {"Detach": True})
        assert api.ok("POST", f"/containers/{logger}/wait")["StatusCode"] == 5
        with open(f"{root}/containers/{logger}/{logger}-json.log") as log:
            assert all(json.loads(line)["log"] for line in log)
        clear(api)
        assert daemon.cli.ok("doctor", "--leaks") == "nothing is left behind"
        figure("disk full in create, load, log, database", "said so; works again with room", "all four")
    finally:
        daemon.close()


def test_removed_on_a_full_disk(daemons: Session) -> None:
    """Containers with volumes of their own, by `rm -v` and by themselves: nothing is left but rows, and these go
    as soon as there is room, without another word.

    Seen to fail where the row of a volume must be deleted at once: `rm -v` was an error, who ran the other one with
    --rm waited for ever, and their leases were there until another container ended.
    """
    daemon = Daemon(daemons)
    try:
        daemon.start(prefix=small_disk(daemon, "24m"))
        daemon.load("busybox")
        api, root = Api(daemon), f"/proc/{daemon.pid}/root{daemon.data_root}"
        named, by_itself = (
            api.ok("POST", "/containers/create", {
                "Image": "busybox", "Cmd": ["sleep", "1000"], "Volumes": {"/v": {}}, "HostConfig": {"AutoRemove": rm}
            })["Id"]
            for rm in (False, True)
        )  # fmt: skip
        for ident in (named, by_itself):
            api.ok("POST", f"/containers/{ident}/start")
        with kept_full(f"{root}/ballast"):
            eventually(lambda: api.ask("POST", "/volumes/create", {})[0] == 500, "the database to have no room")
            waiting = threading.Thread(target=lambda: api.ok("POST", f"/containers/{by_itself}/wait?condition=removed"))
            waiting.start()
            other = Api(daemon)
            other.ok("DELETE", f"/containers/{named}?force=1&v=1")
            other.ok("POST", f"/containers/{by_itself}/kill")
            waiting.join(30)
            assert not waiting.is_alive() and other.ok("GET", "/containers/json?all=1") == []
        eventually(lambda: not daemon.cli("doctor", "--leaks").code, "all rows to go")
        assert {row["Name"] for row in other.ok("GET", "/volumes")["Volumes"]} == set(os.listdir(f"{root}/volumes"))
    finally:
        daemon.close()


def test_a_daemon_starts_on_a_full_disk(daemons: Session, figure: Figure) -> None:
    """It finds what runs, what ended and what its policy wants back, serves, and `rm` makes room.

    Seen to fail where restore sweeps exit records that could not be put on record (255 at the next start), and where it
    must write down at once that a policy wants a container back (the daemon did not start).
    """
    daemon = Daemon(daemons)
    mount = f'mount -t tmpfs -o size=24m none "{daemon.data_root}" && exec "$@"'
    holder = daemon.netns.start(["unshare", "-m", "--", "sh", "-c", mount, "sh", "sleep", "infinity"])
    enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
    try:
        eventually(lambda: str(daemon.data_root) in Path(f"/proc/{holder.pid}/mounts").read_text(), "the small disk")
        daemon.start(prefix=enter)
        daemon.load("busybox")
        api = Api(daemon)
        runs, ends = (api.create("sleep", "1000", NetworkMode="none") for _ in range(2))
        back = api.create("sleep", "1000", NetworkMode="none", RestartPolicy=ALWAYS)
        for ident in (runs, ends, back):
            api.ok("POST", f"/containers/{ident}/start")
        api.ok("POST", f"/containers/{back}/stop?t=0")
        pidfd = os.pidfd_open(api.state(ends)["Pid"])
        for half in ("killed", "killed once more"):
            daemon.kill()
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            fill(f"/proc/{holder.pid}/root{daemon.data_root}/ballast")
            daemon.start(prefix=enter)
            api = Api(daemon)
            assert api.state(runs)["Status"] == "running", half
            state = api.state(ends)
            assert (state["Status"], state["ExitCode"]) == ("exited", 137), (half, state)
        os.close(pidfd)
        for ident in (runs, ends, back):
            api.ok("DELETE", f"/containers/{ident}?force=1")
        os.unlink(f"/proc/{holder.pid}/root{daemon.data_root}/ballast")
        api.create("true", NetworkMode="none")
        clear(api)
        figure("a start of the daemon on a full disk", "serves, no end lost", "twice; rm works")
    finally:
        daemon.close()
        holder.kill()
        holder.wait()


def test_what_belongs_to_nobody_is_named_and_taken(fresh_daemon: Daemon) -> None:
    """``doctor --leaks`` names a stray cgroup, link, lease and directory; the next start takes exactly these away.

    Seen to fail where links are not looked at.
    """
    api, cli = Api(fresh_daemon), fresh_daemon.cli
    ident = api.create("sleep", "1000")
    api.ok("POST", f"/containers/{ident}/start")
    assert cli("doctor", "--leaks").code == 0
    stray = "ab" * 32
    base = fresh_daemon.cgroups()[0]
    (base / stray).mkdir()
    (fresh_daemon.data_root / "containers" / stray).mkdir()
    (fresh_daemon.exec_root / "monitors" / stray).mkdir()
    run = fresh_daemon.netns.run
    run("ip", "link", "add", "mdababababa", "type", "veth", "peer", "name", "stray")
    run("ip", "link", "set", "mdababababa", "master", "minidock0")
    rows = "SELECT network, '172.30.9.9', ?, 'e', 'm' FROM leases LIMIT 1"
    _edit(fresh_daemon, f"INSERT INTO leases (network, address, container, endpoint, mac) {rows}", stray)
    named = cli("doctor", "--leaks", "--json")
    kinds = [leak["Kind"] for leak in json.loads(named.out)["Leaks"]]
    assert named.code == 1 and sorted(kinds) == ["cgroup", "directory", "lease", "link", "monitor"], named
    fresh_daemon.kill()
    fresh_daemon.start()
    assert cli("doctor", "--leaks").out == "nothing is left behind\n"
    assert Api(fresh_daemon).state(ident)["Status"] == "running"
    subprocess.run([*fresh_daemon.netns.enter, "ip", "link", "del", "stray"], check=False, capture_output=True)
    clear(Api(fresh_daemon))
