"""HTTP on the raw socket: every way in which a body may come, and what a dead or strange daemon looks like."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.client import Client
from minidock.client.client import encode_filters, encode_query, quote
from minidock.client.connection import Connection, connect
from minidock.client.endpoint import Endpoint
from minidock.wire.errors import DaemonUnreachable, InvalidArgument, NotFound, ServerError
from tests.support.fake_daemon import Exchange, FakeDaemon


class Script:
    """A server that answers each connection with given bytes, whatever was asked."""

    def __init__(self, path: Path, *answers: bytes, linger: bool = False) -> None:
        self.host = f"unix://{path}"
        self._answers = answers
        self._linger = linger
        self._kept: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._listener.accept()
            connection.recv(65536)
            connection.sendall(answer)
            if self._linger:
                self._kept.append(connection)
            else:
                connection.close()


def answer_of(path: Path, head: str, body: bytes) -> bytes:
    script = Script(path / "s", f"HTTP/1.1 {head}\r\n\r\n".encode() + body)
    return Connection(Endpoint(script.host)).request("GET", "/", {}).read()


@pytest.mark.parametrize(
    ("head", "body", "whole"),
    [
        ("200 OK\r\nContent-Length: 5", b"hello and more", b"hello"),
        ("200 OK\r\nContent-Length: 0", b"", b""),
        ("200 OK\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        ("200 OK\r\nTransfer-Encoding: chunked", b"A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"0123456789"),
        ("200 OK", b"until the end", b"until the end"),
        ("204 No Content", b"", b""),
        ("304 Not Modified", b"", b""),
        ("100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2", b"ok", b"ok"),
    ],
)
def test_bodies(tmp_path: Path, head: str, body: bytes, whole: bytes) -> None:
    assert answer_of(tmp_path, head, body) == whole


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("200 OK\r\nContent-Length: 50", b"too short"),
        ("200 OK\r\nTransfer-Encoding: chunked", b"5\r\nab"),
        ("200 OK\r\nTransfer-Encoding: chunked", b"2\r\nab\r\n"),
    ],
)
def test_a_body_that_breaks_off_is_an_error(tmp_path: Path, head: str, body: bytes) -> None:
    with pytest.raises(DaemonUnreachable):
        answer_of(tmp_path, head, body)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 huh\r\n\r\n", b"x" * 100_000])
def test_what_is_no_http_is_told(tmp_path: Path, answer: bytes) -> None:
    script = Script(tmp_path / "s", answer, linger=True)
    with pytest.raises(ServerError, match="no HTTP"):
        Connection(Endpoint(script.host)).request("GET", "/", {})


def test_a_bad_chunk_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no HTTP"):
        answer_of(tmp_path, "200 OK\r\nTransfer-Encoding: chunked", b"zz\r\n")


def test_pieces_come_as_they_are_sent(fake: FakeDaemon) -> None:
    sent = threading.Event()

    def slowly(exchange: Exchange) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"first\n"
            assert sent.wait(10), "the client held the first piece back"
            yield b"second\n"

        exchange.chunks(pieces())

    fake.on("GET", "/x", slowly)
    lines = Client(fake.host).request("GET", "/x").lines()
    assert next(lines) == b"first"
    sent.set()
    assert list(lines) == [b"second"]


def test_lines_survive_any_cut(fake: FakeDaemon) -> None:
    fake.on("GET", "/x", lambda exchange: exchange.chunks([b"on", b"e\ntw", b"o\n\nlast"]))
    assert list(Client(fake.host).request("GET", "/x").lines()) == [b"one", b"two", b"", b"last"]


def test_a_streamed_body_arrives_whole(fake: FakeDaemon) -> None:
    fake.on("POST", "/images/load", lambda exchange: exchange.chunks([b'{"stream":"Loaded"}\n']))
    pieces = [b"a" * 70_000, b"", b"b" * 3]
    assert list(Client(fake.host).load(iter(pieces))) == [{"stream": "Loaded"}]
    assert fake.requests[0].body == b"".join(pieces)


def test_an_early_refusal_of_a_streamed_body_is_heard(tmp_path: Path) -> None:
    body = b'{"message":"no room"}'
    script = Script(tmp_path / "s", b"HTTP/1.1 507 Full\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(ServerError, match="no room"):
        list(Client(script.host).load(iter([b"x" * 65536] * 200)))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_is_used_again(fake: FakeDaemon, chunked: bool) -> None:
    handlers = []

    def remember(exchange: Exchange) -> None:
        handlers.append(exchange.handler)
        if chunked:
            exchange.chunks([b"{", b"}"])
        else:
            exchange.reply({})

    fake.on("GET", "/version", remember)
    client = Client(fake.host, timeout=10)  # to look whether it is still open must not take as long as an answer may
    client.version()
    client.version()
    assert handlers[0] is handlers[1]


def test_a_kept_connection_that_the_daemon_closed_is_replaced(fake: FakeDaemon) -> None:
    closed = threading.Event()

    def once(exchange: Exchange) -> None:
        exchange.reply({"Version": "1"})
        exchange.handler.connection.shutdown(socket.SHUT_RDWR)
        exchange.hang_up()
        closed.set()

    fake.on("GET", "/version", once)
    client = Client(fake.host)
    assert client.version() == {"Version": "1"}
    assert closed.wait(10)
    assert client.version() == {"Version": "1"}


def test_a_hijack_gives_bytes_that_came_early(tmp_path: Path) -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nUpgrade: tcp\r\n\r\n"
    script = Script(tmp_path / "s", head + b"early")
    stream = Client(script.host).attach("c")
    assert stream.early + stream.socket.recv(10) == b"early"
    assert stream.framed


def test_errors_have_the_daemons_message_and_the_class_of_the_status(fake: FakeDaemon) -> None:
    fake.on("GET", "/containers/c/json", {"message": "No such container: c"}, 404)
    with pytest.raises(NotFound) as raised:
        Client(fake.host).inspect("c")
    assert raised.value.message == "No such container: c"


def test_an_error_without_json_is_still_told(tmp_path: Path) -> None:
    script = Script(tmp_path / "s", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\nbroken")
    with pytest.raises(ServerError, match="broken"):
        Client(script.host).version()


def test_an_answer_of_the_wrong_kind_is_told(fake: FakeDaemon) -> None:
    fake.on("GET", "/version", [])
    with pytest.raises(ServerError, match="no object"):
        Client(fake.host).version()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match=r"no such socket.*sudo minidockd"):
        connect(Endpoint(f"unix://{tmp_path}/nosuch"))


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "s"))
    with pytest.raises(DaemonUnreachable, match="nobody listens"):
        connect(Endpoint(f"unix://{tmp_path}/s"))


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    script = Script(tmp_path / "s", b"", linger=True)
    with pytest.raises(DaemonUnreachable, match="in time"):
        Client(script.host, timeout=0.05).version()


@pytest.mark.parametrize(
    "host", ["", "foo", "unix://", "tcp://", "tcp://1.2.3.4", "tcp://:80", "http://x", "tcp://a:b"]
)
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(InvalidArgument):
        connect(Endpoint(host))


def test_tcp(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect(Endpoint(f"tcp://127.0.0.1:{listener.getsockname()[1]}"))[0].close()


def test_quoting() -> None:
    assert quote("a b/c:é") == "a%20b%2Fc%3A%C3%A9"
    assert quote("localhost:5000/a/b@sha256:1", keep=b"/:@") == "localhost:5000/a/b@sha256:1"
    assert encode_query({"a": True, "b": False, "c": None, "d": "", "e": 0, "f": "x&y", "g": ["1", "2"]}) == (
        "?a=1&e=0&f=x%26y&g=1&g=2"
    )
    assert encode_query({}) == ""
    assert encode_filters({"label": ["a=b", "c"]}) == '{"label":{"a=b":true,"c":true}}'


def test_an_empty_name_never_becomes_another_path(fake: FakeDaemon) -> None:
    with pytest.raises(InvalidArgument):
        Client(fake.host).remove("")
    assert not fake.requests


def test_a_socket_that_one_may_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def connect(self, _: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("minidock.client.connection.socket", Forbidden)
    with pytest.raises(DaemonUnreachable) as caught:
        connect(Endpoint("unix:///run/minidock.sock"))
    assert str(caught.value).startswith("permission denied on the daemon's socket unix:///run/minidock.sock; hint: ")
    assert "sudo" in caught.value.hint and "usermod -aG minidock" in caught.value.hint
