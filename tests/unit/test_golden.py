"""The judge of recorded sessions (support/golden.py) sees what it must and no more."""

from __future__ import annotations

import json

import pytest

from tests.support import golden
from tests.support.golden import Facts
from tests.support.recorder import Exchange, exchanges

OK = {"Id": "a" * 64, "Labels": {"a": "b"}, "Mounts": [{"Name": "v"}], "Health": None}


def said(body: object, status: int = 200, content_type: str = "application/json", complete: bool = True) -> Facts:
    target = f"/v1.45/containers/{'a' * 64}/json?size=1"
    return golden.facts([Exchange("GET", target, status, content_type, json.dumps(body).encode(), complete)])


def differences(docker: Facts, ours: Facts) -> list[str]:
    return [text for _, text in golden.differences(docker, ours)]


def test_a_request_is_known_by_its_pattern() -> None:
    assert list(said(OK)) == ["GET /v1.45/containers/{id}/json?size=1"]
    assert golden.pattern("/events?until=1795300062&filters=%7B%22a%22%3Atrue%7D") == (
        '/events?filters={"a":true}&until={time}'
    )


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (OK | {"Id": "b" * 64, "Labels": {"x": "y"}, "Mounts": []}, []),
        (OK | {"Health": {"Status": "healthy"}}, []),
        ({key: value for key, value in OK.items() if key != "Labels"}, ["without `Labels`"]),
        (OK | {"Labels": "a=b"}, ["`Labels` is a string, not a map"]),
        (OK | {"New": 1}, ["with `New`"]),
        (OK | {"Mounts": [{"Source": "v"}]}, ["without `Mounts[].Name`", "with `Mounts[].Source`"]),
    ],
)
def test_fields_that_differ(body: object, found: list[str]) -> None:
    assert differences(said(OK), said(body)) == found


def test_statuses_and_types_that_differ() -> None:
    assert differences(said(OK), said(OK, 404)) == ["status 404, not 200"]
    assert differences(said(OK), said(OK, 200, "text/plain")) == ["content type text/plain, not application/json"]
    assert differences(said(OK), {}) == ["is not asked"] and differences({}, said(OK)) == ["is asked"]
    assert differences({}, said(OK, complete=False)) == [], "an answer that nobody waited for"


def test_a_recording_that_was_cut_off_proves_what_it_shows() -> None:
    body = json.dumps({"A": [1, {"B": 'x,"\\'}], "C": {"D": 1, "E": 2}}).encode()
    for end in range(1, len(body)):
        json.loads(golden.mend(body[:end].decode()))
    cut = golden.facts([Exchange("GET", "/", 200, "application/json", body[:-4])])
    whole = golden.facts([Exchange("GET", "/", 200, "application/json", body)])
    assert differences(cut, whole) == []
    without = golden.facts([Exchange("GET", "/", 200, "application/json", b'{"A": [1, {"B": ""}], "C": {"E": 2}}')])
    assert differences(cut, without) == ["without `C.D`"]


def test_a_file_holds_it_all() -> None:
    session = {"one": said(OK), "two": said(OK, complete=False) | said([], 404)}
    assert golden.parse(golden.dump(session)) == session


def test_what_was_said_on_a_connection() -> None:
    up = (
        b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"HEAD /b HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 2\r\nUpgrade: tcp\r\n\r\nhiraw bytes"
    )
    down = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nHTTP/1.1 101 UPGRADED\r\nContent-Type: x\r\n\r\nraw"
    )
    assert list(exchanges(up, down)) == [
        Exchange("PUT", "/a", 200, None, b"{}"),
        Exchange("HEAD", "/b", 404),
        Exchange("POST", "/c", 101, "x"),
    ]
    assert [one.complete for one in exchanges(up, down[:75])] == [False, False, False]
