"""What a client and dockerd said to each other, as facts: for each command, which requests got which answers.

A fact is a request (method and path, with what changes from run to run as {placeholders}), the statuses and content
types of its answers, and the fields of their JSON with the kinds of their values. ../root/golden/*.json holds the facts
of real sessions, made by golden_distil.py; test_golden_replay.py makes those of our daemon and asks for differences().
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.recorder import Exchange

Shape = dict[str, set[str]]  # path of a field, as State.Health.Log[].Output → kinds of its values

# Maps whose keys are the user's or the machine's and not the API's: a pattern of the path → what stands for the key.
OPEN_MAPS = re.compile(
    r"(^|\.|\])(Labels|labels|Networks|Ports|PortBindings|ExposedPorts|Volumes|Tmpfs|Sysctls|Options|Attributes|"
    r"IndexConfigs|Runtimes|networks|Sandboxes)$|GraphDriver\.Data$|memory_stats\.stats$|LogConfig\.Config$"
)
# ...and of networks the members, of which `Containers` of /info (a number) and of /system/df (a list) are no case.
ID = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")


@dataclass
class Fact:
    """What was answered to one request of a command.

    ``cut``: the client did not always wait for the end; ``partial``: the recording has the begin of the body only.
    """

    statuses: set[int] = field(default_factory=set)
    types: set[str | None] = field(default_factory=set)
    shape: Shape = field(default_factory=dict)
    cut: bool = False
    partial: bool = False

    def add(self, heard: Exchange) -> None:
        self.cut = self.cut or not heard.complete
        if heard.status:
            self.statuses.add(heard.status)
            self.types.add(heard.content_type)
        if "json" in (heard.content_type or ""):
            values, rest = _values(heard.body.decode())
            self.partial = self.partial or bool(rest)
            for value in [*values, *_values(mend(rest))[0]]:
                add_shape(self.shape, "", value)


Facts = dict[str, Fact]  # "GET /v1.45/containers/{id}/json" → what was answered


def facts(heard: Iterable[Exchange], hide: Callable[[str], str] = str) -> Facts:
    """The facts of what was heard; ``hide`` takes out of a target what only this run has (its folder)."""
    found: Facts = {}
    for exchange in heard:
        request = f"{exchange.method} {pattern(hide(exchange.target))}"
        found.setdefault(request, Fact()).add(exchange)
    return found


def pattern(target: str) -> str:
    """A request's target with ids and times replaced, its query sorted and readable."""
    parts = urlsplit(target)
    query = sorted((key, re.sub(r"^\d{9,}$", "{time}", text)) for key, text in parse_qsl(parts.query, True))
    path = ID.sub("{id}", parts.path)
    return path + ("?" + urlencode(query, safe='{}/:",* ', quote_via=lambda text, *_: text) if query else "")


def _values(text: str) -> tuple[list[Any], str]:
    """The JSON values of a body (one, or a stream of them), and what follows the last whole one."""
    decoder, values = json.JSONDecoder(), []
    while text := text.lstrip():
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            break
        values.append(value)
        text = text[end:]
    return values, text


def mend(text: str) -> str:
    """A JSON value that was cut off, without its last, unfinished member."""
    closers: list[str] = []
    whole, quoted, escaped = "", False, False
    for at, letter in enumerate(text):
        if quoted:
            quoted, escaped = letter != '"' or escaped, letter == "\\" and not escaped
        elif letter == '"':
            quoted = True
        elif letter in "[{":
            closers.append("]" if letter == "[" else "}")
            whole = text[: at + 1] + "".join(reversed(closers))
        elif letter in "]}":
            closers.pop()
        elif letter == ",":
            whole = text[:at] + "".join(reversed(closers))
    return whole


def add_shape(shape: Shape, path: str, value: Any) -> None:
    """Adds the fields of a value, and of all that is in it."""
    shape.setdefault(path, set()).add(_kind(value))
    if isinstance(value, list):
        for item in value:
            add_shape(shape, f"{path}[]", item)
    elif isinstance(value, dict):
        free = OPEN_MAPS.search(path) or all(map(ID.fullmatch, value))
        for key, item in value.items():
            add_shape(shape, f"{path}.{'*' if free else key}".removeprefix("."), item)


