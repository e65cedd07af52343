"""run, start -a, attach and exec with a stream: the order of requests, the pump, exit codes, a daemon that dies.

The client is a process of its own here, since its real streams and signals are what is tested.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from tests.support.fake_daemon import Exchange, FakeDaemon
from tests.support.wait import eventually
from tests.unit.conftest import ID, Program

C = f"/containers/{ID}"
EXIT = b'{"StatusCode":3}\n'
Talk = Callable[[Exchange], None]


def frame(number: int, text: bytes) -> bytes:
    return bytes([number, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def says(*pieces: bytes) -> Talk:
    """An attach that sends these bytes and ends."""

    def talk(exchange: Exchange) -> None:
        connection = exchange.hijack()
        for piece in pieces:
            connection.wfile.write(piece)

    return talk


def container(fake: FakeDaemon, talk: Talk, wait: bytes = EXIT) -> None:
    """The daemon's side of a run: the stream ends by itself, the exit is known after it."""
    ended = threading.Event()

    def attach(exchange: Exchange) -> None:
        talk(exchange)
        exchange.handler.wfile.flush()
        ended.set()

    def waiting(exchange: Exchange) -> None:
        exchange.head(200, Content_Type="application/json", Transfer_Encoding="chunked")
        assert ended.wait(20)
        exchange.handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(wait), wait))

    fake.on("POST", "/containers/create", {"Id": ID, "Warnings": []}, 201)
    fake.on("POST", f"{C}/attach", attach)
    fake.on("POST", f"{C}/wait", waiting)
    fake.on("POST", f"{C}/start", None, 204)


def test_the_order_of_requests(fake: FakeDaemon, program: Program) -> None:
    container(fake, says(frame(1, b"out\n"), frame(2, b"err\n")))
    done = program("run", "alpine", "true")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert fake.seen() == [
        "POST /containers/create",
        f"POST {C}/attach?stderr=1&stdout=1&stream=1",
        f"POST {C}/wait?condition=next-exit",
        f"POST {C}/start",
    ]
    attach = fake.requests[1].headers
    assert (attach["connection"], attach["upgrade"]) == ("Upgrade", "tcp")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_empty(fake: FakeDaemon, environment: dict[str, str], closed: str) -> None:
    """No socket gets their numbers: what the container says goes nowhere, and its input ends at once."""
    got: list[bytes] = []

    def talk(exchange: Exchange) -> None:
        connection = exchange.hijack()
        got.append(connection.rfile.read())
        connection.wfile.write(frame(1, b"out\n") + frame(2, b"err\n"))

    container(fake, talk)
    command = f'exec "$0" -m minidock.cli.main run -i alpine cat {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], env=environment, input=b"", capture_output=True, timeout=30, check=False
    )
    shown = (b"" if "2>" in closed else b"err\n", b"" if " >" in f" {closed}" else b"out\n")
    assert (done.returncode, done.stderr, done.stdout, got) == (3, *shown, [b""])


def test_rm_waits_for_the_removal(fake: FakeDaemon, program: Program) -> None:
    container(fake, says())
    assert program("run", "--rm", "alpine", "true").returncode == 3
    assert f"POST {C}/wait?condition=removed" in fake.seen()
    assert fake.requests[0].json["HostConfig"]["AutoRemove"]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4096, 1 << 20])
def test_frames_may_be_cut_anywhere(fake: FakeDaemon, program: Program, size: int) -> None:
    whole = b"".join(frame(1 + at % 2, b"%d " % at * (at % 50)) for at in range(400)) + frame(1, b"") + frame(2, b"end")
    container(fake, says(*(whole[at : at + size] for at in range(0, len(whole), size))))
    done = program("run", "alpine")
    assert done.stdout == b"".join(b"%d " % at * (at % 50) for at in range(0, 400, 2))
    assert done.stderr == b"".join(b"%d " % at * (at % 50) for at in range(1, 400, 2)) + b"end"


