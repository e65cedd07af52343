"""The API under requests that nobody would send: no 5xx but those that are meant, and nothing is left behind."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.support import ledger
from tests.support.daemon import TOP, Daemon, Session


@pytest.fixture
def listener(daemons: Session) -> Iterator[Daemon]:
    """A daemon that listens on loopback TCP, too."""
    daemon = Daemon(daemons, ["--host", "tcp://127.0.0.1:0", "--allow-insecure-tcp"])
    try:
        daemon.start()
        daemon.load("busybox")
        daemon.cli.ok("run", "--rm", "busybox", "true")
        yield daemon
    finally:
        daemon.close()


@pytest.mark.slow
@pytest.mark.time_limit(400)
def test_no_request_breaks_the_daemon(listener: Daemon, daemons: Session, scale: Callable[[int, int], int]) -> None:
    """Broken builds: a handler that raises a KeyError; a field of another kind in one answer (found by the record of
    the answers, when the fixture ends); a volume's folder that stays when the volume goes.

    Seen to fail: arguments that ps can't have, half a quotation mark among them, and a registry whose name is no
    host were each a 500; a null among labels was shown as null (found by the record of the answer).
    """
    (port,) = re.findall(r"API listen on tcp://127\.0\.0\.1:(\d+)", listener.log_text())
    before = ledger.take(daemons)
    fuzz = [sys.executable, "-m", "tests.support.fuzz", f"http://127.0.0.1:{port}/v1.45", str(scale(2, 60)), "1"]
    output = listener.netns.run("env", "-C", str(TOP), *fuzz)
    result = json.loads(output)
    assert result["found"] == []
    assert ledger.settle(daemons, before) == []
    statuses = result["statuses"]
    print(f"figure: {sum(statuses.values())} requests that nobody would send, {statuses}, ledger 0")
    assert {"200", "400", "404", "409"} <= statuses.keys()
