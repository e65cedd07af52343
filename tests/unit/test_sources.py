"""A bind source that never answers costs its own request, and the daemon goes on."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from minidock.engine import sources
from minidock.engine.config import HostConfig
from minidock.engine.sources import Sources
from minidock.wire.errors import Unavailable


def test_a_source_that_does_not_answer_is_named_and_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where the path is looked at on the daemon's loop: nothing else went on."""
    answer, ticks = threading.Event(), 0

    def lexists(path: object) -> bool:
        if path == "/hung/sub":
            answer.wait(60)
        return True

    async def scenario() -> str:
        nonlocal ticks
        looking = asyncio.ensure_future(Sources().look(HostConfig(binds=("/fine:/a", "volume:/b", "/hung/sub:/c:ro"))))
        while not looking.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(Unavailable) as caught:
            await looking
        answer.set()
        return str(caught.value)

    monkeypatch.setattr(os.path, "lexists", lexists)
    monkeypatch.setattr(sources, "LIMIT", 0.3)
    assert "look at /hung/sub: no answer" in asyncio.run(scenario())
    assert ticks > 3


def test_sources_that_answer_are_no_matter() -> None:
    asyncio.run(Sources().look(HostConfig(binds=("/proc:/a", "/nonesuch:/b"))))
    asyncio.run(Sources().look(HostConfig()))