def test_output_that_comes_with_the_head_is_not_lost(fake: FakeDaemon, program: Program) -> None:
    def talk(exchange: Exchange) -> None:
        head = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n"
        exchange.handler.wfile.write(head + frame(1, b"early"))
        exchange.hang_up()

    container(fake, talk)
    assert program("run", "alpine").stdout == b"early"


def echo(exchange: Exchange) -> None:
    """As `cat` in a container: gives back what comes, ends when the input does."""
    connection = exchange.hijack()
    while data := connection.rfile.read1(65536):
        connection.wfile.write(frame(1, data))
    connection.wfile.write(frame(2, b"eof"))


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_stdin_is_carried_whole_and_its_end_too(fake: FakeDaemon, program: Program, size: int) -> None:
    container(fake, echo)
    data = os.urandom(1) * size
    done = program("run", "-i", "alpine", "cat", stdin=data)
    assert (done.returncode, len(done.stdout), done.stdout == data, done.stderr) == (3, size, True, b"eof")
    assert f"POST {C}/attach?stderr=1&stdin=1&stdout=1&stream=1" in fake.seen()


def test_without_i_stdin_is_left_alone(fake: FakeDaemon, environment: dict[str, str]) -> None:
    container(fake, says(frame(1, b"x")))
    command = f"printf 'for me' | ({sys.executable} -m minidock.cli.main run alpine; cat)"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"xfor me"


def test_a_container_that_reads_nothing_does_not_stop_its_output(fake: FakeDaemon, program: Program) -> None:
    def deaf(exchange: Exchange) -> None:
        connection = exchange.hijack()
        for _ in range(40):
            connection.wfile.write(frame(1, b"x" * 100_000))

    container(fake, deaf)
    done = program("run", "-i", "alpine", stdin=b"y" * 3_000_000)
    assert (done.returncode, len(done.stdout)) == (3, 4_000_000)


def test_a_slow_reader_holds_the_container_up_and_fills_no_memory(
    fake: FakeDaemon, environment: dict[str, str]
) -> None:
    taken: list[int] = []

    def much(exchange: Exchange) -> None:
        connection = exchange.hijack()
        connection.connection.settimeout(0.5)
        piece, total = frame(1, b"x" * 65528), 0
        try:
            while total < 64 << 20:
                total += connection.connection.send(piece[total % len(piece) :])
        except TimeoutError:
            pass
        taken.append(total)

    container(fake, much)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "alpine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as client:
        [total] = eventually(lambda: taken, "a container that is held up")
        assert client.stdout and len(client.stdout.read()) <= total < 8 << 20
        assert client.wait(20) == 3


def test_a_reader_that_goes_away(fake: FakeDaemon, environment: dict[str, str]) -> None:
    def endless(exchange: Exchange) -> None:
        connection = exchange.hijack()
        while True:
            connection.wfile.write(frame(1, b"y\n" * 1000))

    container(fake, endless)
    command = f"{sys.executable} -m minidock.cli.main run alpine yes | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (141, b"y\n")
    assert done.stderr == b"minidock: standard output is closed; the container goes on\n"


def test_a_full_disk_is_no_closed_output(fake: FakeDaemon, environment: dict[str, str]) -> None:
    def one_line(exchange: Exchange) -> None:
        exchange.hijack().wfile.write(frame(1, b"y\n"))

    container(fake, one_line)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "alpine"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    words = b"minidock: standard output: no space left on device; the container goes on\n"
    assert (done.returncode, done.stderr) == (1, words)


# -- the start and the image -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, 'exec: "nosuch": executable file not found in $PATH', 127),
        (400, 'exec: "/x": stat /x: no such file or directory', 127),
        (400, 'exec: "/etc": permission denied', 126),
        (500, "mount overlay on rootfs: EINVAL (invalid argument)", 125),
        (404, "network foo not found", 125),
        (409, "it is being removed", 125),
    ],
)
def test_exit_codes_of_a_start_that_failed(
    fake: FakeDaemon, program: Program, status: int, message: str, code: int
) -> None:
    container(fake, says())
    fake.on("POST", f"{C}/start", {"message": message}, status)
    for flags in ([], ["-d"]):
        done = program("run", *flags, "alpine", "x")
        assert (done.returncode, done.stderr.decode()) == (code, f"minidock: {message}\n")