def _kind(value: Any) -> str:
    if value in (None, [], {}):
        return "empty" if value is not None else "null"
    return {bool: "bool", int: "number", float: "number", str: "string", list: "list", dict: "map"}[type(value)]


# -- what differs -----------------------------------------------------------------------------------------------------


def differences(docker: Mapping[str, Fact], ours: Mapping[str, Fact]) -> Iterator[tuple[str, str]]:
    """(request, what is not as with docker), for one command.

    A request whose answer the client did not wait for may or may not have been sent in time to be heard.
    """
    for request in sorted({*docker, *ours}):
        if request not in ours:
            if not docker[request].cut:
                yield request, "is not asked"
        elif request not in docker:
            if not ours[request].cut:
                yield request, "is asked"
        elif ours[request].statuses and docker[request].statuses:
            yield from ((request, text) for text in _fact_differences(docker[request], ours[request]))


def _fact_differences(docker: Fact, ours: Fact) -> Iterator[str]:
    if docker.statuses != ours.statuses:
        yield f"status {_list(ours.statuses)}, not {_list(docker.statuses)}"
    elif docker.types != ours.types:
        yield f"content type {_list(ours.types)}, not {_list(docker.types)}"
    elif not (docker.cut or ours.cut):
        yield from _shape_differences(docker.shape, ours.shape, docker.partial)


def _shape_differences(docker: Shape, ours: Shape, partial: bool) -> Iterator[str]:
    """A field that one has and the other not, unless what it would be in is empty there; kinds that differ."""
    for path in sorted({*docker, *ours}):
        if path not in ours:
            if "map" in ours.get(_parent(path), set()) and not path.endswith(("[]", "*")):
                yield f"without `{path}`"
        elif path not in docker:
            if "map" in docker.get(_parent(path), set()) and not path.endswith(("[]", "*")) and not partial:
                yield f"with `{path}`"
        else:
            theirs, mine = docker[path] - {"null", "empty"}, ours[path] - {"null", "empty"}
            if theirs and mine and theirs != mine:
                yield f"`{path}` is a {_list(mine)}, not a {_list(theirs)}"


def _parent(path: str) -> str:
    return path.removesuffix("[]") if path.endswith("[]") else path.rpartition(".")[0]


def _list(values: Iterable[object]) -> str:
    return " or ".join(sorted(str(value) for value in values)) or "nothing"


# -- as a file --------------------------------------------------------------------------------------------------------


def dump(session: Mapping[str, Facts]) -> str:
    """Facts by command as JSON, a request a line; shapes that are the same stand once, by number."""
    shapes: list[str] = []
    lines = []
    for command, found in session.items():
        rows = [json.dumps(request) + ": " + json.dumps(_plain(fact, shapes)) for request, fact in found.items()]
        lines.append(json.dumps(command) + ": {\n  " + ",\n  ".join(rows) + "\n }")
    numbered = ",\n ".join(shapes)
    return '{"commands": {\n ' + ",\n ".join(lines) + '\n},\n"shapes": [\n ' + numbered + "\n]}\n"


def _plain(fact: Fact, shapes: list[str]) -> dict[str, Any]:
    plain: dict[str, Any] = {"status": sorted(fact.statuses), "type": sorted(fact.types, key=str)}
    if fact.shape:
        text = json.dumps({path: " ".join(sorted(kinds)) for path, kinds in sorted(fact.shape.items())})
        if text not in shapes:
            shapes.append(text)
        plain["shape"] = shapes.index(text)
    return plain | {name: True for name in ("cut", "partial") if getattr(fact, name)}


def parse(text: str) -> dict[str, Facts]:
    """What dump() wrote."""
    data = json.loads(text)
    shapes = [{path: set(kinds.split()) for path, kinds in shape.items()} for shape in data["shapes"]]
    return {
        command: {request: _fact(plain, shapes) for request, plain in found.items()}
        for command, found in data["commands"].items()
    }


def _fact(plain: dict[str, Any], shapes: list[Shape]) -> Fact:
    shape = shapes[plain["shape"]] if "shape" in plain else {}
    return Fact(set(plain["status"]), set(plain["type"]), shape, "cut" in plain, "partial" in plain)
