"""Pulls, loads and imports: progress in lines of JSON, credentials in a header, bodies that are read as they come."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from typing import Any

import pytest

from minidock.api import images as image_handlers
from minidock.api.auth import registry_auth
from minidock.image.model import Auth
from minidock.image.progress import ProgressLine
from minidock.wire.errors import NotFound, ServerError
from tests.api.fake import WEB
from tests.api.harness import Harness
from tests.support.wait import eventually

# -- progress ---------------------------------------------------------------------------------------------------------


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\r\n")
    return [json.loads(line) for line in body.split(b"\r\n")[:-1]]


def test_pull_streams_its_lines(api: Harness) -> None:
    api.engine.pull_lines = [
        ProgressLine("Pulling from library/busybox", "latest"),
        ProgressLine("Pulling fs layer", "abc"),
        ProgressLine("Downloading", "abc", 512, 1024),
        ProgressLine("Downloading", "abc", 1024, 1024),
        ProgressLine("Download complete", "abc"),
        ProgressLine("Status: Downloaded newer image for busybox:latest"),
    ]
    reply = api.request("POST", "/v1.45/images/create?fromImage=docker.io%2Flibrary%2Fbusybox&tag=latest")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.headers["transfer-encoding"] == "chunked"
    rows = lines(reply.body)
    assert rows[0] == {"status": "Pulling from library/busybox", "progressDetail": {}, "id": "latest"}
    full = {"current": 1024, "total": 1024}
    bar = f"[{'=' * 50}>]   1.02kB/1.02kB"
    assert {"status": "Downloading", "progressDetail": full, "progress": bar, "id": "abc"} in rows
    assert [row["status"] for row in rows][-2:] == ["Download complete", api.engine.pull_lines[-1].status]  # type: ignore[union-attr]
    assert api.engine.calls == [("pull", "docker.io/library/busybox:latest", None)]


def test_a_repository_without_a_tag_means_all_of_them(api: Harness) -> None:
    """As dockerd takes it; clients that mean `latest` say so. A colon at the end is docker's own slip of old."""
    for name in ("busybox", "127.0.0.1:5000/busybox:"):
        api.request("POST", f"/images/create?fromImage={name}")
    assert [call[0] for call in api.engine.calls] == ["all tags", "pull"] * 2
    api.engine.calls.clear()
    api.request("POST", "/images/create?fromImage=busybox:1")
    assert api.engine.calls == [("pull", "busybox:1", None)]


def test_ten_thousand_figures_become_few_lines(api: Harness) -> None:
    api.engine.pull_lines = [ProgressLine("Downloading", "abc", count, 10_000) for count in range(10_001)]
    rows = lines(api.request("POST", "/images/create?fromImage=busybox").body)
    assert len(rows) < 100 and rows[-1]["progressDetail"]["current"] == 10_000


def test_a_pull_that_fails_before_its_first_line_has_a_status(api: Harness) -> None:
    api.engine.pull_lines = [NotFound("manifest for busybox:nosuch not found: manifest unknown")]
    with api.talk() as talker:
        talker.ask("POST", "/images/create?fromImage=busybox&tag=nosuch")
        reply = talker.reply()
        assert (reply.status, reply.message) == (404, "manifest for busybox:nosuch not found: manifest unknown")
        talker.ask("GET", "/_ping")
        assert talker.reply().body == b"OK"


@pytest.mark.parametrize("error", [ServerError("the registry is gone"), ZeroDivisionError("the registry is gone")])
def test_a_pull_that_fails_later_says_so_in_stream(api: Harness, error: Exception) -> None:
    api.engine.pull_lines = [ProgressLine("Pulling fs layer", "abc"), error]
    rows = lines(api.request("POST", "/images/create?fromImage=busybox").body)
    assert rows[-1] == {"errorDetail": {"message": "the registry is gone"}, "error": "the registry is gone"}