def test_a_missing_image_is_pulled_with_its_progress_on_stderr(fake: FakeDaemon, program: Program) -> None:
    container(fake, says(frame(1, b"hi\n")))
    pulled = threading.Event()

    def create(exchange: Exchange) -> None:
        missing = {"message": "No such image: alpine:latest"}
        exchange.reply({"Id": ID} if pulled.is_set() else missing, 201 if pulled.is_set() else 404)

    def pull(exchange: Exchange) -> None:
        pulled.set()
        exchange.chunks([b'{"status":"Pulling from library/alpine","id":"latest"}\r\n'])

    fake.on("POST", "/containers/create", create)
    fake.on("POST", "/images/create", pull)
    done = program("run", "alpine")
    assert (done.returncode, done.stdout) == (3, b"hi\n")
    assert done.stderr == b"Unable to find image 'alpine:latest' locally\nlatest: Pulling from library/alpine\n"
    assert fake.seen()[:3] == [
        "POST /containers/create",
        "POST /images/create?fromImage=docker.io/library/alpine&tag=latest",
        "POST /containers/create",
    ]
    pulled.clear()
    quiet = program("run", "-q", "--pull", "always", "alpine")
    assert (quiet.stderr, fake.seen()[-5:-3]) == (b"", [fake.seen()[1], "POST /containers/create"])


def test_pull_never(fake: FakeDaemon, program: Program) -> None:
    fake.on("POST", "/containers/create", {"message": "No such image: alpine:latest"}, 404)
    done = program("run", "--pull", "never", "alpine")
    assert (done.returncode, done.stderr) == (125, b"minidock: No such image: alpine:latest\n")
    assert fake.seen() == ["POST /containers/create"]


def test_an_image_that_is_nowhere(fake: FakeDaemon, program: Program) -> None:
    fake.on("POST", "/containers/create", {"message": "No such image: nosuch:latest"}, 404)
    fake.on("POST", "/images/create", {"message": "pull access denied for nosuch; hint: check the name"}, 404)
    done = program("run", "nosuch")
    assert done.returncode == 125
    assert done.stderr.endswith(b"minidock: pull access denied for nosuch; hint: check the name\n")


def test_trace_shows_the_steps_also_of_a_failed_start(fake: FakeDaemon, program: Program) -> None:
    container(fake, says(frame(1, b"hi\n")))
    steps = [{"Kind": "overlay", "Text": "x", "Errno": 0, "Usec": 4}, {"Kind": "execve", "Text": "nosuch", "Errno": 2}]
    fake.on("GET", f"/minidock{C}/plan", {"Steps": steps, "Warnings": []})
    done = program("run", "--trace", "alpine")
    assert done.stdout == b"hi\n"
    assert re.search(rb"1 +overlay +ok +4 \xc2\xb5s +x\n2 +execve +ENOENT \(.*\) +nosuch\n", done.stderr)
    fake.on("POST", f"{C}/start", {"message": 'exec: "nosuch": executable file not found in $PATH'}, 400)
    failed = program("run", "-d", "--trace", "alpine")
    assert failed.returncode == 127 and b"execve" in failed.stderr and b"minidock: exec:" in failed.stderr


# -- exit codes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 125, 137, 255])
def test_the_exit_code_is_the_containers(fake: FakeDaemon, program: Program, code: int) -> None:
    container(fake, says(), b'{"StatusCode":%d}' % code)
    assert program("run", "alpine").returncode == code


def test_a_removal_that_failed_is_told(fake: FakeDaemon, program: Program) -> None:
    container(fake, says(), b'{"StatusCode":0,"Error":{"Message":"remove upper: EBUSY"}}')
    done = program("run", "--rm", "alpine")
    assert (done.returncode, done.stderr) == (125, b"minidock: remove upper: EBUSY\n")


