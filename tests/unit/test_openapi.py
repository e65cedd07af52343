"""The judge of responses (support/openapi.py) sees what it is there to see; the page is well-formed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import openapi


def record(method: str, target: str, status: int, body: Any, kind: str = "application/json") -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {"method": method, "target": target, "status": status, "type": kind, "body": text, "headers": []}


VOLUME = {
    "CreatedAt": "2026-11-22T00:00:00Z",
    "Driver": "local",
    "Labels": None,
    "Mountpoint": "/v",
    "Name": "v",
    "Options": None,
    "Scope": "local",
}
GOOD = record("GET", "/v1.45/volumes/v", 200, VOLUME)


def test_what_stands_in_the_page_passes() -> None:
    assert openapi.unlike(GOOD) == ""
    assert openapi.unlike(record("GET", "/no/such/path", 404, {"message": "page not found"})) == ""
    assert openapi.unlike(record("", "", 400, {"message": "this is no HTTP"})) == ""
    lines = '{"status":"one\x85\u2028more"}\r\n{"status":"two","id":"x"}\r\n'  # what Python, too, calls ends of lines
    assert openapi.unlike(record("POST", "/images/create?fromImage=a", 200, lines)) == ""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"body": json.dumps({**VOLUME, "Surprise": 1})}, "Surprise"),
        ({"body": json.dumps({**VOLUME, "Labels": []})}, "Labels"),
        ({"body": json.dumps({key: value for key, value in VOLUME.items() if key != "Scope"})}, "Scope"),
        ({"status": 418}, "status"),
        ({"type": "text/plain", "body": ""}, "content type"),
        ({"target": "/images/create", "method": "POST", "body": '{"status":"a"}\n{"stat":"b"}\n'}, "stat"),
        ({"target": "/no/such/path", "status": 404, "body": "{}"}, "message"),
        ({"target": "/containers/c/archive?path=/", "type": "application/x-tar", "body": ""}, "Path-Stat"),
    ],
)
def test_what_does_not_is_named(wrong: dict[str, Any], words: str) -> None:
    found = openapi.unlike({**GOOD, **wrong})
    assert words in found


def test_records_are_read_once_and_whole(tmp_path: Path) -> None:
    judge, file = openapi.Judge(), tmp_path / "records"
    bad = json.dumps({**GOOD, "status": 418}) + "\n"
    file.write_text(bad + bad[:10])
    assert len(judge.judge([file])) == 1
    with file.open("a") as more:
        more.write(bad[10:])
    assert len(judge.judge([file])) == 1
    assert judge.judge([file]) == [] and judge.seen == 2


def test_every_reference_of_the_page_leads_somewhere() -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(references, value))
        if not isinstance(value, dict):
            return set()
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))

    used = references(openapi.page())
    for reference in used:
        openapi.at(reference)
    schemas = openapi.page()["components"]["schemas"]
    unused = {f"#/components/schemas/{name}" for name in schemas} - used
    assert not unused
