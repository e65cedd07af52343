"""Threads that work on a container's files at the pace of a client: they wait for it, and nobody waits for them.

What they do to the files: root/test_cp.py, root/test_diff_export.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import subprocess
import threading
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from minidock.engine import roots
from minidock.engine.config import Config, HostConfig
from minidock.engine.model import Container, Definition, State
from minidock.engine.roots import Root
from minidock.linux import poll
from minidock.wire.errors import Conflict, Unavailable


class FakeHold:
    """Freezes and thaws as the real one does: in a thread of the loop's own pool."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.released = threading.Event()

    async def release(self) -> None:
        await asyncio.to_thread(self.story.append, "released")
        self.released.set()

    async def take(self) -> None:
        await asyncio.to_thread(self.story.append, "taken")


def soon(coming: Awaitable[Any]) -> Any:
    return asyncio.wait_for(coming, 10)


def test_a_client_that_stalls_gives_a_stopped_container_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says so, and its thread is there for the next.

    Seen to fail where the wait has no limit.
    """
    monkeypatch.setattr(roots, "STALL", 0.1)

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as threads:
            root, never = Root(-1, None, threads), Future[bytes]()
            with pytest.raises(Unavailable, match="the other end has not gone on"):
                await soon(root.work(lambda: root.wait(never)))
            assert never.cancelled()
            assert await soon(root.work(lambda: "next")) == "next"

    asyncio.run(scenario())


def test_who_waits_for_a_client_takes_no_thread_that_lets_its_container_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's pool has one thread, and the freezer needs it while the work waits: the container runs on meanwhile.

    Seen to fail where the work is done in the loop's own pool: it waited for itself.
    """
    monkeypatch.setattr(roots, "PATIENCE", 0.05)

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with ThreadPoolExecutor(1) as threads:
            hold, coming = FakeHold(), Future[str]()
            root = Root(-1, hold, threads)  # type: ignore[arg-type]
            working = asyncio.ensure_future(root.work(lambda: root.wait(coming)))
            async with asyncio.timeout(10):
                while not hold.released.is_set():
                    await asyncio.sleep(0.01)
            coming.set_result("came")
            assert await soon(working) == "came"
            assert hold.story == ["released", "taken"]

    asyncio.run(scenario())


def test_who_is_given_up_waits_no_longer() -> None:
    """The client has hung up: its thread ends with its wait. Seen to fail where the wait is not cancelled."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as threads:
            root, never, waits = Root(-1, None, threads), Future[str](), threading.Event()

            def work() -> str:
                waits.set()
                return root.wait(never)

            working = asyncio.ensure_future(root.work(work))
            await asyncio.to_thread(waits.wait)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(working)
            assert await soon(root.work(lambda: "next")) == "next"

    asyncio.run(scenario())


def test_a_process_with_a_high_descriptor_is_entered() -> None:
    """A daemon of many containers and clients has more than a thousand; of a process that has ended there is no root.

    Seen to fail where select() looks at the descriptor: it has room for 1024, and each exec, probe and cp failed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    child = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(child.pid)
    high = fcntl.fcntl(pidfd, fcntl.F_DUPFD_CLOEXEC, 2000)
    container = Container("c" * 64, "some", 0, Definition("sha256:0", Config(), HostConfig()), State(pid=child.pid))
    try:
        os.close(roots.running_root(container, high))
        child.kill()
        assert poll.ready(high, poll.READABLE, 10)
        with pytest.raises(Conflict, match="has just ended"):
            roots.running_root(container, high)
    finally:
        child.kill()
        child.wait()
        os.close(pidfd)
        os.close(high)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
