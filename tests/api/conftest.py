"""For the tests of the API: ``api`` is a running server over a fake engine, a fresh one for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Harness
from tests.support import openapi, scribe


@pytest.fixture(scope="session")
def records() -> list[dict[str, Any]]:
    """What the servers of this run answer, as it comes."""
    made: list[dict[str, Any]] = []
    scribe.install(made.append)
    return made


@pytest.fixture(autouse=True)
def described_answers(records: list[dict[str, Any]]) -> Iterator[None]:
    """Around every test: all that was answered stands in docs/openapi.yaml."""
    records.clear()
    yield
    wrong = list(filter(None, map(openapi.unlike, list(records))))
    if wrong:
        pytest.fail("not as docs/openapi.yaml has it:\n  " + "\n  ".join(wrong), pytrace=False)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.close()
