"""Probes: the health checks of running containers, each a task that sleeps, runs the command and notes the result.

Begun by the watcher of a container that starts or is found running, cancelled when it ends. What a result means is
decided in health.py. Read next: execs.py, capture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from minidock.engine import health
from minidock.engine.config import Healthcheck
from minidock.engine.containers import Containers, Live
from minidock.engine.execs import Execs
from minidock.engine.model import Container, ProbeResult, Status
from minidock.engine.requests import ExecRequest
from minidock.wire import times
from minidock.wire.errors import Error

LONGEST_OUTPUT = 4096
_TIMEOUT = 30 * times.SECOND


class Probes:
    """The health checks of all containers that run; ``publish`` tells of a change."""

    def __init__(self, containers: Containers, execs: Execs, publish: Callable[[Container, str], None]) -> None:
        self._containers, self._execs, self._publish = containers, execs, publish

    def watch(self, container: Container, live: Live) -> None:
        """From here on it is probed, if it has a check, until ``live.probing`` is cancelled."""
        if health.command(container.config):
            live.probing = asyncio.get_running_loop().create_task(self._run(container))

    async def _run(self, container: Container) -> None:
        wanted = container.config.healthcheck or Healthcheck()
        while True:
            await asyncio.sleep(health.pause_before(container.state, wanted, times.now()) / times.SECOND)
            if container.state.status is Status.RUNNING:
                self._note(container, wanted, await self._probe(container, wanted))

    async def _probe(self, container: Container, wanted: Healthcheck) -> ProbeResult:
        start, limit = times.now(), wanted.timeout or _TIMEOUT
        request = ExecRequest(health.command(container.config), attach_stdout=True, attach_stderr=True)
        try:
            code, output = await self._execs.capture(container, request, limit / times.SECOND, LONGEST_OUTPUT)
        except TimeoutError:
            code, output = -1, f"Health check exceeded timeout ({limit / times.SECOND:g}s)"
        except (Error, OSError) as error:
            code, output = -1, str(error)
        return ProbeResult(start, times.now(), code, output)

    def _note(self, container: Container, wanted: Healthcheck, result: ProbeResult) -> None:
        before = container.state.health
        now = health.after(container.state, wanted, result)
        self._containers.note(container, container.state.status, health=now)  # a full disk ends no health check
        if before is None or before.status != now.status:
            self._publish(container, f"health_status: {now.status}")