class Restarted:
    """A daemon that goes away while the client waits, and comes back; `later` answers the waits that come then."""

    def __init__(self, fake: FakeDaemon, later: Talk) -> None:
        self.fake, self.later = fake, later
        self.started, self.gone = threading.Event(), threading.Event()
        container(fake, self.attach)
        fake.on("POST", f"{C}/start", self.start)
        fake.on("POST", f"{C}/wait", self.wait)

    def start(self, exchange: Exchange) -> None:
        exchange.reply(None, 204)
        self.started.set()

    def attach(self, exchange: Exchange) -> None:
        connection = exchange.hijack()
        assert self.started.wait(20)
        self.fake.stop()
        self.gone.set()
        connection.wfile.write(frame(1, b"all of it"))  # the monitor holds the stream, not the daemon
        threading.Timer(0.5, self.fake.__enter__).start()

    def wait(self, exchange: Exchange) -> None:
        if self.gone.is_set():
            return self.later(exchange)
        exchange.head(200, Transfer_Encoding="chunked")
        assert self.gone.wait(20)
        exchange.hang_up()


def ended_with_9(exchange: Exchange) -> None:
    exchange.reply({"StatusCode": 9})


def removed_after_9(exchange: Exchange) -> None:
    there = exchange.request.query["condition"] == ["removed"]
    exchange.reply({"StatusCode": 9} if there else {"message": "No such container"}, 200 if there else 404)


@pytest.mark.parametrize("later", [ended_with_9, removed_after_9])
def test_a_daemon_that_is_restarted_meanwhile(fake: FakeDaemon, program: Program, later: Talk) -> None:
    Restarted(fake, later)
    done = program("run", "--rm", "alpine")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"all of it", b"")


def test_a_daemon_that_has_forgotten_the_exit(fake: FakeDaemon, program: Program) -> None:
    Restarted(fake, lambda exchange: exchange.reply({"message": "No such container"}, 404))
    done = program("run", "alpine")
    assert (done.returncode, done.stdout) == (125, b"all of it")
    assert b"the exit code is unknown" in done.stderr


# -- signals -----------------------------------------------------------------------------------------------------------


class Obedient:
    """A container that runs until it is sent a signal."""

    def __init__(self, fake: FakeDaemon) -> None:
        self.signalled = threading.Event()
        self.attached = threading.Event()
        container(fake, self._talk)
        fake.on("POST", f"{C}/kill", self._kill)

    def _talk(self, exchange: Exchange) -> None:
        exchange.hijack().wfile.write(frame(1, b"up\n"))
        self.attached.set()
        assert self.signalled.wait(20)

    def _kill(self, exchange: Exchange) -> None:
        exchange.reply(None, 204)
        self.signalled.set()


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM"])
def test_signals_are_passed_on(fake: FakeDaemon, environment: dict[str, str], name: str) -> None:
    Obedient(fake)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "alpine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline() == b"up\n"
        client.send_signal(getattr(signal, f"SIG{name}"))
        assert client.wait(20) == 3
    assert f"POST {C}/kill?signal={name}" in fake.seen()


def test_without_sig_proxy_a_signal_ends_the_client(fake: FakeDaemon, environment: dict[str, str]) -> None:
    obedient = Obedient(fake)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "--sig-proxy=false", "alpine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline() == b"up\n"
        client.send_signal(signal.SIGTERM)
        assert client.wait(20) == 128 + signal.SIGTERM
    obedient.signalled.set()
    assert not any("kill" in line for line in fake.seen())


def test_the_third_interrupt_leaves_a_deaf_container(fake: FakeDaemon, environment: dict[str, str]) -> None:
    def killed(times: int) -> bool:
        return sum("kill" in line for line in fake.seen()) == times

    obedient = Obedient(fake)
    fake.on("POST", f"{C}/kill", None, 204)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "alpine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline() == b"up\n"
        for count in (1, 2, 3):
            client.send_signal(signal.SIGINT)
            if count < 3:
                eventually(partial(killed, count), "the kill")
        assert client.wait(20) == 130
        assert client.stderr and b"leaving; the container goes on" in client.stderr.read()
    obedient.signalled.set()


