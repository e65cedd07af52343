"""HTTP/1.1 over a Unix socket, TCP, TLS or ssh, written on the raw socket.

For client.py. http.client would cost the client more time than a whole `minidock ps` needs, and a hijacked connection
(attach, exec) must give its socket up anyway. So this is the part of HTTP that the API uses: one request at a time, a
body of known length or in chunks, an answer with Content-Length, in chunks, or until the end of the connection.
Bodies are iterators: nothing is held back and nothing is read ahead of its reader. `_socket` is the C half of `socket`;
the Python half takes a tenth of a bare interpreter's start for enums and file objects that nobody here uses.
See: RFC 9112. Read next: client.py.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_UNIX, IPPROTO_TCP, SHUT_WR, SOCK_STREAM, TCP_NODELAY, getaddrinfo, socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from select import POLLIN, poll

from minidock.client.endpoint import Endpoint
from minidock.wire.errors import DaemonUnreachable, InvalidArgument, ServerError

Socket = socket
Trouble = Callable[[], str]
"""Why a connection broke, in words; "" if its maker does not know."""
PORT_HINT = "is the daemon's port one for TLS, and is the certificate of an authority that it knows?"
START_HINT = "start it with `sudo minidockd`, or `make run` in the source tree"
GROUP_HINT = "run this with sudo, or join the group: `sudo usermod -aG minidock $USER`, then log in again"
_PIECE = 65536
_LONGEST_HEAD = 65536
_LONGEST_LINE = 8192

__all__ = ["SHUT_WR", "Connection", "Response", "Socket", "connect"]


def connect(endpoint: Endpoint, timeout: float | None = None) -> tuple[Socket, Trouble]:
    """A connected socket for ``unix:///path``, ``tcp://address:port`` or ``ssh://user@host``, and who knows of its end.

    Raises DaemonUnreachable with a hint.
    """
    host = endpoint.host
    scheme, separator, rest = host.partition("://")
    try:
        if separator and scheme == "unix" and rest:
            return _connect_unix(rest, timeout), str
        if separator and scheme == "tcp" and rest:
            return _connect_tcp(endpoint, *_address(rest), timeout)
    except OSError as error:
        raise _unreachable(host, error) from None
    if separator and scheme == "ssh":
        from minidock.client.ssh import tunnel  # subprocess, for those who need it

        sock, made = tunnel(host, timeout)
        return sock, made.trouble
    raise InvalidArgument(
        f"invalid host: {host!r}", "give unix:///run/minidock.sock, tcp://127.0.0.1:2376 or ssh://user@host"
    )


def _connect_unix(path: str, timeout: float | None) -> Socket:
    sock = socket(AF_UNIX, SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect(path)
    return sock


def _connect_tcp(endpoint: Endpoint, address: str, port: int, timeout: float | None) -> tuple[Socket, Trouble]:
    sock = _dial(address, port, timeout)
    if endpoint.tls is None:
        return sock, str
    from minidock.client.tls import Secured, reason  # ssl, for those who need it
    from minidock.wire.tls import BadTls

    try:
        secured = Secured(sock, address, endpoint.tls)
    except BadTls as error:
        raise DaemonUnreachable(f"cannot reach the daemon at {endpoint.host}: {reason(error)}", PORT_HINT) from None
    secured.plain.settimeout(timeout)
    return secured.plain, secured.trouble


def _dial(address: str, port: int, timeout: float | None) -> Socket:
    last: OSError = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    for family, kind, protocol, _, where in getaddrinfo(address, port, 0, SOCK_STREAM):
        sock = socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            sock.connect(where)
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            last = error
    raise last


def _address(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isascii() or not port.isdigit():
        raise InvalidArgument(f"invalid host: tcp://{text}", "give an address and a port, such as tcp://127.0.0.1:2375")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _unreachable(host: str, error: OSError) -> DaemonUnreachable:
    if error.errno in (errno.EACCES, errno.EPERM):
        return DaemonUnreachable(f"permission denied on the daemon's socket {host}", GROUP_HINT)
    reasons = {errno.ENOENT: "there is no such socket", errno.ECONNREFUSED: "nobody listens there"}
    reason = reasons.get(error.errno or 0, (error.strerror or str(error)).lower())
    return DaemonUnreachable(f"cannot reach the daemon at {host}: {reason}", START_HINT)


class Connection:
    """A connection to the daemon, and what has been read from it beyond the last answer.

    ``host`` is for error messages.
    """

    def __init__(self, endpoint: Endpoint, timeout: float | None = None) -> None:
        self.host = endpoint.host
        self.socket, self._trouble = connect(endpoint, timeout)
        self.buffer = b""

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] = b""
    ) -> Response:
        """Sends a request and reads the head of the answer. A body that is no bytes is sent in chunks as it comes."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if isinstance(body, bytes):
            lines += [f"Content-Length: {len(body)}"] if body or method not in ("GET", "HEAD", "DELETE") else []
        else:
            lines.append("Transfer-Encoding: chunked")
        head = "\r\n".join([*lines, "\r\n"]).encode("utf-8", "surrogateescape")
        # a daemon that refuses early says why in its answer; without one, reading the head fails
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(head, body)
        return self._answer(method)

    def _send(self, head: bytes, body: bytes | Iterable[bytes]) -> None:
        if isinstance(body, bytes):
            self.socket.sendall(head + body)
            return
        self.socket.sendall(head)
        for piece in body:
            if piece:
                self.socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.socket.sendall(b"0\r\n\r\n")

    def _answer(self, method: str) -> Response:
        while True:
            status, headers = parse_head(self._head())
            if status >= 200 or status == 101:
                return Response(self, status, headers, bodiless=method == "HEAD")

    def _head(self) -> bytes:
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > _LONGEST_HEAD:
                raise ServerError(f"the answer of {self.host} is no HTTP: its head does not end")
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def fill(self) -> None:
        """Reads more into the buffer. Raises DaemonUnreachable where the connection has ended."""
        try:
            data = self.socket.recv(_PIECE)
        except TimeoutError:
            raise DaemonUnreachable(f"the daemon at {self.host} does not answer in time") from None
        except OSError as error:
            words = self._trouble() or error.strerror
            raise DaemonUnreachable(f"the connection to {self.host} broke: {words}", START_HINT) from None
        if not data:
            if words := self._trouble():
                raise DaemonUnreachable(f"error during connect to {self.host}: {words}")
            raise DaemonUnreachable(f"the daemon at {self.host} closed the connection", START_HINT)
        self.buffer += data

    def some(self, most: int) -> bytes:
        """At least one and at most ``most`` bytes."""
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer[:most], self.buffer[most:]
        return data

    def line(self) -> bytes:
        """A line without its end, as in the frame of a chunk."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > _LONGEST_LINE:
                raise ServerError(f"the answer of {self.host} is no HTTP: a chunk's head is too long")
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def usable(self) -> bool:
        """Whether another request may be sent: false once the daemon has closed an idle connection."""
        waiting = poll()  # a recv would wait, on a socket that has a time limit
        waiting.register(self.socket, POLLIN)
        return not waiting.poll(0)  # its end, or bytes that nobody asked for

    def close(self) -> None:
        """Closes the socket; what was unread is lost."""
        self.socket.close()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, their names in lower case. Raises ServerError for what is no HTTP."""
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        raise ServerError(f"the answer is no HTTP: {first[:80]!r}", "is this the socket of another program?")
    pairs = (line.partition(":") for line in rest)
    return int(status[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


class Response:
    """An answer: ``status``, ``headers``, and the body, which is read as it is asked for.

    ``done`` is called once when the body has been read to its end, with the connection and whether it can serve
    another request.
    """

    def __init__(self, connection: Connection, status: int, headers: dict[str, str], bodiless: bool = False) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers
        self.done: Callable[[Connection, bool], None] | None = None
        self._body = iter(()) if bodiless or status in (101, 204, 304) else self._choose_body()

    def _choose_body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._chunked()
        length = self.headers.get("content-length")
        return self._counted(int(length)) if length is not None and length.isdigit() else self._until_close()

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces as they arrive."""
        yield from self._body
        self.finish(reusable="close" not in self.headers.get("connection", "").lower())

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self)

    def lines(self) -> Iterator[bytes]:
        """The body's lines without their ends, each as soon as it is whole."""
        rest = b""
        for piece in self:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def finish(self, reusable: bool) -> None:
        """The body is over. Called by the iteration; otherwise by who stops reading early, with False."""
        done, self.done = self.done, None
        if done:
            done(self.connection, reusable)

    def hijack(self) -> tuple[Socket, bytes]:
        """The socket, and what came behind the head already. The connection is no longer HTTP."""
        self.done = None
        return self.connection.socket, self.connection.buffer

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.connection.some(left)
            left -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[bytes]:
        connection = self.connection
        while size := _chunk_size(connection.line()):
            yield from self._counted(size)
            connection.line()
        while connection.line():
            pass  # trailers

    def _until_close(self) -> Iterator[bytes]:
        self.headers["connection"] = "close"
        while True:
            try:
                yield self.connection.some(_PIECE)
            except DaemonUnreachable:
                return


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise ServerError(f"the answer is no HTTP: chunk of size {line[:20]!r}") from None
