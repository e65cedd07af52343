"""Fixtures that several files here have: the monitor's two builds and a workshop around each test of it
(support/monitors.py); a store of images without a daemon, and a registry of ours (support/images.py, registries.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images as made_images
from tests.support import monitors
from tests.support.images import Images
from tests.support.monitors import BIG, Build, Workshop
from tests.support.registries import BASE, QUICK, TOP, FakeRegistry, fake_registry


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


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    """A store of the test's own, impatient with registries."""
    with made_images.images(tmp_path / "data") as found:
        found.store.puller().timing = found.store.pusher().timing = QUICK
        yield found


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry that does as it is told, with an image x:1 of two layers."""
    with fake_registry() as found:
        found.publish("x", "1", [BASE, TOP])
        yield found
