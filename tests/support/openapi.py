"""docs/openapi.yaml as a judge: does a response stand in it?

scribe.py writes down what daemons answer, ../conftest.py asks here after each test. Schemas of responses are closed:
a key that is not described is as wrong as one that is missing. jsonschema-rs, because it takes microseconds for what a
validator in Python takes milliseconds for.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from minidock.api.request import Request
from minidock.api.response import JSON
from minidock.api.router import ROUTES, Route, Router
from minidock.wire.errors import Error

PAGE = Path(__file__).resolve().parents[2] / "docs/openapi.yaml"
# Answers of the HTTP layer, before there is an operation: the page's introduction has them.
OF_HTTP = {301, 403, 408, 413, 431, 505}


@functools.cache
def page() -> dict[str, Any]:
    """The file as data."""
    loaded: dict[str, Any] = yaml.load(PAGE.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def described() -> set[tuple[str, str]]:
    """(METHOD, path) of each operation."""
    verbs = {"get", "head", "post", "put", "delete"}
    return {(verb.upper(), path) for path, item in page()["paths"].items() for verb in item if verb in verbs}


def path_of(route: Route) -> str:
    """A route's pattern as OpenAPI writes it, which knows no placeholder for several segments."""
    return route.pattern.replace("*}", "}")


def unlike(record: dict[str, Any]) -> str:
    """What is wrong with a recorded response; "" where nothing is."""
    what = f"{record['method']} {record['target']} → {record['status']}"
    reason = next(_reasons(record), "")
    return f"{what}: {reason}\n    {record['body'][:2000]}" if reason else ""


def _reasons(record: dict[str, Any]) -> Iterator[str]:
    operation = _operation(record["method"], record["target"])
    if operation is None or record["status"] in OF_HTTP:
        if record["status"] != 301:
            yield from _errors("#/components/schemas/Error", record["body"])
        return
    status = str(record["status"])
    where = f"{operation}/responses/{status}"
    response = at(operation)["responses"].get(status)
    if response is None:
        yield "the page does not have this status for it"
        return
    if "$ref" in response:
        where, response = response["$ref"], at(response["$ref"])
    if missing := set(response.get("headers", ())) - set(record["headers"]):
        yield f"without the header {missing}"
    content = response.get("content", {})
    kind = record["type"].partition(";")[0]
    if (kind not in content if content else kind) and not (kind == "" and response.get("x-empty")):
        yield f"the page does not have the content type {kind!r} for it"
    elif kind == JSON:
        lines = record["body"].split("\n") if "x-stream" in response else [record["body"]]
        for text in filter(None, lines):
            yield from _errors(f"{where}/content/application~1json/schema", text)


def _errors(where: str, text: str) -> Iterator[str]:
    if not text:  # the head of a stream
        return
    for error in _validator(where).iter_errors(json.loads(text)):
        path = "/".join(str(step) for step in error.instance_path)
        yield f"at {path or 'the top'}: {error.message[:500]}"


@functools.cache
def _validator(where: str) -> Any:
    return jsonschema_rs.Draft202012Validator({**at(where, _closed()), "components": _closed()["components"]})


@functools.cache
def _closed() -> dict[str, Any]:
    """The page with every object of it closed that does not say what else it may hold."""

    def close(value: Any) -> Any:
        if isinstance(value, list):
            return [close(element) for element in value]
        if not isinstance(value, dict):
            return value
        found = {str(name): close(element) for name, element in value.items()}
        if found.get("type") == "object" and "properties" in found:
            found.setdefault("additionalProperties", False)
        return found

    closed: dict[str, Any] = close(page())
    return closed


def at(pointer: str, value: Any = None) -> Any:
    """What a JSON pointer of the page (or of ``value``) points to."""
    value = value or page()
    for step in pointer.removeprefix("#/").split("/"):
        value = value[step.replace("~1", "/").replace("~0", "~")]
    return value


def _operation(method: str, target: str) -> str | None:
    """Where the operation of a request stands, as a JSON pointer; None for a request that has none, or was none."""
    if not target.startswith("/"):
        return None
    path, _, query = target.partition("?")
    request = Request(None, method, path, query, {})  # type: ignore[arg-type]
    try:
        route = Router(ROUTES).resolve(request)
    except Error:
        return None
    if not isinstance(route, Route):
        return None
    return f"#/paths/{re.sub('/', '~1', path_of(route))}/{method.lower()}"


class Judge:
    """Reads records as they come, and keeps what the page does not have."""

    def __init__(self) -> None:
        self.seen = 0
        self._offsets: dict[Path, int] = {}

    def judge(self, files: list[Path]) -> list[str]:
        """What is wrong with the records that were written to ``files`` since the last time."""
        wrong: list[str] = []
        for file in files:
            with file.open("rb") as records:
                records.seek(self._offsets.get(file, 0))
                data = records.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[file] = self._offsets.get(file, 0) + len(whole)
            for line in whole.splitlines():
                self.seen += 1
                wrong += filter(None, [unlike(json.loads(line))])
        return wrong