def test_a_signal_that_can_not_be_passed_on_is_told(fake: FakeDaemon, environment: dict[str, str]) -> None:
    obedient = Obedient(fake)
    command = [sys.executable, "-m", "minidock.cli.main", "run", "alpine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline() == b"up\n"
        fake.stop()
        client.send_signal(signal.SIGINT)
        assert client.stderr and b"SIGINT did not reach the container" in client.stderr.readline()
        obedient.signalled.set()
        assert client.wait(20) == 3


# -- start, attach, exec -----------------------------------------------------------------------------------------------


def described(running: bool, tty: bool = False, **state: bool) -> dict[str, object]:
    config = {"Tty": tty, "OpenStdin": True}
    return {"Id": ID, "State": {"Running": running, **state}, "Config": config, "HostConfig": {"AutoRemove": False}}


def test_start_attached(fake: FakeDaemon, program: Program) -> None:
    container(fake, echo)
    fake.on("GET", "/containers/c/json", described(running=False))
    done = program("start", "-ai", "c", stdin=b"hello")
    assert (done.returncode, done.stdout) == (3, b"hello")
    assert fake.seen()[1:] == [
        f"POST {C}/attach?stderr=1&stdin=1&stdout=1&stream=1",
        f"POST {C}/wait?condition=next-exit",
        f"POST {C}/start",
    ]
    assert program("start", "-a", "c", "d").returncode == 1


def test_attach(fake: FakeDaemon, program: Program) -> None:
    container(fake, says(frame(1, b"hi")))
    fake.on("GET", "/containers/c/json", described(running=True))
    done = program("attach", "--no-stdin", "--detach-keys", "ctrl-a", "c")
    assert (done.returncode, done.stdout) == (3, b"hi")
    attach = f"POST {C}/attach?detachKeys=ctrl-a&stderr=1&stdout=1&stream=1"
    assert fake.seen()[1:] == [attach, f"POST {C}/wait"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (described(running=False), b"cannot attach to a stopped container"),
        (described(running=True, Paused=True), b"cannot attach to a paused container"),
        (described(running=True, tty=True), b"the input device is not a TTY"),
    ],
)
def test_attach_that_can_not_be(fake: FakeDaemon, program: Program, found: object, words: bytes) -> None:
    fake.on("GET", "/containers/c/json", found)
    done = program("attach", "c")
    assert done.returncode == 1 and words in done.stderr and len(fake.requests) == 1


def execution(fake: FakeDaemon, talk: Talk, code: int | None = 4) -> None:
    fake.on("POST", "/containers/c/exec", {"Id": "e"}, 201)
    fake.on("POST", "/exec/e/start", talk)
    fake.on("GET", "/exec/e/json", {"ID": "e", "Running": code is None, "ExitCode": code})


def test_exec(fake: FakeDaemon, program: Program) -> None:
    execution(fake, echo)
    done = program("exec", "-i", "c", "cat", stdin=b"hello")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"hello", b"eof")
    assert fake.seen() == ["POST /containers/c/exec", "POST /exec/e/start", "GET /exec/e/json"]
    assert fake.requests[1].json == {"Detach": False, "Tty": False}


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (404, "No such container: c", 1),
        (409, "container c is not running", 1),
        (400, 'exec: "nosuch": executable file not found in $PATH', 127),
        (400, 'exec: "/etc": permission denied', 126),
    ],
)
def test_exit_codes_of_an_exec_that_failed(
    fake: FakeDaemon, program: Program, status: int, message: str, code: int
) -> None:
    execution(fake, says())
    fake.on("POST", "/exec/e/start", {"message": message}, status)
    done = program("exec", "c", "x")
    assert (done.returncode, done.stderr.decode()) == (code, f"minidock: {message}\n")


def test_t_needs_a_terminal(fake: FakeDaemon, program: Program) -> None:
    for command in (["run", "-it", "alpine"], ["exec", "-it", "c", "sh"]):
        done = program(*command)
        assert done.returncode == 1 and b"the input device is not a TTY" in done.stderr
    assert not fake.requests
