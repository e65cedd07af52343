"""JSON bodies that no honest client sends: each is 400 with a reason, and touches nothing."""

from __future__ import annotations

import pytest

from minidock.api.body import parse_json
from minidock.engine.codec import encode
from minidock.engine.config import Config, HostConfig
from minidock.wire.errors import InvalidArgument
from tests.api.harness import Harness

RUN = {"Image": "busybox"}


def body(text: str) -> bytes:
    return f'{{"Image": "busybox", "Labels": {text}}}'.encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"Image": "busybox"', "invalid JSON"),
        (b'{"Image": "busybox"} {}', "extra data"),
        (b'\xef\xbb\xbf{"Image": "busybox"}', "bom"),
        (b'{"Image": "\xff"}', "not UTF-8"),
        (body('{"a": "\\ud800"}'), "surrogate"),
        (body('{"\\udfff": "a"}'), "surrogate"),
        (body('{"a\\u0000": "b"}'), "NUL"),
        (body('{"a": "1", "a": "2"}'), "stands twice"),
        (b'{"Image": "a", "Image": "b"}', "stands twice"),
        (b"{" + b",".join(b'"%x":0' % n for n in [*range(300_000), 299_999]) + b"}", "stands twice"),  # in linear time
        (b'{"Image": "busybox", "StopTimeout": NaN}', "NaN is not a JSON number"),
        (b'{"Image": "busybox", "StopTimeout": -Infinity}', "not a JSON number"),
        (b'{"Image": "busybox", "StopTimeout": 1e999}', "out of range"),
        (b'{"Image": "busybox", "StopTimeout": ' + b"9" * 5000 + b"}", "invalid JSON"),
        (b'{"Image": "busybox", "StopTimeout": ' + b"9" * 30 + b"}", "64 bits"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a": "\x01"}', "control character"),
        (b'{"Image": "' + b"a" * (4 << 20) + b'"}', "larger than 4194304 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(api: Harness, data: bytes, reason: str) -> None:
    reply = api.request("POST", "/containers/create", data, Content_Type="application/json")
    assert reply.status == 400 and reason.lower() in reply.message.lower()
    assert api.engine.calls == []
    assert api.request("GET", "/_ping").status == 200


def test_the_refusals_can_fail(api: Harness) -> None:
    data = body('{"a": "\\ud83d\\ude00 \\u00e9", "deep": "' + "x" * 100_000 + '"}')
    assert api.request("POST", "/containers/create", data, Content_Type="application/json; charset=utf-8").status == 201


def test_a_hundred_megabytes_are_not_collected(api: Harness) -> None:
    with api.talk() as talker:
        talker.say(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 104857600\r\n\r\n"
        )
        sent = 0
        try:
            while sent < 100 << 20:
                talker.say(b" " * (1 << 20))
                sent += 1 << 20
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert talker.head()[0] == 400


@pytest.mark.parametrize("field", ["Image", "Env", "Cmd", "Tty", "Labels", "StopTimeout", "Volumes", "Healthcheck"])
@pytest.mark.parametrize("value", ["7.5", "[[1]]", '{"a": [1]}'])
def test_wrong_types(api: Harness, field: str, value: str) -> None:
    data = f'{{"{field}": {value}}}' if field == "Image" else f'{{"Image": "busybox", "{field}": {value}}}'
    reply = api.request("POST", "/containers/create", data.encode(), Content_Type="application/json")
    accepted = field == "Volumes" and value.startswith("{")  # a volume's value is free
    accepted |= field == "Healthcheck" and value.startswith("{")  # unknown keys are ignored
    assert reply.status == (201 if accepted else 400)
    assert accepted or f"invalid {field}" in reply.message


def test_a_chunked_body_counts_too(api: Harness) -> None:
    with api.talk() as talker:
        talker.say(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"Image"\r\nc\r\n: "busybox"}\r\n0\r\n\r\n'
        )
        assert talker.reply().status == 201


def test_parse_json_gives_what_json_says() -> None:
    assert parse_json(b' {"a": [1, 2.5, null, true, "\xc3\xa9"]} ') == {"a": [1, 2.5, None, True, "é"]}
    with pytest.raises(InvalidArgument):
        parse_json(b"")


VALUES = [
    0,
    -1,
    2**62,
    1.5,
    "",
    "x",
    "../..",
    "a\nb",
    [],
    [1],
    ["x"],
    [[]],
    [{}],
    {},
    {"a": "b"},
    {"a": 1},
    {"a": []},
    True,
]


@pytest.mark.parametrize("half", [Config, HostConfig])
def test_any_value_in_any_field_is_taken_or_refused(api: Harness, half: type) -> None:
    """Never 500, which would be a value that got past the check; the fake engine does nothing with what is taken."""
    statuses = set()
    with api.talk() as talker:
        for name in encode(half()):
            for value in VALUES:
                data = {"Image": "busybox", name: value} if half is Config else {**RUN, "HostConfig": {name: value}}
                talker.ask("POST", "/containers/create", data)
                reply = talker.reply()
                statuses.add(reply.status)
                assert reply.status in (201, 400, 404), (name, value, reply)
    assert {201, 400} <= statuses