def test_clients_that_go_leave_nothing_behind(api: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Half of them go before the answer's head was read, some before it was written."""
    api.engine.pull_lines = [ProgressLine("Downloading", str(n), n, 100) for n in range(100)]
    targets = [
        ("POST", "/images/create?fromImage=busybox"),
        ("GET", "/containers/web/logs?stdout=1&follow=1"),
        ("GET", "/events?since=1"),
        ("POST", "/containers/web/wait"),
        ("GET", "/containers/json"),
    ]
    for number in range(200):
        api.soon(api.engine.events.publish, "container", "die", WEB, {"image": "busybox", "name": "web"})
        with api.talk() as talker:
            talker.ask(*targets[number % len(targets)])
            if number % 2:
                talker.head()
    eventually(lambda: api.connections() == 0, "the connections to be forgotten")
    assert api.request("GET", "/_ping").body == b"OK"
    assert not api.engine.following and all(wait.cancelled() for wait in api.engine.waits)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


@pytest.mark.parametrize(
    ("image", "tag", "reference"),
    [
        ("busybox", "", "busybox"),
        ("busybox", "1", "busybox:1"),
        ("busybox", "sha256:" + "a" * 64, "busybox@sha256:" + "a" * 64),
        ("127.0.0.1:5000/x", "", "127.0.0.1:5000/x"),
    ],
)
def test_name_and_tag_make_a_reference(image: str, tag: str, reference: str) -> None:
    assert image_handlers.joined(image, tag) == reference


def test_credentials_from_a_header(api: Harness) -> None:
    value = json.dumps({"username": "me", "password": "ÿ?~>secret", "serveraddress": "r"}).encode()
    me = Auth("me", "ÿ?~>secret")
    for header in (
        base64.urlsafe_b64encode(value),
        base64.urlsafe_b64encode(value).rstrip(b"="),
        base64.b64encode(value),
    ):
        assert registry_auth(header.decode()) == me
    for empty in ("", "e30=", "e30", "bnVsbA=="):
        assert registry_auth(empty) is None
    for wrong in ("?", "W10x", "WzFd", "eyJ1c2VybmFtZSI6MX0="):
        assert api.request("POST", "/images/create?fromImage=x", X_Registry_Auth=wrong).status == 400
    assert "secret" not in repr(me)


# -- uploads ----------------------------------------------------------------------------------------------------------


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_load_streams_its_body_and_its_lines(api: Harness) -> None:
    data = b"tar" + bytes(range(256)) * 8000
    with api.talk() as talker:
        talker.say(b"POST /images/load?quiet=0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        talker.say(chunked(data, 9999))
        rows = lines(talker.reply().body)
        talker.ask("POST", "/images/load?quiet=1", data)
        quiet = lines(talker.reply().body)
    assert api.engine.received == data
    assert rows[-1] == {"stream": "Loaded image: busybox:latest\n"} and rows[0]["status"] == "Loading layer"
    assert quiet == rows[-1:]


def test_a_load_that_fails_says_so_in_stream(api: Harness) -> None:
    reply = api.request("POST", "/images/load", b"no archive")
    assert reply.status == 200 and lines(reply.body)[-1]["error"] == "load: this is no tar archive"


def test_import_answers_with_the_id_on_the_last_line(api: Harness) -> None:
    reply = api.request(
        "POST", "/images/create?fromSrc=-&repo=x&tag=1&message=m&changes=CMD%20sh&changes=ENV%20a%3Db", b"tar" * 1000
    )
    assert lines(reply.body) == [{"status": "sha256:" + "a" * 64}]
    assert api.engine.calls == [("import", "x:1", "m", ("CMD sh", "ENV a=b"))]


def test_a_body_is_read_no_faster_than_it_is_used(api: Harness) -> None:
    """An upload to a slow disk must not be collected in memory: the client is held up instead."""
    started, proceed = threading.Event(), threading.Event()

    async def load(stream: Any, progress: Any) -> list[Any]:
        def work() -> int:
            count = len(stream.read(10))
            started.set()
            proceed.wait(10)
            return count + len(stream.read())

        self.received = await asyncio.to_thread(work)
        return []

    self: Any = api.engine
    self.load = load
    with api.talk() as talker:
        talker.say(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 1000)
        started.wait(10)
        talker.sock.setblocking(False)
        sent = 1000
        for _ in range(3):
            try:
                while True:
                    sent += talker.sock.send(b"x" * 100_000)
            except BlockingIOError:
                time.sleep(0.05)
        assert sent < 5_000_000
        talker.sock.settimeout(10)
        proceed.set()
        talker.say(b"x" * (50_000_000 - sent))
        assert talker.reply().status == 200
    assert self.received == 50_000_000
