"""POST /build: what the query comes to, what is streamed, and where an error goes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import urlencode

import pytest

from minidock.api import build as build_api
from minidock.engine.building.request import BuildRequest, Output, StepExited
from minidock.engine.config import Ulimit
from minidock.image.model import Auth
from minidock.image.progress import ProgressLine
from minidock.wire.errors import InvalidArgument
from tests.api.harness import Harness

IMAGE = "sha256:" + "e" * 64
QUERY = {
    "dockerfile": "d/File", "t": ["a:1", "b"], "q": "False", "nocache": "1", "rm": "0", "forcerm": "1", "pull": "true",
    "buildargs": json.dumps({"A": "1", "B": None}), "labels": json.dumps({"l": "v"}), "cachefrom": json.dumps(["c"]),
    "target": "two", "platform": "linux/AMD64", "networkmode": "none", "memory": "64000000", "memswap": "-1",
    "cpushares": "5", "cpusetcpus": "0", "shmsize": "1000", "extrahosts": ["h:1.2.3.4"], "version": "1",
    "ulimits": json.dumps([{"Name": "nofile", "Soft": 10, "Hard": 20}]),
}  # fmt: skip


class Builds:
    """Says two things and a line of a pull, and ends as it is told to."""

    def __init__(self, error: Exception | None = None, early: bool = False) -> None:
        self.request, self.body, self._error, self._early = BuildRequest(), b"", error, early

    async def build(self, request: BuildRequest, body: BinaryIO, output: Output, received: Callable[[], None]) -> str:
        self.request, self.body = request, await asyncio.to_thread(body.read)
        received()
        if self._early and self._error:
            raise self._error
        output.say("Step 1/1 : FROM x")
        output.say("\n")
        output.progress(ProgressLine("Pulling from x", "latest"))
        output.aux(IMAGE)
        await output.drain()
        if self._error:
            raise self._error
        return IMAGE


def build(api: Harness, builds: Builds, query: dict[str, Any] | None = None, **headers: str) -> tuple[int, list[Any]]:
    api.engine.builds = builds  # type: ignore[attr-defined]
    target = f"/v1.45/build?{urlencode(query or {}, doseq=True)}"
    reply = api.request("POST", target, b"tar", Content_Type="application/x-tar", **headers)
    return reply.status, [json.loads(line) for line in reply.body.splitlines()]


def test_the_query_and_the_body_come_through(api: Harness) -> None:
    """Flags as docker-py writes them ("False") and as Go does ("1"); null means a build-arg's default."""
    builds = Builds()
    auths = {"https://index.docker.io/v1/": {"username": "u", "password": "p"}, "r:5000": {"identitytoken": "t"}}
    config = base64.urlsafe_b64encode(json.dumps(auths).encode()).decode()
    assert build(api, builds, QUERY, X_Registry_Config=config)[0] == 200
    wanted, host = builds.request, builds.request.host
    assert builds.body == b"tar" and wanted.tags == ("a:1", "b") and wanted.dockerfile == "d/File"
    assert wanted.no_cache and wanted.pull and wanted.force_remove and not wanted.remove
    assert wanted.arguments == {"A": "1", "B": None} and wanted.labels == {"l": "v"} and wanted.cache_from == ("c",)
    assert (wanted.target, wanted.platform) == ("two", "linux/amd64")
    assert (host.network_mode, host.memory, host.memory_swap, host.cpu_shares) == ("none", 64000000, -1, 5)
    assert (host.cpuset_cpus, host.shm_size, host.extra_hosts) == ("0", 1000, ("h:1.2.3.4",))
    assert host.ulimits == (Ulimit("nofile", 10, 20),)
    assert wanted.auth == {"docker.io": Auth("u", "p"), "r:5000": Auth(identity_token="t")}


def test_what_clients_leave_out_is_dockers_default(api: Harness) -> None:
    builds = Builds()
    empty = {"ulimits": "null", "cachefrom": "null", "buildargs": "{}", "memory": "0", "t": ""}
    assert build(api, builds, empty, X_Registry_Config="bnVsbA==")[0] == 200
    assert builds.request == BuildRequest()


def test_lines_in_their_order(api: Harness) -> None:
    status, said = build(api, Builds())
    assert status == 200 and said == [
        {"stream": "Step 1/1 : FROM x"},
        {"stream": "\n"},
        {"status": "Pulling from x", "progressDetail": {}, "id": "latest"},
        {"aux": {"ID": IMAGE}},
    ]


def test_quiet_is_the_id_alone(api: Harness) -> None:
    assert build(api, Builds(), {"q": "1"}) == (200, [{"stream": f"{IMAGE}\n"}])
    said = build(api, Builds(InvalidArgument("no")), {"q": "1"})[1]
    assert said == [{"stream": "Step 1/1 : FROM x\n"}, {"errorDetail": {"message": "no"}, "error": "no"}]


def test_quiet_keeps_the_latest_words_alone(monkeypatch: pytest.MonkeyPatch, api: Harness) -> None:
    """A RUN may say anything without end, which a quiet client does not hold up. Seen to fail: all of it was kept."""
    monkeypatch.setattr(build_api, "KEPT", 10)
    said = build(api, Builds(InvalidArgument("no")), {"q": "1"})[1]
    assert said[0] == {"stream": " : FROM x\n"}


def test_an_error_before_the_first_step_is_a_status(api: Harness) -> None:
    error = InvalidArgument("dockerfile parse error on line 2: unknown instruction: RUM")
    assert build(api, Builds(error, early=True)) == (400, [{"message": str(error)}])


def test_a_failed_run_carries_its_exit_code(api: Harness) -> None:
    status, said = build(api, Builds(StepExited("/bin/sh -c exit 3", 3)))
    text = "The command '/bin/sh -c exit 3' returned a non-zero code: 3"
    assert status == 200 and said[-1] == {"errorDetail": {"code": 3, "message": text}, "error": text}


def test_a_null_among_credentials_is_none(api: Harness) -> None:
    """As docker-py sends after a login. Seen to fail with every field wanted as a string."""
    builds = Builds()
    given = b'{"h:5": {"username": "u", "password": "p", "email": null, "identitytoken": null}, "g": null}'
    assert build(api, builds, X_Registry_Config=base64.b64encode(given).decode())[0] == 200
    assert builds.request.auth == {"h:5": Auth("u", "p"), "g": Auth()}


@pytest.mark.parametrize("header", ["%%", "WzFd", base64.b64encode(b'{"a": {"password": 1}}').decode()])
def test_credentials_that_are_none_are_refused(api: Harness, header: str) -> None:
    builds = Builds()
    status, said = build(api, builds, X_Registry_Config=header)
    assert status == 400 and "X-Registry-Config" in said[0]["message"]
