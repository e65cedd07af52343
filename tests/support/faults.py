"""Breaking the daemon on purpose: killed or refused at an exact system call, and what must hold after its next start.

For tests/root/test_faults_*.py. strace(1) is attached to the threads that the daemon has and not to its children, so
that a fault hits the daemon and no monitor (``Struck``). `check_legal` says what every container must look like
whatever happened. Read next: daemon.py, ledger.py.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from tests.support import ledger
from tests.support.daemon import Daemon, Session
from tests.support.procfs import runs
from tests.support.wait import eventually

STATES = ("created", "running", "paused", "restarting", "exited", "removing", "dead")


class Api(HTTPConnection):
    """The API without a client: what status and what body came, or None where the daemon went away."""

    def __init__(self, daemon: Daemon, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(daemon.socket)

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """(status, JSON of the body); (0, None) if the daemon went away."""
        data = None if body is None else json.dumps(body)
        try:
            self.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = self.getresponse()
            text = response.read()
        except (OSError, EOFError, AssertionError) as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise
            return 0, None
        except Exception:
            self.close()
            return 0, None
        with suppress(ValueError):
            return response.status, json.loads(text)
        return response.status, text

    def create(self, *command: str, name: str = "", **host: object) -> str:
        """A container of busybox's; its id."""
        body = {"Image": "busybox", "Cmd": list(command), "HostConfig": host}
        status, answer = self.ask("POST", f"/containers/create{'?name=' + name if name else ''}", body)
        assert status == 201, answer
        return str(answer["Id"])

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """A request that must succeed."""
        status, answer = self.ask(method, path, body)
        assert 200 <= status < 400, f"{method} {path}: {status} {answer}"
        return answer

    def state(self, ident: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("GET", f"/containers/{ident}/json")["State"]
        return found


@contextmanager
def struck(daemon: Daemon, calls: str, effect: str, when: int, children: bool = False) -> Iterator[None]:
    """While the block runs, the ``when``-th of these system calls of each thread of the daemon has an ``effect``."""
    with watched(daemon, calls, "-e", f"inject={calls}:{effect}:when={when}", children=children):
        yield


@contextmanager
def watched(daemon: Daemon, calls: str, *options: str, children: bool = False) -> Iterator[Path]:
    """strace's log of these system calls of the daemon while the block runs, whole behind it; descriptors as paths."""
    tids = os.listdir(f"/proc/{daemon.pid}/task")
    tasks = ["-f", "-p", str(daemon.pid)] if children else [task for tid in tids for task in ("-p", tid)]
    log = daemon.base / "strace"
    command = ["strace", "-y", "-o", str(log), "-e", f"trace={calls}", *options, *tasks]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert b"attached" in line, line
        eventually(lambda: all(_traced(daemon.pid, tid) for tid in tids), "strace to have attached")
        try:
            yield log
        finally:
            _end(tracer)


def _end(tracer: subprocess.Popen[bytes]) -> None:
    """Told to end while the process dies, strace may wait for its first thread, which the kernel keeps for the last."""
    tracer.terminate()
    try:
        tracer.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.communicate()


def _traced(pid: int, tid: str) -> bool:
    try:
        return "TracerPid:\t0" not in Path(f"/proc/{pid}/task/{tid}/status").read_text()
    except OSError:
        return True


def died(daemon: Daemon, timeout: float = 0.5) -> bool:
    """Whether the daemon is gone (and reaped, so that it can be started again)."""
    assert daemon.process is not None
    try:
        daemon.process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    daemon.process = None
    return True


def check_legal(daemon: Daemon, codes: dict[str, set[int]]) -> dict[str, str]:
    """Every container is in one legal state, with an exit code that it can have. Gives the states by id."""
    found, api = {}, Api(daemon)
    for row in api.ok("GET", "/containers/json?all=1"):
        state = api.state(row["Id"])
        status, pid = state["Status"], state["Pid"]
        assert status in STATES and status not in ("removing", "dead"), state
        assert runs(pid) if status in ("running", "paused") else pid == 0, state
        if status == "exited":
            assert state["ExitCode"] in codes.get(row["Id"], {state["ExitCode"]}), state
            assert state["ExitCode"] != 255 or state["Error"], state
        found[row["Id"]] = status
    alive = {ident for ident, status in found.items() if status in ("running", "paused")}
    eventually(lambda: _holders(daemon) == (alive, alive), f"cgroups and addresses of {alive} and no other")
    return found


def _holders(daemon: Daemon) -> tuple[set[str], set[str]]:
    """The ids that have a cgroup, and those that have an address (only containers on a bridge do)."""
    cgroups = {path.name for base in daemon.cgroups() for path in base.iterdir() if len(path.name) == 64}
    database = sqlite3.connect(f"file:{daemon.data_root}/minidock.db?mode=ro", uri=True)
    try:
        sql = "SELECT container FROM leases WHERE container NOT LIKE 'ready-%'"
        return cgroups, {row[0] for row in database.execute(sql)}
    finally:
        database.close()


def clear(api: Api) -> None:
    """All containers go, whatever they are."""
    for row in api.ok("GET", "/containers/json?all=1"):
        api.ok("DELETE", f"/containers/{row['Id']}?force=1&v=1")


def small_disk(daemon: Daemon, size: str) -> list[str]:
    """The prefix of a command that has a small tmpfs for a data root, in a mount namespace of its own."""
    script = f'mount -t tmpfs -o size={size} none "{daemon.data_root}" && exec "$@"'
    return ["unshare", "-m", "--", "sh", "-c", script, "sh"]


def fill(path: str, leave: int = 0) -> None:
    """A file that takes all room on its disk but for ``leave`` bytes."""
    with open(path, "wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12):
            try:
                while ballast.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
        ballast.truncate(max(0, ballast.tell() - leave))


@contextmanager
def kept_full(path: str) -> Iterator[None]:
    """The same while the block runs: whatever room somebody makes is taken at once, and all given back at the end."""
    over = threading.Event()

    def take() -> None:
        with open(path, "ab", buffering=0) as ballast:
            while not over.is_set():
                try:
                    ballast.write(bytes(1 << 12))
                except OSError:
                    full.set()
                    over.wait(0.001)

    full, taking = threading.Event(), threading.Thread(target=take)
    taking.start()
    try:
        assert full.wait(60)
        yield
    finally:
        over.set()
        taking.join()
        os.unlink(path)


def balance(session: Session, before: ledger.Ledger, what: str) -> None:
    """The ledger, without the daemon's own descriptors and threads: it may be another process by now."""

    def left() -> list[str]:
        lines = ledger.differences(before, ledger.take(session))
        return [line for line in lines if not line.startswith(("fds", "threads"))]

    try:
        eventually(lambda: not left(), "the ledger to balance", timeout=10)
    except AssertionError:
        raise AssertionError(f"the ledger does not balance ({what}): {left()}") from None
