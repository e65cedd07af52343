"""TLS in front of the API: who is refused gets nothing, who is served loses nothing, and nobody holds the others up."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.api import tls
from minidock.client.client import Client
from minidock.client.connection import Connection
from minidock.client.endpoint import Endpoint, Tls
from minidock.client.tls import context
from minidock.engine.requests import AttachRequest, Hijack
from minidock.wire.errors import DaemonUnreachable, InvalidArgument
from minidock.wire.tls import Channel
from tests.api.harness import Harness
from tests.support.certificates import Authority, Certified
from tests.support.wait import eventually

PING = b"GET /_ping HTTP/1.1\r\nHost: daemon.example:2376\r\n\r\n"
Pki = dict[str, Certified]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    ours, foreign = Authority(folder), Authority(folder, "foreign")
    stranger = foreign.sign("stranger")
    return {
        "daemon": ours.sign("daemon"),
        "client": ours.sign("client"),
        "expired": ours.sign("expired", days=0),
        "elsewhere": ours.sign("elsewhere", names="DNS:other.example"),
        # it trusts our authority, and is trusted by another one only
        "foreign": dataclasses.replace(stranger, authority=ours.certificate),
        "credulous": stranger,
    }


@pytest.fixture
def port(api: Harness, pki: Pki) -> int:
    """The port of a TLS listener of ``api``."""
    return listen(api, pki["daemon"])


def listen(api: Harness, daemon: Certified) -> int:
    api.server._tls = tls.Material(daemon.authority, daemon.certificate, daemon.key, True).context()
    return int(api.tcp().getsockname()[1])


def endpoint(port: int, who: Certified | None, verify: bool = True) -> Endpoint:
    files = [str(path) for path in (who.authority, who.certificate, who.key)] if who else ["", "", ""]
    return Endpoint(f"tcp://127.0.0.1:{port}", Tls(verify, *files))


def raw(port: int, who: Certified | None) -> ssl.SSLSocket:
    """A TLS connection by Python's own sockets, for what no well-behaved client does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if who:
        context.load_cert_chain(who.certificate, who.key)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20))


def test_our_authority_s_clients_are_served(api: Harness, port: int, pki: Pki) -> None:
    client = Client(endpoint(port, pki["client"]), timeout=20)
    assert client.version()["ApiVersion"] == "1.45"
    assert [one["Id"] for one in client.containers(all=True)]


