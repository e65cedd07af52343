"""Fixtures of the monitor's own tests: the two builds, and a workshop around each test (support/monitors.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import monitors
from tests.support.monitors import BIG, Build, Workshop


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """The monitor as it is built for use, and with sanitizers; both with short time limits."""
    made = monitors.build(tmp_path_factory.mktemp("monitor"), sanitize=request.param == "sanitized")
    yield made
    os.close(made.binary)


@pytest.fixture
def workshop(build: Build, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(build, tmp_path)
    yield made
    made.check()


@pytest.fixture(scope="session")
def counted() -> bytes:
    """What monitors.COUNT prints."""
    return b"".join(b"%d\n" % n for n in range(1, 400001))[:BIG]
