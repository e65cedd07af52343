"""For the tests of the API: ``api`` is a running server over a fake engine, a fresh one for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.harness import Harness


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.close()
