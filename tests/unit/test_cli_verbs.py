"""Verbs on containers and images: the requests they send, what they print, docker's exit codes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_daemon import Exchange, FakeDaemon
from tests.unit.conftest import ID, Minidock

VERBS = "start|stop|restart|kill"


@pytest.fixture
def willing(fake: FakeDaemon) -> FakeDaemon:
    """A daemon that does everything to `a` and `b`, and refuses with 409 for `busy`."""
    fake.on("POST", f"/containers/[ab]/({VERBS})", None, 204)
    fake.on("DELETE", "/containers/[ab]", None, 204)
    fake.on("POST", f"/containers/busy/({VERBS})", {"message": "busy is busy"}, 409)
    fake.on("DELETE", "/containers/busy", {"message": "busy is busy"}, 409)
    return fake


@pytest.mark.parametrize(
    ("args", "request_line"),
    [
        (["start", "a"], "POST /containers/a/start"),
        (["stop", "a"], "POST /containers/a/stop"),
        (["stop", "-t", "0", "-s", "INT", "a"], "POST /containers/a/stop?signal=INT&t=0"),
        (["stop", "a", "--time=-1"], "POST /containers/a/stop?t=-1"),
        (["restart", "--timeout", "3", "a"], "POST /containers/a/restart?t=3"),
        (["kill", "a"], "POST /containers/a/kill"),
        (["kill", "--signal=9", "a"], "POST /containers/a/kill?signal=9"),
        (["rm", "a"], "DELETE /containers/a"),
        (["rm", "-fv", "a"], "DELETE /containers/a?force=1&v=1"),
        (["rm", "/a", "--force"], "DELETE /containers/a?force=1"),
    ],
)
def test_requests(willing: FakeDaemon, minidock: Minidock, args: list[str], request_line: str) -> None:
    result = minidock(*args)
    assert (result.exit_code, result.stdout.strip().strip("/"), result.stderr) == (0, "a", "")
    assert willing.seen() == [request_line]


@pytest.mark.parametrize("name", ["start", "stop", "restart", "kill", "rm"])
def test_a_failure_does_not_stop_the_rest(willing: FakeDaemon, minidock: Minidock, name: str) -> None:
    result = minidock(name, "a", "busy", "b")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "a\nb\n", "minidock: busy is busy\n")


def test_many_stops_wait_together(fake: FakeDaemon, minidock: Minidock) -> None:
    both = threading.Barrier(2, timeout=10)

    def stop(exchange: Exchange) -> None:
        both.wait()  # breaks, and the request fails, unless the other one comes meanwhile
        exchange.reply(None, 204)

    fake.on("POST", "/containers/[ab]/stop", stop)
    assert minidock("stop", "a", "b").stdout == "a\nb\n"


def test_starting_what_runs_is_no_failure(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/a/start", None, 304)
    assert (minidock("start", "a").exit_code, minidock("start", "a").stdout) == (0, "a\n")


def test_forced_removal_of_what_is_not_there_is_no_failure(willing: FakeDaemon, minidock: Minidock) -> None:
    result = minidock("rm", "-f", "nosuch", "a")
    assert (result.exit_code, result.stdout) == (0, "a\n")
    assert result.stderr == "minidock: No such container: nosuch\n"
    assert minidock("rm", "nosuch").exit_code == 1
    assert minidock("rm", "-f", "busy").exit_code == 1


def test_wait_prints_codes(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/a/wait", lambda exchange: exchange.chunks([b'{"StatusCode":3}\n']))
    assert minidock("wait", "a").stdout == "3\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], "'minidock run' requires at least 1 argument"),
        (["exec", "c"], "'minidock exec' requires at least 2 arguments"),
        (["rm"], "'minidock rm' requires at least 1 argument"),
        (["logs"], "'minidock logs' requires 1 argument"),
        (["logs", "a", "b"], "'minidock logs' requires 1 argument"),
        (["tag", "a"], "'minidock tag' requires 2 arguments"),
        (["images", "a", "b"], "'minidock images' requires at most 1 argument"),
        (["version", "x"], "'minidock version' accepts no arguments"),
        (["nosuch"], "unknown command: minidock nosuch"),
    ],
)
def test_wrong_numbers_of_arguments(fake: FakeDaemon, minidock: Minidock, args: list[str], words: str) -> None:
    result = minidock(*args)
    assert (result.exit_code, fake.requests) == (1, [])
    assert words in result.stderr and "--help'" in result.stderr


@pytest.mark.parametrize("words", [[], ["run"], ["network"], ["network", "create"], ["container", "ls"]])
def test_help_is_a_command_too(minidock: Minidock, words: list[str]) -> None:
    page = minidock(*words, "--help").stdout
    assert page and minidock("help", *words).stdout == page


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["help", "rnu"], "unknown command: minidock rnu; hint: did you mean run? see 'minidock --help'"),
        (["rnu", "alpine"], "unknown command: minidock rnu; hint: did you mean run? see 'minidock --help'"),
        (
            ["volume", "lss"],
            "unknown command: minidock volume lss; hint: did you mean ls? see 'minidock volume --help'",
        ),
        (
            ["run", "--restrat=no", "a"],
            "unknown flag: --restrat; hint: did you mean --restart? see 'minidock run --help'",
        ),
        (["zzzzz"], "unknown command: minidock zzzzz; see 'minidock --help'"),
        (["run", "--nosuch", "a"], "unknown flag: --nosuch; see 'minidock run --help'"),  # and no word of --no-detach
    ],
)
def test_a_misspelt_word_is_understood(minidock: Minidock, args: list[str], words: str) -> None:
    assert minidock(*args).stderr == f"minidock: {words}\n"


@pytest.mark.parametrize("args", [["ps"], ["start", "a"], ["exec", "c", "ls"], ["create", "alpine"], ["images"]])
def test_no_daemon_is_one_clear_line(fake: FakeDaemon, minidock: Minidock, args: list[str]) -> None:
    fake.stop()
    result = minidock(*args)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert f"cannot reach the daemon at {fake.host}" in result.stderr and "sudo minidockd" in result.stderr


def test_no_daemon_for_run_is_125(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.stop()
    assert minidock("run", "alpine").exit_code == 125


def test_help_needs_no_daemon_and_names_every_command(fake: FakeDaemon, minidock: Minidock) -> None:
    from minidock.cli.main import COMMANDS

    fake.stop()
    page = minidock("--help").stdout
    assert minidock().stdout == page
    for group, commands in COMMANDS.items():
        assert f"\n{group}:\n" in page
        for name, (_, text) in commands.items():
            assert f"\n  {name} " in page and text in page
            shown = minidock(name, "--help")
            assert shown.exit_code == 0 and shown.stdout.startswith(
                (f"Usage:  minidock {name} [OPTIONS]", f"Usage:  minidock {name} COMMAND")
            )


def test_the_version_flag(minidock: Minidock) -> None:
    from minidock import __version__

    assert minidock("--version").stdout == minidock("-v").stdout == f"minidock version {__version__}\n"


# -- images ------------------------------------------------------------------------------------------------------------

PULL: list[dict[str, Any]] = [
    {"status": "Pulling from library/alpine", "id": "3.23"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Downloading", "progressDetail": {"current": 10, "total": 34}, "id": "aaaaaaaaaaaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Digest: sha256:12"},
]
SHOWN = "3.23: Pulling from library/alpine\naaaaaaaaaaaa: Pulling fs layer\naaaaaaaaaaaa: Pull complete\n"
SHOWN += "Digest: sha256:12\n"


def pulled(exchange: Exchange) -> None:
    exchange.chunks(json.dumps(line).encode() + b"\r\n" for line in PULL)


@pytest.mark.parametrize(
    ("args", "request_line", "output"),
    [
        (
            ["alpine:3.23"],
            "POST /images/create?fromImage=docker.io/library/alpine&tag=3.23",
            SHOWN + "docker.io/library/alpine:3.23\n",
        ),
        (
            ["-q", "alpine"],
            "POST /images/create?fromImage=docker.io/library/alpine&tag=latest",
            "docker.io/library/alpine:latest\n",
        ),
        (
            ["-q", "localhost:5000/a@sha256:77"],
            "POST /images/create?fromImage=localhost:5000/a&tag=sha256:77",
            "localhost:5000/a@sha256:77\n",
        ),
        (
            ["-aq", "u/x", "--platform=linux/arm64"],
            "POST /images/create?fromImage=docker.io/u/x&platform=linux/arm64",
            "docker.io/u/x\n",
        ),
    ],
)
def test_pull(fake: FakeDaemon, minidock: Minidock, args: list[str], request_line: str, output: str) -> None:
    fake.on("POST", "/images/create", pulled)
    result = minidock("pull", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (0, output, "")
    assert fake.seen() == [request_line]


def test_a_pull_that_fails_on_its_way(fake: FakeDaemon, minidock: Minidock) -> None:
    lines = [b'{"status":"Pulling from x"}\r\n', b'{"errorDetail":{"message":"boom"},"error":"boom"}\r\n']
    fake.on("POST", "/images/create", lambda exchange: exchange.chunks(lines))
    result = minidock("pull", "x:1")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "Pulling from x\n", "minidock: boom\n")


def test_load_and_import_send_the_file(fake: FakeDaemon, minidock: Minidock, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x" * 300_000)
    fake.on("POST", "/images/load", lambda e: e.chunks([b'{"stream":"Loaded image: x:1\\n"}\n']))
    fake.on("POST", "/images/create", lambda e: e.chunks([b'{"status":"sha256:77"}\n']))
    assert minidock("load", "-i", str(archive)).stdout == "Loaded image: x:1\n"
    assert minidock("import", "-c", "CMD a", "-c", "ENV b=c", "-m", "why", str(archive), "x:1").stdout == "sha256:77\n"
    assert [request.body for request in fake.requests] == [archive.read_bytes()] * 2
    assert fake.seen()[1] == "POST /images/create?changes=CMD a&changes=ENV b=c&fromSrc=-&message=why&repo=x&tag=1"
    missing = minidock("load", "-i", "/nosuch")
    assert (missing.exit_code, missing.stderr) == (1, "minidock: open /nosuch: no such file or directory\n")


@pytest.mark.parametrize(
    ("target", "query"),
    [("x", "repo=x&tag=latest"), ("r:5000/x", "repo=r:5000/x&tag=latest"), ("r:5000/x:2", "repo=r:5000/x&tag=2")],
)
def test_tag(fake: FakeDaemon, minidock: Minidock, target: str, query: str) -> None:
    fake.on("POST", "/images/.+/tag", "", 201)
    assert minidock("tag", "alpine:3.23", target).exit_code == 0
    assert fake.seen() == [f"POST /images/alpine:3.23/tag?{query}"]


def test_rmi(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("DELETE", "/images/a/b:1", [{"Untagged": "a/b:1"}, {"Deleted": "sha256:77"}])
    result = minidock("rmi", "nosuch", "a/b:1")
    assert (result.exit_code, result.stdout) == (1, "Untagged: a/b:1\nDeleted: sha256:77\n")
    assert result.stderr == "minidock: No such image: nosuch\n"
    assert minidock("rmi", "-f", "nosuch").exit_code == 0
    assert fake.seen()[-1] == "DELETE /images/nosuch?force=1"


# -- exec and run without a stream -------------------------------------------------------------------------------------


def test_detached_run_prints_the_id(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/create", {"Id": ID, "Warnings": []}, 201)
    fake.on("POST", f"/containers/{ID}/start", None, 204)
    result = minidock("run", "-d", "--rm", "--name", "n", "alpine", "sleep", "1")
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    assert fake.seen() == ["POST /containers/create?name=n", f"POST /containers/{ID}/start"]
    assert not fake.requests[0].json["AttachStdout"]
    assert minidock("run", "-d", "-a", "stdout", "alpine").exit_code == 1


def test_detached_exec(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/c/exec", {"Id": "e"}, 201)
    fake.on("POST", "/exec/e/start", "", 200)
    result = minidock("exec", "-d", "-e", "A=1", "-u", "1", "-w", "/w", "--privileged", "c", "ls", "-l")
    assert (result.exit_code, result.output) == (0, "")
    assert fake.requests[0].json == {
        "User": "1", "Privileged": True, "Tty": False, "AttachStdin": False, "AttachStdout": False,
        "AttachStderr": False, "Detach": True, "DetachKeys": "", "Env": ["A=1"], "WorkingDir": "/w",
        "Cmd": ["ls", "-l"],
    }  # fmt: skip
    assert fake.requests[1].json == {"Detach": True, "Tty": False}


@pytest.mark.parametrize(("args", "path"), [(["export", "c"], "/containers/c/export"), (["save", "i"], "/images/get")])
def test_an_archive_goes_where_it_is_told(
    fake: FakeDaemon, minidock: Minidock, tmp_path: Path, args: list[str], path: str
) -> None:
    """Into a file that is whole or not there; into a device, which is not replaced by a file."""
    fake.on("GET", path, lambda exchange: exchange.chunks([b"tar"]))
    file, device, nowhere = tmp_path / "t.tar", tmp_path / "null", tmp_path / "nosuch/t.tar"
    device.symlink_to("/dev/null")
    assert [minidock(*args, "-o", str(place)).exit_code for place in (file, device)] == [0, 0]
    assert file.read_bytes() == b"tar" and device.is_symlink()
    assert minidock(*args, "-o", str(nowhere)).stderr == f"minidock: {nowhere}: no such file or directory\n"
