"""A container's root directory as an fd, for those who read and write its files from outside: cp and export.

A running container's root is found through /proc/PID/root, with everything that is mounted in it; whether PID still is
the container's is asked of its pidfd after the root was opened. A stopped one's is mounted anew, out of everybody's
sight (csrc/tree.c), with its volumes and binds on it. Whoever gets the fd resolves every path with openat2 in it.

A running container is frozen meanwhile (CVE-2018-15664: what is checked could be swapped before it is used; the fds
see to that, the freezer to a picture without cracks). It is let go for as long as the client at the other end keeps us
waiting, so that a client that stalls costs nobody but itself. Read next: archives.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from minidock.engine import bundle
from minidock.engine.cancellation import to_its_end
from minidock.engine.model import Container, Status
from minidock.engine.parts import Parts
from minidock.linux import poll, shim, userns
from minidock.linux.idmap import IdMap
from minidock.linux.pool import pool
from minidock.wire.errors import Conflict, Error, Unavailable

T = TypeVar("T")
PATIENCE = 1.0  # seconds that a container stands still for a client that does not go on
STALL = 30.0  # seconds until a client that does not go on is given up, if it keeps a stopped one from its start
MOST = 32  # at work at once; the others wait before they hold anything


class Root:
    """``fd``, and the means to work on it in a thread that has to wait for a client now and then.

    ``ids``: owners in it are the host's numbers for those that the container knows by these maps; None: the same.
    """

    def __init__(
        self, fd: int, hold: _Seat | None, threads: concurrent.futures.Executor, ids: IdMap | None = None
    ) -> None:
        self.fd = fd
        self.ids = ids
        self._hold = hold
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._given_up = False

    async def work(self, function: Callable[[], T]) -> T:
        """Runs it in a thread. A cancelled caller waits for the thread, which ends at its next ``wait``."""
        task = self._loop.run_in_executor(self._threads, self._as_its_root, function)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._given_up = True
            if self._waiting:
                self._waiting.cancel()
            await asyncio.wait([task])
            raise

    def _as_its_root(self, function: Callable[[], T]) -> T:
        """In the thread: where owners are shifted, the host's root has no number to make a file with."""
        if self.ids is None:
            return function()
        shim.act_as(*self.ids.root)
        try:
            return function()
        finally:
            shim.act_as(0, 0)

    def wait(self, future: concurrent.futures.Future[T]) -> T:
        """In the thread: the result of what a client has to do. A frozen container runs on while that takes long."""
        self._waiting = future
        if self._given_up:
            future.cancel()
        if self._hold is None:
            try:
                return future.result(STALL)
            except TimeoutError:
                future.cancel()
                raise Unavailable(f"the other end has not gone on for {STALL:.0f} s") from None
        with suppress(TimeoutError):
            return future.result(PATIENCE)
        self._do(self._hold.release())
        try:
            return future.result()
        finally:
            self._do(self._hold.take())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Hold:
    """A container kept frozen. Several holds on one add up; one that its user paused stays so."""

    def __init__(self, parts: Parts, container: Container, held: dict[str, int]) -> None:
        self._parts = parts
        self._container = container
        self._held = held

    async def take(self) -> None:
        """Freezes it, if it runs."""
        container = self._container
        async with self._parts.containers.live(container).lock:
            self._held[container.id] = self._held.get(container.id, 0) + 1
            try:
                if container.state.status is Status.RUNNING:
                    with suppress(Error, OSError):  # it has just ended
                        await to_its_end(asyncio.to_thread(self._parts.cgroups.freeze, container.id))
            except asyncio.CancelledError:
                await self._let_go()
                raise

    async def release(self) -> None:
        """Lets it run on, unless another hold or its user has it stand still; one that was removed needs nothing."""
        if self._parts.containers.get(self._container.id) is None:
            self._held.pop(self._container.id, None)
            return
        async with self._parts.containers.live(self._container).lock:
            await self._let_go()

    async def _let_go(self) -> None:
        """With the lock held."""
        container = self._container
        self._held[container.id] -= 1
        if self._held[container.id] == 0:
            del self._held[container.id]
            if container.state.status is Status.RUNNING:
                with suppress(Error, OSError):
                    await asyncio.to_thread(self._parts.cgroups.thaw, container.id)


