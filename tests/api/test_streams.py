"""What flows: hijacked connections, waits, logs, events, and the server's end."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

import pytest

from minidock.api import server
from minidock.engine.requests import AttachRequest, LogEntry, WaitResult
from minidock.wire import times
from tests.api.fake import BORN, NETWORK, TTY, WEB
from tests.api.harness import Harness, Talker
from tests.support.wait import eventually

UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def frame(data: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


# -- hijack -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers", "status", "content_type", "wrap"),
    [
        ("/v1.45/containers/web/attach", UPGRADE, 101, MULTIPLEXED, frame),
        ("/containers/web/attach", UPGRADE, 101, MULTIPLEXED, frame),
        ("/v1.41/containers/web/attach", UPGRADE, 101, RAW, frame),
        ("/v1.45/containers/web/attach", {}, 200, RAW, frame),
        ("/v1.45/containers/tty/attach", UPGRADE, 101, RAW, bytes),
    ],
)
def test_attach(api: Harness, target: str, headers: dict[str, str], status: int, content_type: str, wrap: Any) -> None:
    with api.talk() as talker:
        talker.ask("POST", f"{target}?stream=1&stdin=1&stdout=1", Content_Length="0", **headers)
        got, fields, reason = talker.head()
        assert (got, fields["content-type"]) == (status, content_type)
        assert fields["api-version"] == "1.45"
        assert "content-length" not in fields and "transfer-encoding" not in fields
        if status == 101:
            assert (reason, fields["connection"], fields["upgrade"]) == ("UPGRADED", "Upgrade", "tcp")
        talker.say(b"hello")
        assert talker.exactly(len(wrap(b"hello"))) == wrap(b"hello")
        talker.sock.shutdown(socket.SHUT_WR)
        assert talker.rest() == wrap(b"bye")
    eventually(lambda: api.connections() == 0, "the connection to be forgotten")


def test_what_came_with_the_request_is_handed_on(api: Harness) -> None:
    with api.talk() as talker:
        talker.say(
            b"POST /containers/tty/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: \r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nearly" + b"." * 70_000
        )
        talker.sock.shutdown(socket.SHUT_WR)
        assert talker.head()[0] == 101
        assert talker.rest() == b"early" + b"." * 70_000 + b"bye"


def test_attach_asks_the_engine_for_what_the_client_asked(api: Harness) -> None:
    for name, query in (("web", "stream=1&stderr=1&logs=0"), ("tty", "stdin=1&detachKeys=ctrl-a,q"), ("tty", "")):
        with api.talk() as talker:
            talker.ask("POST", f"/containers/{name}/attach?{query}", **UPGRADE)
            talker.head()
    assert [call[2] for call in api.engine.calls] == [
        AttachRequest(stderr=True, stream=True),
        AttachRequest(stdin=True, stream=False, detach_keys=b"\x01q"),
        AttachRequest(stream=False, detach_keys=b"\x10\x11"),
    ]


def test_an_attach_that_fails_leaves_http_as_it_was(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/nosuch/attach?stream=1", **UPGRADE)
        assert talker.reply().status == 404
        talker.ask("GET", "/_ping")
        assert talker.reply().body == b"OK"


@pytest.mark.parametrize(
    ("version", "create_tty", "start_tty", "content_type", "wrap"),
    [
        ("1.45", True, False, MULTIPLEXED, frame),
        ("1.45", False, True, RAW, bytes),
        ("1.41", False, False, RAW, frame),
    ],
)
def test_the_tty_of_the_start_decides_how_an_exec_is_framed(
    api: Harness, version: str, create_tty: bool, start_tty: bool, content_type: str, wrap: Any
) -> None:
    ident = api.request("POST", "/containers/web/exec", {"Cmd": ["cat"], "Tty": create_tty}).json()["Id"]
    with api.talk() as talker:
        body = {"Detach": False, "Tty": start_tty, "ConsoleSize": [24, 80]}
        talker.ask("POST", f"/v{version}/exec/{ident}/start", body, **UPGRADE)
        assert talker.head()[1]["content-type"] == content_type
        talker.say(b"x")
        assert talker.exactly(len(wrap(b"x"))) == wrap(b"x")
    assert api.engine.calls == [("exec_start", start_tty, (24, 80) if start_tty else None, True)]


def test_an_exec_that_can_not_start_has_a_status(api: Harness) -> None:
    ident = api.request("POST", "/containers/web/exec", {"Cmd": ["bad"]}).json()["Id"]
    with api.talk() as talker:
        talker.ask("POST", f"/exec/{ident}/start", {"Detach": False}, **UPGRADE)
        reply = talker.reply()
        assert (reply.status, reply.message) == (409, f"container {WEB} is not running")
        talker.ask("GET", f"/exec/{ident}/json")
        assert talker.reply().status == 200


# -- wait -------------------------------------------------------------------------------------------------------------


def test_wait_tells_at_once_that_it_waits(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/web/wait?condition=next-exit")
        status, fields, _ = talker.head()
        assert (status, fields["transfer-encoding"], fields["content-type"]) == (200, "chunked", "application/json")
        assert api.engine.calls == [("wait", "web", "next-exit")]
        api.soon(api.engine.waits[0].set_result, WaitResult(7))
        assert talker.chunk() == b'{"StatusCode":7}\n' and talker.chunk() == b""
        talker.ask("GET", "/_ping")
        assert talker.reply().body == b"OK"


def test_wait_tells_of_a_failed_removal(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/web/wait?condition=removed")
        talker.head()
        api.soon(api.engine.waits[0].set_result, WaitResult(0, "disk on fire"))
        assert json.loads(talker.chunk()) == {"StatusCode": 0, "Error": {"Message": "disk on fire"}}


@pytest.mark.parametrize("half", [True, False])
def test_a_waiter_that_goes_is_forgotten(api: Harness, half: bool) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/web/wait")
        talker.head()
        if half:
            talker.sock.shutdown(socket.SHUT_WR)
        else:
            talker.sock.close()
        eventually(lambda: api.engine.waits[0].cancelled(), "the wait to be given up")
    eventually(lambda: api.connections() == 0, "the connection to be forgotten")


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(
    "target", ["POST /containers/web/wait", "GET /containers/web/logs?stdout=1&follow=1", "GET /events"]
)
def test_a_watcher_that_goes_is_forgotten_whatever_it_said_behind_its_request(
    api: Harness, target: str, half: bool
) -> None:
    with api.talk() as talker:
        talker.ask(*target.split())
        talker.head()
        talker.say(b"x")
        time.sleep(0.05)  # the byte and the end arrive one after the other
        if half:
            talker.sock.shutdown(socket.SHUT_WR)
        else:
            talker.sock.close()
        eventually(lambda: api.connections() == 0, "the connection to be forgotten")
    assert not api.engine.following and not api.engine.events._listeners
    assert all(wait.cancelled() for wait in api.engine.waits)


def test_a_request_behind_one_that_waits_is_answered_after_it(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("POST", "/containers/web/wait")
        talker.head()
        talker.ask("GET", "/_ping")
        time.sleep(0.05)
        api.soon(api.engine.waits[0].set_result, WaitResult(7))
        assert talker.chunk() == b'{"StatusCode":7}\n' and talker.chunk() == b""
        assert talker.reply().body == b"OK"


# -- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "content_type", "body"),
    [
        ("/v1.45/containers/web/logs?stdout=1&stderr=1", MULTIPLEXED, frame(b"out\n") + frame(b"err\n", 2)),
        ("/v1.41/containers/web/logs?stdout=1&stderr=1", RAW, frame(b"out\n") + frame(b"err\n", 2)),
        ("/v1.45/containers/tty/logs?stdout=1", RAW, b"out\nerr\n"),
    ],
)
def test_logs(api: Harness, target: str, content_type: str, body: bytes) -> None:
    reply = api.request("GET", target)
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, content_type, body)
    assert reply.headers["transfer-encoding"] == "chunked"


def test_log_queries(api: Harness) -> None:
    api.request("GET", "/containers/web/logs?stderr=1&tail=7&since=1795300000.5&until=2026-11-21T22:26:41Z")
    api.request("GET", "/containers/web/logs?stdout=1&tail=all&since=0&timestamps=0&follow=false")
    first, second = (call[2] for call in api.engine.calls)
    assert (first.stdout, first.stderr, first.tail) == (False, True, 7)
    assert (first.since, first.until) == (1_795_300_000_500_000_000, 1_795_300_001_000_000_000)
    assert (second.tail, second.since, second.until, second.follow) == (None, 0, 0, False)


def test_timestamps_stand_before_lines_and_not_in_them(api: Harness) -> None:
    api.engine.log = [LogEntry(1, BORN, b"long "), LogEntry(2, BORN, b"err\n"), LogEntry(1, BORN + 1, b"line\n")]
    stamp = b"2026-11-21T22:26:40.123456789Z "
    reply = api.request("GET", "/containers/tty/logs?stdout=1&stderr=1&timestamps=1")
    assert reply.body == stamp + b"long " + stamp + b"err\nline\n"
    api.engine.log = [LogEntry(1, BORN - BORN % times.SECOND, b"x\n")]
    reply = api.request("GET", "/containers/tty/logs?stdout=1&timestamps=1")
    assert reply.body == b"2026-11-21T22:26:40.000000000Z x\n"


def test_followed_logs_begin_at_once_and_go_on(api: Harness) -> None:
    api.engine.log = []
    with api.talk() as talker:
        talker.ask("GET", "/containers/tty/logs?stdout=1&follow=1")
        assert talker.head()[0] == 200
        for text in (b"one\n", b"two\n"):
            api.soon(api.engine.more_log.put_nowait, LogEntry(1, BORN, text))
            assert talker.chunk() == text
        assert api.engine.following == {TTY}
    eventually(lambda: not api.engine.following, "the log to be let go")
    eventually(lambda: api.connections() == 0, "the connection to be forgotten")


def test_a_reader_that_stops_reading_holds_up_only_itself(api: Harness) -> None:
    """Without back-pressure the server would collect all of this in memory."""
    produced = 0

    def entries() -> Any:
        nonlocal produced
        for _ in range(1000):
            produced += 100_000
            yield LogEntry(1, BORN, b"x" * 100_000)

    class Endless(list[LogEntry]):
        def __iter__(self) -> Any:
            return entries()

    api.engine.log = Endless()
    with api.talk() as talker:
        talker.ask("GET", "/containers/tty/logs?stdout=1")
        talker.head()
        for _ in range(5):
            assert api.request("GET", "/_ping").body == b"OK"
        assert produced < 2_000_000
        total = 0
        while piece := talker.chunk():
            total += len(piece)
        assert total == produced == 100_000_000


def test_http_1_0_reads_to_the_end(api: Harness) -> None:
    with api.talk() as talker:
        talker.say(b"GET /containers/tty/logs?stdout=1 HTTP/1.0\r\n\r\n")
        assert "transfer-encoding" not in talker.head()[1]
        assert talker.rest() == b"out\nerr\n"


# -- events -----------------------------------------------------------------------------------------------------------


def test_events_as_they_come(api: Harness) -> None:
    with api.talk() as talker:
        talker.ask("GET", "/v1.45/events")
        assert talker.head()[0] == 200
        api.soon(
            api.engine.events.publish, "container", "die", WEB, {"image": "busybox", "name": "web", "exitCode": "3"}
        )
        row = json.loads(talker.chunk())
        assert list(row) == ["status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano"]
        assert (row["status"], row["id"], row["from"], row["Type"]) == ("die", WEB, "busybox", "container")
        assert row["Actor"] == {"ID": WEB, "Attributes": {"image": "busybox", "name": "web", "exitCode": "3"}}
        assert row["time"] == row["timeNano"] // 10**9
        api.soon(api.engine.events.publish, "network", "connect", NETWORK, {"name": "bridge"})
        assert "status" not in json.loads(talker.chunk())
    eventually(lambda: not api.engine.events._listeners, "the listener to be forgotten")


@pytest.mark.parametrize(
    ("filters", "actions"),
    [
        ({}, ["create", "exec_create: sh", "connect", "pull"]),
        ({"type": ["container"]}, ["create", "exec_create: sh"]),
        ({"event": ["create"]}, ["create"]),
        ({"event": ["exec_create"]}, ["exec_create: sh"]),
        ({"container": ["web"]}, ["create", "exec_create: sh"]),
        ({"container": ["1111"]}, ["create", "exec_create: sh"]),
        ({"network": ["bridge"]}, ["connect"]),
        ({"image": ["busybox"]}, ["create", "exec_create: sh", "pull"]),
        ({"label": ["a=b"]}, ["create", "exec_create: sh"]),
        ({"label": ["a=c"]}, []),
        ({"type": {"image": True, "network": True}}, ["connect", "pull"]),
    ],
)
def test_past_events_and_filters(api: Harness, filters: dict[str, Any], actions: list[str]) -> None:
    of_web = {"image": "busybox:latest", "name": "web", "a": "b"}
    for kind, action, ident, attributes in (
        ("container", "create", WEB, of_web),
        ("container", "exec_create: sh", WEB, of_web),
        ("network", "connect", NETWORK, {"name": "bridge", "container": WEB}),
        ("image", "pull", "sha256:" + "a" * 64, {"name": "busybox:latest"}),
    ):
        api.soon(api.engine.events.publish, kind, action, ident, attributes)
    api.request("GET", "/_ping")  # by the time of its answer they have been published
    query = "".join(f"%{byte:02X}" for byte in json.dumps(filters).encode())
    reply = api.request("GET", f"/events?since=0&until={time.time():.6f}&filters={query}")
    assert [json.loads(line)["Action"] for line in reply.body.splitlines()] == actions


def test_events_from_the_future_to_the_past(api: Harness) -> None:
    assert api.request("GET", "/events?since=2000000000&until=1900000000").status == 400


# -- the end ----------------------------------------------------------------------------------------------------------


def test_shutdown_lets_short_requests_finish_and_ends_the_rest(api: Harness) -> None:
    talkers: dict[str, Talker] = {name: api.talk() for name in ("idle", "half", "wait", "events", "stop", "attach")}
    talkers["half"].say(b"GET /_pi")
    talkers["wait"].ask("POST", "/containers/web/wait")
    talkers["wait"].head()
    talkers["events"].ask("GET", "/events")
    talkers["events"].head()
    talkers["attach"].ask("POST", "/containers/web/attach?stream=1&stdin=1&stdout=1", **UPGRADE)
    talkers["attach"].head()
    talkers["stop"].ask("POST", "/containers/web/stop")
    eventually(lambda: ("stop", "web", None, "") in api.engine.calls, "the stop to begin")
    ending = threading.Thread(target=lambda: api.run(api.server.shutdown()))
    ending.start()
    for name in ("idle", "wait", "events"):
        assert talkers[name].rest().endswith(b"") and talkers[name].closed()
    api.engine.gate.set()
    reply = talkers["stop"].reply()
    assert (reply.status, reply.headers["connection"]) == (204, "close")
    assert talkers["attach"].closed()
    ending.join(10)
    assert not ending.is_alive()
    for talker in talkers.values():
        talker.sock.close()


def test_shutdown_does_not_wait_for_ever(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.2)
    with api.talk() as stuck:
        stuck.ask("POST", "/containers/web/stop")
        eventually(lambda: api.engine.calls, "the stop to begin")
        api.run(api.server.shutdown())  # though nothing has let that stop go on
        assert stuck.closed()


def test_shutdown_frees_the_thread_that_reads_an_upload(api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a body that never comes; a server that forgot it could not end its loop."""
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.2)
    with api.talk() as talker:
        talker.say(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\ntar")
        eventually(
            lambda: any(not c.idle and c._reader for c in api.server._connections.values()), "the upload to begin"
        )
        api.close()
