"""`search`: an index on loopback is asked as Docker asks one, and what it answers is made a table of docker's.

Seen to fail on: the host left in the question, credentials sent unasked, a limit that is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from minidock.image.http import Timing
from minidock.image.model import Auth, Found, RegistryConfig
from minidock.image.search import search
from minidock.wire.errors import Error
from tests.support.registries import FakeRegistry, Reply, Request, fake_registry

QUICK = Timing(connect=1, read=1, window=1, window_bytes=100, attempts=2, pause=0.01, longest_pause=0.05)
TOOL = {"name": "tool", "description": "A tool", "star_count": 12, "is_official": True, "is_automated": False}
MINE: dict[str, Any] = {"name": "me/tool", "description": None}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        found.hook = lambda request: Reply(body=json.dumps({"results": [TOOL, MINE, MINE]}).encode())
        yield found


def found(term: str, limit: int = 25, auth: Auth | None = None) -> list[Found]:
    return search(term, limit, auth, RegistryConfig(), QUICK)


def test_an_index_is_asked_by_the_old_protocol(fake: FakeRegistry) -> None:
    assert found(f"{fake.host}/a tool/x", 2) == [Found("tool", "A tool", 12, True), Found("me/tool")]
    (request,) = [request for request in fake.requests if request.method == "GET"]
    assert request.path == "/v1/search?q=a+tool%2Fx&n=2" and "authorization" not in request.headers


def test_credentials_are_sent_when_they_are_asked_for(fake: FakeRegistry) -> None:
    inner = fake.hook

    def hook(request: Request) -> Reply | None:
        return inner(request) if "authorization" in request.headers else Reply(401, b"", {"WWW-Authenticate": "Basic"})

    fake.hook = hook
    assert len(found(f"{fake.host}/x", auth=Auth("me", "secret"))) == 3
    with pytest.raises(Error, match="it answered 401"):
        found(f"{fake.host}/x")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(404), "it answered 404; hint: it may have no search"),
        (Reply(body=b"<html>"), "search results"),
        (Reply(body=b'{"results": [{"name": 5}]}'), "field name is not valid"),
        (Reply(body=b'{"results": {}}'), "field results is not valid"),
        (Reply(body=b" " * (4 << 20) + b"{}"), "larger than"),
    ],
)
def test_an_index_that_is_none(fake: FakeRegistry, reply: Reply, says: str) -> None:
    fake.hook = lambda request: reply
    with pytest.raises(Error) as caught:
        found(f"{fake.host}/x")
    assert says in str(caught.value)


@pytest.mark.parametrize("term", ["", " ", "https://host/x"])
def test_a_term_that_is_none(term: str) -> None:
    with pytest.raises(Error, match="invalid repository name"):
        found(term)