class _Seat:
    """A hold, and one of the places: who waits for a client gives both back, so that nobody waits for him."""

    def __init__(self, hold: Hold, places: asyncio.Semaphore) -> None:
        self._hold, self._places = hold, places

    async def take(self) -> None:
        await self._places.acquire()  # first, while nothing is held
        await self._hold.take()

    async def release(self) -> None:
        await self._hold.release()
        self._places.release()


class Roots:
    """Opens them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._held: dict[str, int] = {}
        self._places = asyncio.Semaphore(MOST)

    @asynccontextmanager
    async def still(self, container: Container) -> AsyncIterator[Hold | None]:
        """The container stands still for the block's length: frozen if it runs, else neither started nor removed."""
        if container.state.alive:
            hold = Hold(self._parts, container, self._held)
            await hold.take()
            try:
                yield hold
            finally:
                await asyncio.shield(hold.release())
            return
        live = self._parts.containers.live(container)
        async with live.lock:
            if container.state.alive or container.state.status is Status.REMOVING:
                raise Conflict(f"container {container.name} is being started or removed", "try again")
            if live.letting_go:
                await live.letting_go
            yield None

    @asynccontextmanager
    async def open(self, container: Container, writable: bool = False, mounts: bool = True) -> AsyncIterator[Root]:
        """The root for the length of the block. ``mounts``: with what is mounted in a stopped container, too."""
        async with self._places, self.still(container) as hold:
            ids = None
            if hold:
                fd, ids = self._running(container)
            else:
                fd = await asyncio.to_thread(self._stopped, container, writable, mounts)
            # A thread of its own: a client sets its pace, and what lets its container go must not wait for it.
            threads = pool(1, "roots")
            try:
                yield Root(fd, _Seat(hold, self._places) if hold else None, threads, ids)
            finally:
                threads.shutdown(wait=False)
                os.close(fd)

    def _running(self, container: Container) -> tuple[int, IdMap | None]:
        fd = running_root(container, self._parts.containers.live(container).running().pidfd)
        return fd, running_ids(container)

    def _stopped(self, container: Container, writable: bool, mounts: bool) -> int:
        settings, images = self._parts.settings, self._parts.images
        directory = settings.container_directory(container.id)
        lowers = images.lowers(images.of_container(container.definition.image_id))
        base, upper = str(images.layers_dir), str(directory / "upper")
        if not mounts:
            lowers = [os.path.relpath(upper, base), *lowers]
        found = bundle.bind_mounts(container, directory) if mounts else ()
        return shim.container_tree(
            (base, ":".join(lowers)),
            str(directory / "rootfs"),
            (upper, str(directory / "work")) if mounts else None,
            [(one.source, one.below, one.target, "ro" in one.flags) for one in found if os.path.lexists(one.source)],
            (container.host.readonly_rootfs, not writable),
        )


def running_root(container: Container, pidfd: int) -> int:
    """An fd of a running container's root directory. Raises Conflict if it has ended, and its pid may be another's."""
    try:
        fd = os.open(f"/proc/{container.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        fd = -1
    if fd < 0 or pidfd < 0 or poll.ready(pidfd, poll.READABLE):  # it has ended, its number is free
        if fd >= 0:
            os.close(fd)
        raise _ended(container)
    return fd


def running_ids(container: Container) -> IdMap | None:
    """The maps of a running container's user namespace; None if it is in the host's."""
    try:
        return userns.of(container.state.pid)
    except FileNotFoundError:
        raise _ended(container) from None


def _ended(container: Container) -> Conflict:
    return Conflict(f"container {container.name} has just ended", "try again")
