"""A file system that does not answer: whoever needs it gets an error in bounded time, and nobody else waits.

Read next: ../support/hung.py (such a file system), ../../minidock/engine/sources.py, ../../csrc/report.c.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import hung, ledger
from tests.support.daemon import Daemon, Session
from tests.support.faults import Api, balance
from tests.support.figures import Figure
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.fuse, pytest.mark.slow, pytest.mark.time_limit(240)]


@dataclass(frozen=True)
class Hung:
    """A daemon that has such a file system in its mount namespace. `hangs` and `answers` switch."""

    daemon: Daemon
    flag: Path

    @property
    def enter(self) -> list[str]:
        """A command prefix that leads into that mount namespace."""
        return ["nsenter", f"--mount=/proc/{self.flag.with_suffix('.server').read_text()}/ns/mnt", "--"]

    @property
    def source(self) -> str:
        return f"{self.daemon.base}/hung/source"

    def hangs(self) -> None:
        self.flag.with_suffix(".asked").unlink(missing_ok=True)
        self.flag.touch()

    def is_asked(self) -> bool:
        return self.flag.with_suffix(".asked").exists()

    def answers(self) -> None:
        self.flag.unlink()


@pytest.fixture
def hanging(daemons: Session) -> Iterator[Hung]:
    daemon = Daemon(daemons)
    target, flag = daemon.base / "hung", daemon.base / "flags" / "hangs"
    target.mkdir()
    flag.parent.mkdir()
    program = [sys.executable, "-P", str(hung.__file__), str(target), str(flag)]
    try:
        daemon.start(prefix=["unshare", "-m", "--", *program])
        daemon.load("busybox")
        yield Hung(daemon, flag)
    finally:
        flag.unlink(missing_ok=True)
        daemon.close()


class Asking(threading.Thread):
    """A request of a client that may have to wait; `answer` when it is over."""

    def __init__(self, daemon: Daemon, method: str, path: str, body: object = None) -> None:
        super().__init__()
        self.answer: tuple[int, Any] = (0, None)
        self._ask: Callable[[], tuple[int, Any]] = lambda: Api(daemon, timeout=120).ask(method, path, body)
        self.start()

    def run(self) -> None:
        self.answer = self._ask()

    def over(self) -> tuple[int, Any]:
        self.join(120)
        assert not self.is_alive(), "no answer"
        return self.answer


def _others_go_on(daemon: Daemon, waiting: Asking) -> None:
    """Another client's container lives its whole life while that request waits."""
    api = Api(daemon)
    assert api.ok("GET", "/containers/json") is not None and waiting.is_alive()
    ident = api.create("true", NetworkMode="none")
    api.ok("POST", f"/containers/{ident}/start")
    assert api.ok("POST", f"/containers/{ident}/wait")["StatusCode"] == 0
    api.ok("DELETE", f"/containers/{ident}")


def test_a_source_that_does_not_answer(hanging: Hung, daemons: Session, figure: Figure) -> None:
    """At the create, and, asked later, at the start: the error names it, others are served meanwhile, ledger 0.

    Seen to fail where the undo of a start says what it could not undo, and not what had failed (a 409 for a cgroup),
    and where a create looks at the source on the daemon's loop (nobody was served).
    """
    daemon, api = hanging.daemon, Api(hanging.daemon)
    before = ledger.take(daemons)
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Binds": [f"{hanging.source}:/x"]}}

    hanging.hangs()
    creating = Asking(daemon, "POST", "/containers/create", body)
    eventually(hanging.is_asked, "the source to be looked at")
    _others_go_on(daemon, creating)
    status, answer = creating.over()
    assert status == 503 and hanging.source in answer["message"] and "FUSE" in answer["message"], answer
    hanging.answers()

    ident = api.ok("POST", "/containers/create", body)["Id"]
    hanging.hangs()
    starting = Asking(daemon, "POST", f"/containers/{ident}/start")
    eventually(hanging.is_asked, "the source to be mounted")
    _others_go_on(daemon, starting)
    status, answer = starting.over()
    assert status == 500 and hanging.source in answer["message"] and "FUSE" in answer["message"], answer
    assert api.state(ident)["Status"] == "created"
    assert "cgroup" in daemon.cli("doctor", "--leaks").out, "what nobody can kill is there to be seen"
    hanging.answers()
    eventually(lambda: api.ask("POST", f"/containers/{ident}/start")[0] == 204, "the start, now that it can be")
    assert api.ok("POST", f"/containers/{ident}/wait")["StatusCode"] == 0
    api.ok("DELETE", f"/containers/{ident}?force=1")
    balance(daemons, before, "sources that do not answer")
    figure("a bind source's file server does not answer", "an error in bounded time, others served",
           "create 10 s, start 20 s without a step done, ledger 0")  # fmt: skip


def test_a_volume_s_device_that_does_not_answer(hanging: Hung) -> None:
    """A directory of the host's by another name. Seen to fail where the start looked at it on the daemon's loop."""
    daemon, api = hanging.daemon, Api(hanging.daemon)
    options = {"type": "none", "o": "bind", "device": hanging.source}
    api.ok("POST", "/volumes/create", {"Name": "far", "DriverOpts": options})
    ident = api.create("true", Binds=["far:/x"])
    hanging.hangs()
    starting = Asking(daemon, "POST", f"/containers/{ident}/start")
    eventually(hanging.is_asked, "the device to be mounted")
    _others_go_on(daemon, starting)
    status, answer = starting.over()
    assert status == 500 and hanging.source in answer["message"] and "FUSE" in answer["message"], answer
    hanging.answers()
    eventually(lambda: api.ask("POST", f"/containers/{ident}/start")[0] == 204, "the start, now that it can be")


def test_a_container_that_hangs(hanging: Hung, daemons: Session, figure: Figure) -> None:
    """No signal ends it: its stop waits, over a daemon's death, and nobody else does; when it can end, it is on record.

    Seen to fail where restore waits until a container that is being stopped has ended.
    """
    daemon, api = hanging.daemon, Api(hanging.daemon)
    before = ledger.take(daemons)
    ident = api.create("sleep", "1000", Binds=[f"{hanging.source}:/x"], NetworkMode="none")
    api.ok("POST", f"/containers/{ident}/start")
    session = api.ok("POST", f"/containers/{ident}/exec", {"Cmd": ["ls", "/x/below"]})["Id"]
    hanging.hangs()
    api.ok("POST", f"/exec/{session}/start", {"Detach": True})
    eventually(hanging.is_asked, "the container to hang")
    stopping = Asking(daemon, "POST", f"/containers/{ident}/stop?t=1")
    _others_go_on(daemon, stopping)
    daemon.kill()
    assert stopping.over() == (0, None)
    daemon.start(prefix=hanging.enter)
    api = Api(daemon)
    assert api.state(ident)["Status"] == "running"
    removing = Asking(daemon, "DELETE", f"/containers/{ident}?force=1")
    _others_go_on(daemon, removing)
    hanging.answers()
    assert removing.over()[0] == 204
    balance(daemons, before, "a container that hangs")
    figure("a container that no signal ends", "others served, also by the next daemon", "gone when it can be, ledger 0")
