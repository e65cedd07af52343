"""Listening sockets: the unix socket, those that systemd hands over, and TCP: with TLS, or on loopback for who insists.

Whoever can connect is root on this machine. So the unix socket is never reachable more widely than it will be in the
end: it is bound under a private name and the strictest umask, gets its group and mode, and then its name. And TCP is
refused without TLS that checks its clients' certificates (tls.py), except on loopback and by an explicit flag.
See: unix(7), sd_listen_fds(3).
"""

from __future__ import annotations

import errno
import fcntl
import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minidock.wire.errors import Conflict, Forbidden, InvalidArgument, Unavailable

BACKLOG = 4096
LONGEST_PATH = 107
_FIRST_INHERITED = 3
_LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "[::1]": "::1"}

log = logging.getLogger("minidock.api")


def open_unix(path: Path, group: str) -> socket.socket:
    """Listens on ``path``, mode 0660, owner root:group; "" leaves the group as it is.

    A socket file that nobody listens on is replaced; one that somebody listens on is not touched.
    Raises Conflict, InvalidArgument, Unavailable.
    """
    gid = _group_id(group)
    private = path.with_name(f".{path.name}.{os.getpid()}")
    if len(os.fsencode(private)) > LONGEST_PATH:
        raise InvalidArgument(
            f"listen on {path}: a socket's path can have {LONGEST_PATH - 12} bytes", "use a shorter one"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _directory_locked(path.parent):
            _check_unused(path)
            _bind_privately(sock, private)
            if gid is not None:
                os.chown(private, -1, gid)
            os.chmod(private, 0o660)
            sock.listen(BACKLOG)
            os.rename(private, path)
    except OSError as error:
        sock.close()
        private.unlink(missing_ok=True)
        raise Unavailable(f"listen on {path}: {(error.strerror or str(error)).lower()}") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_privately(sock: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)


@contextmanager
def _directory_locked(directory: Path) -> Iterator[None]:
    """Two daemons that start at once must not both find the path unused."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _check_unused(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"listen on {path}: something that is no socket is there", "move it away, or give another -H")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
    raise Conflict(f"listen on {path}: another daemon listens there", "stop it, or give another -H")


def _group_id(group: str) -> int | None:
    if not group:
        return None
    if group.isascii() and group.isdigit() and len(group) < 10:
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        log.warning("group %s does not exist: only root can use the socket (groupadd --system %s)", group, group)
        return None


def open_tcp(host: str, allow_insecure: bool, verified: bool = False) -> socket.socket:
    """Listens on ``tcp://ADDRESS:PORT``; no address means all. ``verified``: clients show certificates.

    Raises Forbidden where they don't, for any address but loopback and without the flag; InvalidArgument, Unavailable.
    """
    address, _, port = host.removeprefix("tcp://").rpartition(":")
    if not host.startswith("tcp://") or not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise InvalidArgument(f"invalid -H {host}", "unix:///PATH, fd://, or tcp://ADDRESS:PORT")
    if not verified:
        _check_insecure(host, address in _LOOPBACK, allow_insecure)
    try:
        return _bind_tcp(_LOOPBACK.get(address, address.removeprefix("[").removesuffix("]")), int(port))
    except OSError as error:
        raise Unavailable(f"listen on {host}: {(error.strerror or str(error)).lower()}") from None


def _check_insecure(host: str, loopback: bool, allowed: bool) -> None:
    """Raises Forbidden for TCP whose clients nobody checks, but on loopback with the flag."""
    if not loopback:
        raise Forbidden(
            f"listen on {host}: whoever can connect would be root, and nobody checks who does",
            "give --tlsverify --tlscacert=FILE --tlscert=FILE --tlskey=FILE, or use the unix socket through ssh",
        )
    if not allowed:
        raise Forbidden(
            f"listen on {host}: every user of this machine, and no password, would be root",
            "give --tlsverify with certificates, or --allow-insecure-tcp if that is what you want",
        )


def _bind_tcp(address: str, port: int) -> socket.socket:
    """No address is every one of this machine, of both families where there are two."""
    both = not address and socket.has_dualstack_ipv6()
    families = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family = socket.AF_INET6 if both else families[0][0]
    sock = socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    sock.setblocking(False)
    return sock


def port_of(sock: socket.socket) -> str:
    """tcp://ADDRESS:PORT of a listening socket, with the port that the kernel chose for port 0."""
    address, port, *_ = sock.getsockname()
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def check_inherited(sockets: list[socket.socket], allow_insecure: bool, verified: bool) -> None:
    """Holds TCP sockets of systemd's to the rules of our own. Raises Forbidden."""
    for sock in sockets:
        if sock.family != socket.AF_UNIX and not verified:
            address, port = sock.getsockname()[:2]
            _check_insecure(f"{address}:{port} of the socket unit", address in _LOOPBACK.values(), allow_insecure)


def inherited() -> list[socket.socket]:
    """The sockets that systemd opened for us (LISTEN_FDS), none if it did not. The variables go, so that no child
    takes them for its own."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit() and len(count) < 4):
        return []
    return [_inherited(fd) for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count))]


def _inherited(fd: int) -> socket.socket:
    """Raises InvalidArgument for what nobody can connect to."""
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.type is not socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "it is no stream socket that listens")
    except OSError as error:
        what = f"LISTEN_FDS: file descriptor {fd}: {(error.strerror or str(error)).lower()}"
        raise InvalidArgument(what, "a socket unit has ListenStream=, and Accept=no") from None
    sock.setblocking(False)
    return sock
