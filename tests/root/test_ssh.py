"""`-H ssh://…`: minidock, and the real docker CLI, through a real sshd to a daemon on nothing but its unix socket.

docker's client runs `docker system dial-stdio` at the other end; there `docker` is a link to our `minidock`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import Cli, base_env
from tests.support.daemon import SCRIPTS, Daemon
from tests.support.sshd import PORT, serving
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge, pytest.mark.sshd]
URL = f"ssh://root@127.0.0.1:{PORT}"


@dataclass(frozen=True)
class Far:
    """A machine with a daemon and an sshd; `reach` is a client of it."""

    daemon: Daemon
    ssh: Path

    def reach(self, program: Cli, url: str = URL) -> Cli:
        command = [*self.daemon.netns.enter, program.program[0], "-H", url]
        return dataclasses.replace(
            program, program=command, env={**program.env, "PATH": f"{self.ssh}:{os.environ['PATH']}"}
        )


@pytest.fixture(scope="module")
def far(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("ssh")
    programs = folder / "far"
    programs.mkdir()
    for name in ("minidock", "docker"):
        (programs / name).symlink_to(SCRIPTS / "minidock")
    settings = {**base_env(folder), "PATH": f"{programs}:/usr/bin:/bin", "MINIDOCK_HOST": daemon.host}
    with serving(daemon.netns, folder, settings) as ssh:
        yield Far(daemon, ssh)


@pytest.fixture(params=["docker", "minidock"])
def remote(request: pytest.FixtureRequest, far: Far) -> Cli:
    return far.reach(far.daemon.docker if request.param == "docker" else far.daemon.cli)


def no_tunnels(far: Far) -> None:
    """Each connection was a process at both ends; none of them may stay."""
    eventually(lambda: "dial-stdio" not in far.daemon.netns.run("ps", "-e", "-o", "args"), "the tunnels to end")


def test_the_main_job(far: Far, remote: Cli, tmp_path: Path) -> None:
    result = remote(
        "run", "-i", "--name", "first", "busybox", "sh", "-c", "cat; echo err >&2; exit 3", stdin="in\n" * 9999
    )
    assert (result.code, result.out, result.err) == (3, "in\n" * 9999, "err\n")
    assert remote("logs", "first").out == "in\n" * 9999
    (tmp_path / "there").write_bytes(os.urandom(1 << 18))
    remote.ok("cp", str(tmp_path / "there"), "first:/tmp/there")
    remote.ok("cp", "first:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    remote.ok("rm", "first")
    no_tunnels(far)


def test_a_terminal(far: Far, remote: Cli) -> None:
    with remote.terminal("run", "--rm", "-it", "alpine", "sh", rows=31, columns=99) as terminal:
        terminal.expect("/ # ")
        terminal.type("stty size\r")
        terminal.expect("31 99")
        terminal.type("sh -c 'echo a''sleep; sleep 100'\r")
        terminal.expect("asleep")
        terminal.type("\x03")
        terminal.expect("/ # ")
        terminal.type("exit 4\r")
        assert terminal.wait(30) == 4
    no_tunnels(far)


def test_an_interrupt_is_the_container_s_and_not_the_tunnel_s(far: Far, remote: Cli) -> None:
    """Without a terminal in the container Ctrl-C signals all of the client's processes, ssh among them."""
    script = "trap 'echo caught; exit 7' INT; echo go; while :; do sleep 0.1; done"
    with remote.terminal("run", "--rm", "-i", "busybox", "sh", "-c", script) as terminal:
        terminal.expect("go")
        terminal.type("\x03")
        terminal.expect("caught")
        assert terminal.wait(30) == 7
    no_tunnels(far)


def test_what_goes_wrong_is_told_in_docker_s_words(far: Far, remote: Cli) -> None:
    for url, words in (
        ("ssh://nobody@127.0.0.1:2222", "Permission denied"),
        ("ssh://root@127.0.0.1:2", "Connection refused"),
    ):
        result = dataclasses.replace(remote, program=[*remote.program[:-1], url])("ps")
        assert result.code == 1 and words in result.err, str(result)
        assert "has exited with exit status" in result.err and "make sure the URL is valid" in result.err


def test_a_socket_elsewhere_by_its_path(far: Far) -> None:
    """docker's client has learnt paths later than Debian 12's."""
    remote = far.reach(far.daemon.cli, f"{URL}{far.daemon.socket}")
    assert remote.ok("run", "--rm", "busybox", "echo", "hi") == "hi"
    result = far.reach(far.daemon.cli, f"{URL}/nosuch/daemon.sock")("ps")
    assert result.code == 1 and "has exited with exit status" in result.err and "/nosuch/daemon.sock" in result.err


def test_dial_stdio_is_offered_and_not_shown(far: Far) -> None:
    result = far.daemon.cli("system", "dial-stdio", stdin="GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert result.code == 0 and result.out.startswith("HTTP/1.1 200 OK\r\n") and result.out.endswith("OK")
    assert "dial-stdio" not in far.daemon.cli.ok("system", "--help")