@pytest.mark.parametrize("who", [None, "foreign", "expired"])
def test_who_is_not_known_is_refused(api: Harness, port: int, pki: Pki, who: str | None) -> None:
    """With CERT_OPTIONAL, or without a look at the date, one of these gets its answer."""
    said = b""
    with pytest.raises((ssl.SSLError, ConnectionError)), raw(port, pki[who] if who else None) as sock:
        sock.sendall(b"POST /containers/web/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while data := sock.recv(65536):
            said += data
    assert said == b"" and not api.engine.calls
    with raw(port, pki["client"]) as sock:
        sock.sendall(PING)
        assert b" 200 OK" in sock.recv(65536)


def test_our_client_tells_why_it_was_refused(port: int, pki: Pki) -> None:
    for who, words in (("expired", "expired"), ("foreign", "unknown ca"), ("credulous", "certificate verify failed")):
        with pytest.raises(DaemonUnreachable, match=words):
            Client(endpoint(port, pki[who]), timeout=20).version()
    nothing = dataclasses.replace(pki["client"], certificate=Path(), key=Path())
    nobody = Endpoint(f"tcp://127.0.0.1:{port}", Tls(True, str(nothing.authority), "", ""))
    with pytest.raises(DaemonUnreachable, match="certificate required"):
        Client(nobody, timeout=20).version()


def test_a_daemon_that_is_another_is_refused(api: Harness, pki: Pki) -> None:
    port = listen(api, pki["elsewhere"])
    with pytest.raises(DaemonUnreachable, match="ip address mismatch"):
        Client(endpoint(port, pki["client"]), timeout=20).version()
    assert Client(endpoint(port, pki["client"], verify=False), timeout=20).version()["ApiVersion"] == "1.45"


def test_plain_http_gets_a_hint_and_nothing_else(api: Harness, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(b"POST /containers/web/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        said = b""
        while data := sock.recv(65536):
            said += data
    assert said.startswith(b"HTTP/1.0 400 ") and said.endswith(b"Client sent an HTTP request to an HTTPS server.\n")
    assert not api.engine.calls


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_of_the_last_century_is_refused(port: int, pki: Pki) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(pki["client"].certificate, pki["client"].key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), 20) as sock, pytest.raises(ssl.SSLError, match="(?i)version"):
        context.wrap_socket(sock)


def test_who_is_slow_to_shake_hands_holds_nobody_up(
    api: Harness, port: int, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 2)
    slow = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(50)]
    for sock in slow[::2]:
        sock.sendall(bytes.fromhex("16030100c8010000c40303"))
    eventually(lambda: len(api.server._relays) == len(slow), "all of them to be waited for")
    monkeypatch.setattr(
        tls, "HANDSHAKE_SECONDS", 20
    )  # less than a slow one of above waits, whose own limit may be read only now
    client = Client(endpoint(port, pki["client"]), timeout=20)
    assert client.ping()
    client.close()
    for sock in slow:
        answer = sock.recv(100)
        assert not answer or answer.startswith(b"HTTP/1.0 400 ")
        sock.close()
    eventually(lambda: not api.server._relays, "no relay to be left")


def test_the_end_of_input_is_not_the_end_of_output(port: int, pki: Pki) -> None:
    """With the ssl module's own idea of an end, which is both ends, ``bye`` is lost."""
    stream = Client(endpoint(port, pki["client"]), timeout=20).attach("tty", stdin=True)
    stream.socket.settimeout(20)
    stream.socket.sendall(b"x" * 300_000)
    threading.Thread(target=stream.socket.shutdown, args=(socket.SHUT_WR,)).start()
    said = stream.early
    while data := stream.socket.recv(65536):
        said += data
    assert said == b"x" * 300_000 + b"bye"


class Gusher:
    """Stands for a container that writes: 16 MiB in pieces, counted as they are taken."""

    SIZE, PIECE = 16 << 20, 1 << 16

    def __init__(self, api: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = 0
        self.ended = threading.Event()
        monkeypatch.setattr(api.engine, "attach", self._attach)

    def _attach(self, reference: str, request: AttachRequest, hijack: Hijack) -> None:
        sock, _ = hijack.upgrade(multiplexed=False)
        sock.setblocking(True)
        threading.Thread(target=self._write, args=(sock,), daemon=True).start()

    def _write(self, sock: socket.socket) -> None:
        with sock:
            try:
                for at in range(self.SIZE // self.PIECE):
                    sock.sendall(struct.pack(">Q", at) * (self.PIECE // 8))
                    self.written += self.PIECE
            except OSError:
                pass
        self.ended.set()


def attached(port: int, who: Certified) -> ssl.SSLSocket:
    sock = raw(port, who)
    sock.sendall(b"POST /containers/tty/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert b" 200 OK" in sock.recv(1) + sock.recv(4096)
    return sock


def test_a_client_that_does_not_read_holds_the_container_up_and_loses_nothing(
    api: Harness, port: int, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    gusher = Gusher(api, monkeypatch)
    with attached(port, pki["client"]) as sock:
        seen = -1
        while seen != (seen := gusher.written) or not seen:  # until it is held up
            assert Client(endpoint(port, pki["client"]), timeout=20).ping(), "others are served meanwhile"
        assert 0 < gusher.written < Gusher.SIZE // 2
        rest = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    whole = b"".join(struct.pack(">Q", at) * (Gusher.PIECE // 8) for at in range(Gusher.SIZE // Gusher.PIECE))
    assert whole.endswith(rest) and len(rest) > len(whole) - 8192, "bytes were lost or came in another order"


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
def test_a_client_that_vanishes_costs_nothing(
    api: Harness, port: int, pki: Pki, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        gusher = Gusher(api, monkeypatch)
        sock = attached(port, pki["client"])
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert gusher.ended.wait(20), "the container was not told that its client is gone"
    eventually(lambda: not api.server._relays, "no relay to be left")
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "no descriptor to be left")


def test_a_silent_container_s_client_that_vanishes_is_noticed(api: Harness, port: int, pki: Pki) -> None:
    """It neither reads nor writes, so only the relay can see that somebody hung up."""
    for end in (b"", b"half"):
        stream = Connection(endpoint(port, pki["client"]), 20)
        answer = stream.request("POST", "/containers/web/wait", {"Host": "x"})
        assert answer.status == 200
        if end:
            stream.socket.shutdown(socket.SHUT_WR)
        stream.close()
        eventually(lambda: not api.server._relays, "no relay to be left")
        assert api.engine.waits[-1].cancelled()


def test_who_does_not_take_the_last_words_is_not_waited_for_long(
    api: Harness, port: int, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container has ended, and its client neither reads what is left nor closes."""
    monkeypatch.setattr(tls, "FLUSH_SECONDS", 0.5)
    monkeypatch.setattr(tls, "LINGER_SECONDS", 0.5)

    def attach(reference: str, request: AttachRequest, hijack: Hijack) -> None:
        sock, _ = hijack.upgrade(multiplexed=False)

        def write() -> None:
            sock.settimeout(1)
            with sock, pytest.raises(TimeoutError):
                while True:
                    sock.sendall(b"x" * 65536)

        threading.Thread(target=write, daemon=True).start()

    monkeypatch.setattr(api.engine, "attach", attach)
    with attached(port, pki["client"]):
        eventually(lambda: not api.server._relays, "the relay to end")


def test_both_ends_of_a_channel_may_have_ended(pki: Pki) -> None:
    """Whoever ends first still hears the other's end as an end, not as a broken connection."""
    ours, theirs = pki["daemon"], pki["client"]
    server = Channel(tls.Material(ours.authority, ours.certificate, ours.key, True).context(), True)
    client = Channel(
        context(Tls(True, *map(str, (theirs.authority, theirs.certificate, theirs.key)))), False, "localhost"
    )

    while not all([client.shake_hands(), server.shake_hands()]):
        for source, target in ((client, server), (server, client)):
            if data := source.pending():
                target.feed(data)
    assert server.peer() == "client"
    client.end()
    server.feed(client.pending())
    assert server.read() == b""
    server.write(b"last words")
    server.end()
    client.feed(server.pending())
    assert (client.read(), client.read()) == (b"last words", b"")


def test_a_browser_is_refused_and_any_name_is_ours(port: int, pki: Pki) -> None:
    answers = []
    for lines in (b"Host: daemon.example\r\n", b"Host: x\r\nOrigin: https://x\r\n"):
        with raw(port, pki["client"]) as sock:
            sock.sendall(b"GET /_ping HTTP/1.1\r\n" + lines + b"\r\n")
            answers.append(sock.recv(65536).split(b" ", 2)[1])
    assert answers == [b"200", b"403"]


def test_the_server_s_end_cuts_off_who_is_attached(api: Harness, port: int, pki: Pki) -> None:
    stream = Client(endpoint(port, pki["client"]), timeout=20).attach("tty", stdin=True)
    stream.socket.settimeout(20)
    idle = Client(endpoint(port, pki["client"]), timeout=20)
    assert idle.ping()
    api.close()
    assert stream.socket.recv(100) == b"" and not idle._idle.usable()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"authority": "nosuch"}, "there is no file nosuch"),
        ({"certificate": "nosuch"}, "there is no file nosuch"),
        ({"key": "garbage"}, "garbage: "),
        ({"key": "client"}, "key values mismatch"),
        ({"authority": "garbage"}, "garbage: "),
    ],
)
def test_files_that_are_not_right(tmp_path: Path, pki: Pki, change: dict[str, str], words: str) -> None:
    (tmp_path / "garbage").write_text("garbage")
    wrong = {"nosuch": Path("nosuch"), "garbage": tmp_path / "garbage", "client": pki["client"].key}
    ours = pki["daemon"]
    files = {"authority": ours.authority, "certificate": ours.certificate, "key": ours.key}
    files |= {name: wrong[which] for name, which in change.items()}
    with pytest.raises(InvalidArgument, match=words):
        tls.Material(files["authority"], files["certificate"], files["key"], True).context()


@pytest.fixture(autouse=True)
def _no_exceptions(api: Harness, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """What goes wrong on a connection is told in a line of the log, never as an exception that nobody awaits."""
    yield
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
