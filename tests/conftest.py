"""The frame of all tests: markers and what they need, strict mode, a time limit, daemons, the leak ledger.

A marker says what a test needs (support/needs.py has the list); what the machine lacks is a skip with its reason, and
with MINIDOCK_TEST_STRICT=1 a failure, unless support/impossible.py names it. Tests under root/ and cgroup/ are marked
`root` by their place, and get the ledger. Fixtures: `daemon` (one a module, images loaded), `fresh_daemon` (one a
test), `minidock`, `docker_cli` and `docker_api` (clients of `daemon`), `scale` (counts that `make test-slow` raises),
`figure` (what a fault test has reached, for the table at the end).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.support import figures, ledger, needs
from tests.support.cli import Cli
from tests.support.daemon import Daemon, Session
from tests.support.figures import Figure
from tests.support.impossible import IMPOSSIBLE

STRICT = bool(os.environ.get("MINIDOCK_TEST_STRICT"))
SLOW = bool(os.environ.get("MINIDOCK_TEST_SLOW"))
TIME_LIMIT = 120  # seconds a test may take; marker time_limit(SECONDS) for others

LEDGER_BEFORE = pytest.StashKey[ledger.Ledger]()
LOG_OFFSETS = pytest.StashKey[dict[Daemon, int]]()
FIGURES = pytest.StashKey[list[figures.Row]]()


def pytest_configure(config: pytest.Config) -> None:
    # nohup ignores the first, a shell's "&" the others, and what ignores a signal hands that on to its children
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, (meaning, _) in needs.NEEDS.items():
        config.addinivalue_line("markers", f"{name}: needs {meaning}")
    config.addinivalue_line("markers", "cgroup(*controllers): needs a cgroup v2 with these controllers, as root")
    config.addinivalue_line("markers", "slow: takes minutes in full; small counts unless MINIDOCK_TEST_SLOW=1")
    config.addinivalue_line("markers", "time_limit(seconds): may take this long")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"root", "cgroup"} & set(item.path.parts[-3:-1]):
            item.add_marker("root")


# -- needs, and strict mode -------------------------------------------------------------------------------------------


def _lacking(item: pytest.Item) -> str | None:
    for marker in item.iter_markers():
        if marker.name in needs.NEEDS:
            reason = needs.lacking(marker.name)
        elif marker.name == "cgroup":
            reason = needs.cgroup_controllers(marker.args)
        else:
            continue
        if reason:
            return f"{marker.name}: {reason}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if reason := _lacking(item):
        pytest.skip(reason)


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In strict mode: turns a skip into a failure, but for the needs that a machine may lack for good."""
    if not (STRICT and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    need = reason.removeprefix("Skipped: ").partition(":")[0]
    if need not in IMPOSSIBLE:
        report.outcome = "failed"
        report.longrepr = f"skipped, which strict mode forbids: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    if report.failed:
        session: Session | None = getattr(item, "funcargs", {}).get("daemons")
        offsets = item.stash.get(LOG_OFFSETS, {})
        for daemon in session.daemons if session else []:
            text = daemon.log_text(offsets.get(daemon, 0))
            report.sections.append((f"minidockd log of {daemon.base.name}", text[-20000:]))
    return report


# -- the time limit ---------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that hangs fails with its stack, and the others still run. Counts its fixtures too."""
    marker = item.get_closest_marker("time_limit")
    limit = marker.args[0] if marker else TIME_LIMIT

    def expired(number: int, frame: Any) -> None:
        raise TimeoutError(f"the test took longer than {limit} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, limit * (10 if SLOW else 1))
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- daemons and their clients ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def daemons() -> Iterator[Session]:
    """All daemons of this run; for tests that make their own (two side by side, one under strace)."""
    session = Session()
    yield session
    session.close()


@pytest.fixture(scope="module")
def daemon(daemons: Session) -> Iterator[Daemon]:
    """A daemon with alpine and busybox loaded, shared by the tests of a module; they leave it as they found it."""
    daemon = Daemon(daemons)
    try:
        daemon.start()
        daemon.load("alpine", "busybox")
        daemon.cli.ok("run", "--rm", "busybox", "true")  # what the daemon opens once and keeps is open from here on
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def fresh_daemon(daemons: Session, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon of the test's own, with busybox loaded, to be killed, starved or restarted; it must not leak either."""
    daemon = Daemon(daemons)
    try:
        daemon.start()
        daemon.load("busybox")
        before = ledger.take(daemons)
        yield daemon
        if daemon.process:
            _check_ledger(daemons, before)
    finally:
        daemon.close()


@pytest.fixture
def minidock(daemon: Daemon) -> Cli:
    """Our client: `minidock("run", "--rm", "alpine", "true")`."""
    return daemon.cli


@pytest.fixture
def docker_cli(daemon: Daemon) -> Cli:
    """The real docker CLI, on our daemon's socket (marker docker_cli)."""
    return daemon.docker


@pytest.fixture
def docker_api(daemon: Daemon) -> Iterator[Any]:
    """A docker-py client of our daemon."""
    import docker

    client = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield client
    client.close()


@pytest.fixture
def scale() -> Callable[[int, int], int]:
    """`scale(small, full)`: the count to use, small in `make test`, full in `make test-slow`."""
    return lambda small, full: full if SLOW else small


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """`figure(fault, demanded, reached)`: a line of the table that the run ends with."""
    rows = request.config.stash.setdefault(FIGURES, [])
    return lambda *row: rows.append(row)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for number, line in enumerate(figures.table(config.stash.get(FIGURES, []))):
        if number == 0:
            terminalreporter.section("figures" if SLOW else "figures (small counts; in full: make test-slow)")
        terminalreporter.write_line(line)


# -- what daemons answer ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def described_answers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around every root test that has to do with a daemon: all that daemons answered stands in docs/openapi.yaml."""
    yield
    if "daemons" in request.fixturenames:
        session: Session = request.getfixturevalue("daemons")
        wrong = session.judge.judge(session.records)
        if wrong:
            pytest.fail("not as docs/openapi.yaml has it:\n  " + "\n  ".join(wrong), pytrace=False)


# -- the leak ledger --------------------------------------------------------------------------------------------------


def _check_ledger(session: Session, before: ledger.Ledger) -> None:
    lines = ledger.settle(session, before)
    if lines:
        pytest.fail("the leak ledger does not balance:\n  " + "\n  ".join(lines), pytrace=False)


@pytest.fixture(autouse=True)
def leak_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around every root test that has to do with a daemon: nothing of ours more or less after it than before."""
    if "daemons" not in request.fixturenames:
        yield
        return
    session: Session = request.getfixturevalue("daemons")
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon")  # before the first entry is written
    request.node.stash[LOG_OFFSETS] = {d: d.log.stat().st_size for d in session.daemons}
    before = ledger.take(session)
    yield
    _check_ledger(session, before)
