"""Events: Docker's words, in Docker's order, with Docker's attributes; what is kept is told again, and filtered.

The sequence was taken from dockerd 20.10 with the same commands, but for the end of a run, where 26.1 puts the network
and the volumes before ``die``.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli

NETWORK = {"container", "name", "type"}
PLAIN = {"image", "name"}
EXPECTED: list[tuple[str, str, set[str]]] = [
    ("volume", "create", {"driver"}),
    ("container", "create", PLAIN),
    ("network", "connect", NETWORK),
    ("volume", "mount", {"container", "destination", "driver", "propagation", "read/write"}),
    ("container", "start", PLAIN),
    ("container", "exec_create: sh -c exit 3", PLAIN | {"execID"}),
    ("container", "exec_start: sh -c exit 3", PLAIN | {"execID"}),
    ("container", "exec_die", PLAIN | {"execID", "exitCode"}),
    ("container", "pause", PLAIN),
    ("container", "unpause", PLAIN),
    ("container", "rename", PLAIN | {"oldName"}),
    ("container", "update", PLAIN),
    ("container", "top", PLAIN),
    ("container", "extract-to-dir", PLAIN),
    ("container", "archive-path", PLAIN),
    ("container", "export", PLAIN),
    ("container", "pause", PLAIN),
    ("image", "tag", {"name"}),
    ("container", "commit", PLAIN | {"comment", "imageID", "imageRef"}),
    ("container", "unpause", PLAIN),
    ("image", "untag", {"name"}),
    ("image", "delete", {"name"}),
    ("container", "kill", PLAIN | {"signal"}),
    ("network", "disconnect", NETWORK),
    ("volume", "unmount", {"container", "driver"}),
    ("container", "die", PLAIN | {"execDuration", "exitCode"}),
    ("container", "destroy", PLAIN),
    ("volume", "destroy", {"driver"}),
]


def live(docker_cli: Cli, folder: Path) -> None:
    """What EXPECTED tells of."""
    docker_cli.ok("create", "--network", "none", "--name", "one", "-v", "evv:/x", "busybox", "sleep", "1000")
    docker_cli.ok("start", "one")
    assert docker_cli("exec", "one", "sh", "-c", "exit 3").code == 3
    docker_cli.ok("pause", "one")
    docker_cli.ok("unpause", "one")
    docker_cli.ok("rename", "one", "two")
    docker_cli.ok("update", "--restart", "no", "two")
    docker_cli.ok("top", "two")
    (folder / "file").write_text("x")
    docker_cli.ok("cp", str(folder / "file"), "two:/tmp/")
    docker_cli.ok("cp", "two:/tmp/file", str(folder / "back"))
    docker_cli.ok("export", "-o", str(folder / "tar"), "two")
    docker_cli.ok("commit", "two", "made:1")
    docker_cli.ok("rmi", "made:1")
    docker_cli.ok("kill", "two")
    docker_cli.ok("wait", "two")
    docker_cli.ok("rm", "two")
    docker_cli.ok("volume", "rm", "evv")


@pytest.mark.docker_cli
def test_the_life_of_a_container_in_events(docker_cli: Cli, docker_api: Any, tmp_path: Path) -> None:
    since = time.time()
    live(docker_cli, tmp_path)
    until = time.time()

    def told(**filters: list[str]) -> list[dict[str, Any]]:
        return list(docker_api.events(since=since, until=until, filters=filters, decode=True))

    everything = told()
    assert [(e["Type"], e["Action"], set(e["Actor"]["Attributes"])) for e in everything] == EXPECTED
    for event in everything:
        assert event["scope"] == "local" and event["timeNano"] // 10**9 == event["time"]
        assert ("status" in event) == (event["Type"] in ("container", "image"))
        assert ("from" in event) == (event["Type"] == "container")
    for kind in ("container", "image", "volume", "network"):
        assert told(type=[kind]) == [e for e in everything if e["Type"] == kind]
    assert told(type=["daemon"]) == []
    assert told(event=["pause"]) == [e for e in everything if e["Action"] == "pause"]
    assert told(event=["exec_start"]) == [e for e in everything if e["Action"].startswith("exec_start")]
    ident = everything[1]["Actor"]["ID"]
    own = [e for e in everything if e["Type"] == "container"]
    assert told(container=[ident]) == told(container=[ident[:12]]) == own
    assert [e["Action"] for e in told(container=["one"])] == [
        a for _, a, _ in EXPECTED[1:10] if a not in ("connect", "mount")
    ]
    assert told(volume=["evv"]) == [e for e in everything if e["Type"] == "volume"]
    assert told(network=["none"]) == [e for e in everything if e["Type"] == "network"]
    assert [e["Action"] for e in told(image=["made:1"])] == ["tag"]
    assert told(label=["nosuch"]) == []
    assert (
        json.loads(
            docker_cli.ok(
                "events",
                "--since",
                str(since),
                "--until",
                str(until),
                "--filter",
                "event=die",
                "--format",
                "{{json .}}",
            )
        )["Actor"]["Attributes"]["exitCode"]
        == "137"
    )


def test_detach_keys(minidock: Cli, docker_api: Any) -> None:
    """As from dockerd, whose clients may watch for the keys themselves and just hang up: the docker CLI does.

    Seen to fail without the events, with them for clients that hang up, and without execID.
    """
    since = time.time()
    ident = minidock.ok("run", "-dit", "--name", "left", "--network", "none", "-l", "a=b", "busybox", "cat")
    try:
        hanging_up = docker_api.api.attach_socket(ident, params={"stream": 1, "stdin": 1, "stdout": 1})
        hanging_up._sock.shutdown(socket.SHUT_RDWR)
        with minidock.terminal("attach", "left") as terminal:
            terminal.type("hello\n")
            terminal.expect("hello\r\nhello")  # by then the client's own terminal echoes no more
            terminal.type("\x10\x11")
            assert terminal.wait() == 0
        with minidock.terminal("exec", "-it", "--detach-keys", "ctrl-a", "left", "cat") as terminal:
            terminal.type("hello\n")
            terminal.expect("hello\r\nhello")
            terminal.type("\x01")
            assert terminal.wait() == 0
        wanted = {"event": ["attach", "detach", "exec_start", "exec_detach"]}
        told = list(docker_api.events(since=since, until=time.time(), filters=wanted, decode=True))
        attributes = {"a": "b", "image": "busybox", "name": "left"}
        (session,) = docker_api.containers.get(ident).attrs["ExecIDs"]
        assert [(e["Action"], e["Actor"]["Attributes"]) for e in told] == [
            ("attach", attributes),
            ("attach", attributes),
            ("detach", attributes),
            ("exec_start: cat", attributes | {"execID": session}),
            ("exec_detach", attributes | {"execID": session}),
        ]
    finally:
        minidock.ok("rm", "-f", ident)


def test_a_terminal_that_changes_its_size(minidock: Cli, docker_api: Any) -> None:
    """Seen to fail without the event."""
    since = time.time()
    ident = minidock.ok("run", "-dt", "--network", "none", "busybox", "sleep", "1000")
    try:
        docker_api.containers.get(ident).resize(height=33, width=77)
        (told,) = docker_api.events(since=since, until=time.time(), filters={"event": ["resize"]}, decode=True)
        shown = told["Actor"]["Attributes"]
        assert (told["id"], shown["height"], shown["width"]) == (ident, "33", "77")
    finally:
        minidock.ok("rm", "-f", ident)
