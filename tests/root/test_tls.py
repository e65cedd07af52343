"""The daemon on TCP with TLS: the real docker CLI and minidock, from terminal to file copy; and what TCP is refused."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Certified
from tests.support.cli import Cli
from tests.support.daemon import SCRIPTS, Daemon, Session
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.bridge]
PORT = "2376"


@dataclass(frozen=True)
class Secured:
    """A daemon on 127.0.0.1:2376 of its own network namespace, and its clients."""

    daemon: Daemon
    client: Certified

    def reach(self, program: Cli) -> Cli:
        """The program, where the daemon's loopback is, by TCP and with the client's certificate."""
        command = [*self.daemon.netns.enter, program.program[0], *self.client.flags, "-H", f"tcp://127.0.0.1:{PORT}"]
        return dataclasses.replace(program, program=command)


@pytest.fixture(scope="module")
def secured(daemons: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    daemon = Daemon(daemons)
    try:
        daemon.start("-H", f"tcp://127.0.0.1:{PORT}", *authority.sign("daemon").flags)
        daemon.load("alpine", "busybox")
        found = Secured(daemon, authority.sign("client"))
        found.reach(daemon.cli).ok("run", "--rm", "busybox", "true")
        yield found
    finally:
        daemon.close()


@pytest.fixture(params=["docker", pytest.param("minidock")])
def remote(request: pytest.FixtureRequest, secured: Secured) -> Cli:
    """Each of the two clients, over TLS."""
    if request.param == "docker" and not Path(secured.daemon.docker.program[0]).is_absolute():
        pytest.fail("no docker CLI on PATH (make setup-test brings it)")
    return secured.reach(secured.daemon.docker if request.param == "docker" else secured.daemon.cli)


def test_the_main_job(remote: Cli, tmp_path: Path) -> None:
    result = remote(
        "run", "-i", "--name", "first", "busybox", "sh", "-c", "cat; echo err >&2; exit 3", stdin="in\n" * 50_000
    )
    assert (result.code, result.out, result.err) == (3, "in\n" * 50_000, "err\n")
    assert remote("logs", "first").out == "in\n" * 50_000
    remote.ok("rm", "first")
    remote.ok("run", "-d", "--name", "second", "busybox", "sleep", "1000")
    assert remote.ok("exec", "second", "sh", "-c", "echo out; echo err >&2") == "out"
    assert remote("exec", "-i", "second", "sh", "-c", "wc -c; exit 4", stdin=b"x" * 1_000_000).out.split() == [
        "1000000"
    ]
    assert remote("exec", "-i", "second", "sh", "-c", "wc -c; exit 4", stdin=b"").code == 4
    (tmp_path / "there").write_bytes(os.urandom(1 << 20))
    remote.ok("cp", str(tmp_path / "there"), "second:/tmp/there")
    remote.ok("cp", "second:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    remote.ok("rm", "-f", "second")


def test_a_terminal(remote: Cli) -> None:
    with remote.terminal("run", "--rm", "-it", "alpine", "sh", rows=31, columns=99) as terminal:
        terminal.expect("/ # ")
        terminal.type("stty size\r")
        terminal.expect("31 99")
        terminal.resize(33, 77)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.type("sleep 0.1; while [ $(stty size | tr -d ' ') != 3377 ]; do :; done; echo res''ized\r")
        terminal.expect("resized")
        terminal.type("exit 4\r")
        assert terminal.wait() == 4


def test_an_attached_client_that_is_killed(secured: Secured, remote: Cli) -> None:
    """The container goes on, and the daemon keeps neither descriptor nor task for it (the ledger looks)."""
    with remote.start("run", "-i", "--name", "third", "busybox", "sh", "-c", "echo go; exec sleep 1000") as process:
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        process.send_signal(signal.SIGKILL)
    assert remote.ok("inspect", "-f", "{{.State.Running}}", "third") == "true"
    remote.ok("rm", "-f", "third")
    eventually(lambda: "established" not in sockets(secured.daemon), "no connection of the daemon's to be left")


def sockets(daemon: Daemon) -> str:
    """The connections on the daemon's port, in words."""
    table = Path(f"/proc/{daemon.netns.pid}/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    return " ".join("established" for row in rows if row[1].endswith(f":{int(PORT):04X}") and row[3] == "01")


def test_who_has_no_certificate_is_refused(secured: Secured, remote: Cli) -> None:
    program = remote.program[: remote.program.index("--tlsverify")]
    nobody = dataclasses.replace(remote, program=[*program, *secured.client.flags[:2], "-H", f"tcp://127.0.0.1:{PORT}"])
    result = nobody("ps")
    assert result.code == 1 and "certificate required" in result.err and not result.out
    plain = dataclasses.replace(remote, program=[*program, "-H", f"tcp://127.0.0.1:{PORT}"])
    result = plain("ps")
    assert result.code == 1 and "Client sent an HTTP request to an HTTPS server" in result.err


def test_the_environment_names_daemon_and_certificates(secured: Secured, remote: Cli, tmp_path: Path) -> None:
    client = secured.client
    for name, path in (("ca.pem", client.authority), ("cert.pem", client.certificate), ("key.pem", client.key)):
        (tmp_path / name).symlink_to(path)
    settings = {"DOCKER_HOST": f"tcp://127.0.0.1:{PORT}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    program = remote.program[: remote.program.index("--tlsverify")]
    by_name = dataclasses.replace(remote, program=program, env={**remote.env, **settings})
    assert by_name.ok("run", "--rm", "busybox", "echo", "hi") == "hi"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-H", "tcp://0.0.0.0:0"], "--tlsverify"),
        (["-H", "tcp://0.0.0.0:0", "--allow-insecure-tcp"], "--tlsverify"),
        (["-H", "tcp://0.0.0.0:0", "--tls", "--tlscert=CERT", "--tlskey=KEY"], "--tlsverify"),
        (["-H", "tcp://127.0.0.1:0"], "--allow-insecure-tcp"),
        (["-H", "tcp://0.0.0.0:0", "--tlsverify", "--tlscacert=/nosuch"], "there is no file"),
    ],
)
def test_tcp_that_nobody_guards_is_refused(secured: Secured, tmp_path: Path, options: list[str], words: str) -> None:
    given = _certified(secured, options)
    roots = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run"), "--bridge", "none"]
    command = [*secured.daemon.netns.enter, str(SCRIPTS / "minidockd"), *roots, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and words in done.stderr and "API listen" not in done.stderr


def _certified(secured: Secured, options: list[str]) -> list[str]:
    certificate, key = str(secured.client.certificate), str(secured.client.key)
    return [one.replace("CERT", certificate).replace("KEY", key) for one in options]


HANDED_OVER = """
import os, socket, sys
sock = socket.create_server((sys.argv[1], 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        ("0.0.0.0", ["--allow-insecure-tcp"], "--tlsverify"),
        ("127.0.0.1", [], "--allow-insecure-tcp"),
        ("0.0.0.0", ["--tls", "--tlscert=CERT", "--tlskey=KEY"], "--tlsverify"),
        ("127.0.0.1", ["--allow-insecure-tcp"], ""),
    ],
)
def test_tcp_of_a_socket_unit_is_held_to_the_same_rules(
    secured: Secured, tmp_path: Path, address: str, options: list[str], words: str
) -> None:
    """A socket of systemd's is bound by the time that we see it; the variant serves whoever finds it."""
    given = _certified(secured, options)
    roots = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run"), "--bridge", "none"]
    opener = [sys.executable, "-c", HANDED_OVER, address]
    command = [*secured.daemon.netns.enter, *opener, str(SCRIPTS / "minidockd"), *roots, *given]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "API listen on" in line:
                process.terminate()
    if words:
        assert process.returncode == 1 and words in said and "API listen" not in said, said
    else:
        assert process.returncode == 0 and f"API listen on tcp://{address}:" in said, said
