"""Asks a daemon for whatever docs/openapi.yaml allows, and for much that it forbids.

    python -m tests.support.fuzz URL COUNT SEED

Requests are schemathesis's, COUNT valid and COUNT invalid ones for each operation; where they name an object it is
mostly one that is there, since an unknown name is refused before anything can go wrong. Found is what no request may
bring about: a status of 5xx that the API does not mean to answer, no answer, or a connection that breaks. Whether each
answer stands in the page is judged by its record (scribe.py). Prints one JSON object.

Runs in a process of its own, in the network namespace of the daemon under test (../root/test_fuzz.py).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from tests.support import openapi

ANSWER_SECONDS = 30
# Their answer goes on until the client leaves; the head is what is judged.
FOLLOWING = ("/events", "/stats", "/attach", "/logs", "/wait", "/export", "/exec/{e}/start")
# Docker's own 500s, which its clients know; the first is a registry that can not be reached.
MEANT = ("reach ", "is not paused", "is not connected to the network", "unable to find user", "unable to find group")
CONTAINERS = {"runs": ["sleep", "1000"], "paused": ["sleep", "1000"], "ended": ["true"], "fresh": ["true"]}


@schemathesis.serializer("application/x-tar")
def _tar(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


class Target:
    """The daemon, and the objects in it that requests are about."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.names: dict[str, list[str]] = {}
        self.image = self.ask("GET", "/images/busybox/json").json()["Id"]

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.http.request(method, self.url + path, json=body, timeout=ANSWER_SECONDS)

    def prepare(self) -> None:
        """Puts everything back that the requests so far may have taken away."""
        self.ask("POST", f"/images/{self.image}/tag?repo=busybox&tag=latest")
        for name, command in CONTAINERS.items():
            body = {"Image": self.image, "Cmd": command, "StopSignal": "KILL", "Tty": name == "runs"}
            self.ask("POST", f"/containers/create?name={name}", body)
        for name in ("runs", "paused"):
            self.ask("POST", f"/containers/{name}/start")
        self.ask("POST", "/containers/paused/pause")
        self.ask("POST", "/containers/runs/unpause")
        self.ask("POST", "/networks/create", {"Name": "net"})
        self.ask("POST", "/volumes/create", {"Name": "vol"})
        session = self.ask("POST", "/containers/runs/exec", {"Cmd": ["true"]}).json().get("Id", "none")
        networks, volumes, images = ["net", "bridge", "none"], ["vol"], ["busybox", self.image]
        self.names = {"c": list(CONTAINERS), "e": [session], "n": networks, "v": volumes, "image": images, "p": ["p"]}

    def clear(self) -> None:
        """Removes all but the image that was there."""
        for one in self.ask("GET", "/containers/json?all=1").json():
            self.ask("DELETE", f"/containers/{one['Id']}?force=1&v=1")
        self.ask("POST", "/networks/prune")
        self.ask("POST", '/volumes/prune?filters={"all":["1"]}')
        self.ask("POST", f"/images/{self.image}/tag?repo=busybox&tag=latest")
        for one in self.ask("GET", "/images/json").json():
            names = [tag for tag in one["RepoTags"] if tag != "busybox:latest"] or [one["Id"]]
            for name in names if names != [self.image] else []:
                self.ask("DELETE", f"/images/{name}?force=1")


def tame(case: Any, target: Target, draw: Any) -> None:
    """Names what is there, and asks for nothing that takes long or touches the host's files."""
    for name, known in target.names.items():
        if name in (case.path_parameters or {}) and draw(st.integers(0, 3)):
            case.path_parameters[name] = draw(st.sampled_from(known))
    if "t" in (case.query or {}):
        case.query["t"] = draw(st.integers(0, 1))
    if not isinstance(case.body, dict):
        return
    if "Image" in case.body and draw(st.integers(0, 3)):
        case.body["Image"] = "busybox"
    if isinstance(host := case.body.get("HostConfig"), dict):
        for key in ("Binds", "Mounts", "Devices", "VolumesFrom"):
            host.pop(key, None)


def outcome(case: Any, target: Target) -> tuple[str, str]:
    """(what is wrong, "" if nothing is; the status)."""
    following = case.operation.path.endswith(FOLLOWING)
    try:
        wire = case.as_transport_kwargs(base_url=target.url)
        reply = target.http.request(**wire, stream=following, timeout=ANSWER_SECONDS, allow_redirects=False)
    except (requests.ConnectionError, requests.Timeout) as error:
        return f"no answer: {error!r}", "none"
    text = "" if following and reply.status_code < 300 else reply.text
    reply.close()
    status = reply.status_code
    wrong = status >= 500 and status not in (501, 503) and not any(words in text for words in MEANT)
    return (f"{status}: {text[:500]}" if wrong else ""), str(status)


def fuzz(operation: Any, mode: Any, count: int, seed: int, target: Target, statuses: Counter[str]) -> list[str]:
    """What came of an operation's requests; at most one finding."""
    found: list[str] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        phases=[hypothesis.Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def run(case: Any, data: Any) -> None:
        tame(case, target, data.draw)
        wrong, status = outcome(case, target)
        statuses[status] += 1
        if wrong:
            found.append(f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:1000]}\n    {wrong}")
            raise AssertionError(wrong)

    try:
        run()
    except AssertionError:
        pass
    except hypothesis.errors.Unsatisfiable:  # nothing about it can be invalid
        pass
    return found[-1:]


def main(url: str, count: int, seed: int) -> None:
    target, statuses = Target(url), Counter[str]()
    found: list[str] = []
    for result in schemathesis.openapi.from_dict(openapi.page()).get_all_operations():
        assert isinstance(result, Ok), result
        target.prepare()
        for mode in schemathesis.GenerationMode:
            found += fuzz(result.ok(), mode, count, seed, target, statuses)
    target.clear()
    print(json.dumps({"statuses": statuses, "found": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
