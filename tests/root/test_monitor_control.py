"""The control socket under a broken daemon: whatever it sends, the container and its clients go on.

See: csrc/control.h for the protocol. Read next: test_monitor.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
from pathlib import Path

import pytest

from minidock.runtime import control
from minidock.runtime.control import Kind
from minidock.runtime.monitor import Monitor
from minidock.wire.errors import InvalidArgument
from tests.support import monitors
from tests.support.monitors import Workshop, attach, ended, shell, within
from tests.support.wait import eventually

# -- what a broken daemon may send ------------------------------------------------------------------------------------

HEADER = struct.Struct("<4I")


def _raw_connection(directory: Path) -> socket.socket:
    fd = os.open(directory, os.O_PATH)
    try:
        sock = control.connect(fd)
    finally:
        os.close(fd)
    sock.setblocking(True)
    sock.settimeout(monitors.LIMIT)
    message, fds, _, _ = socket.recv_fds(sock, 65536, 4)
    assert HEADER.unpack_from(message)[0] == Kind.STATE
    for fd in fds:
        os.close(fd)
    return sock


MALFORMED = {
    "empty": b"\0",
    "short": b"\1\0\0\0" * 3,
    "length too small": HEADER.pack(Kind.RESIZE, 1, 1, 0) + b"x",
    "length too large": HEADER.pack(Kind.RESIZE, 1, 1, 5) + b"x",
    "length of 4 GiB": HEADER.pack(Kind.RESIZE, 1, 1, 0xFFFFFFFF),
    "unknown type": HEADER.pack(99, 0, 0, 0),
    "a message of the monitor's": HEADER.pack(Kind.EXITED, 0, 0, 0),
    "a second start": HEADER.pack(Kind.START, 0, 0, 0),
    "a release before the exit": HEADER.pack(Kind.RELEASE, 0, 0, 0),
    "a terminal too large": HEADER.pack(Kind.RESIZE, 70000, 1, 0),
    "attach without a socket": HEADER.pack(Kind.ATTACH, 7, 0, 0),
    "larger than a message may be": HEADER.pack(Kind.ATTACH, 7, 0, 70000) + bytes(70000),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_message_ends_its_connection_only(workshop: Workshop, what: str) -> None:
    """Seen to fail where the length in the header is not compared."""

    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        with _raw_connection(workshop.directory(monitor.ident)) as sock:
            sock.send(MALFORMED[what])
            assert sock.recv(100) == b""
        await _proves_alive(monitor)

    workshop.run(test)


async def _proves_alive(monitor: Monitor) -> None:
    client = attach(monitor)
    await client.send(b"11\n")
    assert (await within(monitor.exited)).code == 11
    ended(monitor)


def _attach_with(fds: list[int], flags: int = 7, keys: int = 0, data: bytes = b"") -> tuple[bytes, list[int]]:
    return HEADER.pack(Kind.ATTACH, flags, keys, len(data)) + data, fds


def test_a_malformed_attach_ends_its_connection_and_keeps_no_descriptor(workshop: Workshop) -> None:
    """Seen to fail where any socket will do, and where a descriptor of a refused message stays."""

    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        (pid,) = workshop.processes()
        before = len(os.listdir(f"/proc/{pid}/fd"))
        reader, writer = os.pipe()
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours, theirs = monitors.unix_pair()
        good = theirs.fileno()
        bad = [
            _attach_with([reader]),
            _attach_with([datagram.fileno()]),
            _attach_with([good], flags=32),
            _attach_with([good], keys=1),
            _attach_with([good], keys=65, data=bytes(65)),
            _attach_with([good], keys=0xFFFFFFFF, data=b"x"),
            (HEADER.pack(Kind.RESIZE, 70000, 1, 0), [good, good, reader, writer]),
        ]
        for packet, fds in bad:
            with _raw_connection(workshop.directory(monitor.ident)) as sock:
                socket.send_fds(sock, [packet], fds)
                assert sock.recv(100) == b""
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before, "the descriptors to be closed")
        for closing in (datagram, ours, theirs):
            closing.close()
        os.close(reader)
        os.close(writer)
        await _proves_alive(monitor)

    workshop.run(test)


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_any_bytes_at_all(workshop: Workshop, state: str) -> None:
    """Messages made by chance, most of them nearly right. They may well start it, type something and read the log.

    Seen to fail where the length of detach keys is believed (the build with sanitizers).
    """

    async def test() -> None:
        chance = random.Random(20261122)
        monitor = await workshop.spawn(
            shell("while true; do read line; echo $line; sleep 0.01; done", log=workshop.log, size=4096, files=3)
        )
        if state == "running":
            await within(monitor.start())
        for _ in range(400):
            _send_by_chance(chance, workshop.directory(monitor.ident))
        successor = await within(Monitor.adopt(monitor.ident, workshop.directory(monitor.ident)))
        if successor.state == "waiting":
            await within(successor.start())
        successor.signal(signal.SIGKILL)
        assert (await within(successor.exited)).code == 137
        monitor.close()
        ended(successor)

    workshop.run(test)


def _send_by_chance(chance: random.Random, directory: Path) -> None:
    kind = chance.choice([*Kind, chance.getrandbits(32)])
    data = chance.randbytes(chance.choice([0, 1, 4, 64, 300]))
    values = [chance.choice([0, 1, 7, 15, 31, 64, len(data), 0xFFFF, 0xFFFFFFFF]) for _ in range(2)]
    length = chance.choice([len(data), len(data), len(data) + 1, 0xFFFFFFFF])
    packet = HEADER.pack(kind, *values, length) + data
    ours, theirs = monitors.unix_pair()
    with _raw_connection(directory) as sock, ours, theirs:
        fds = chance.choice([[], [theirs.fileno()], [theirs.fileno()] * 4])
        socket.send_fds(sock, [packet[: chance.choice([len(packet), chance.randint(1, 20)])]], fds)
        if chance.random() < 0.5:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass


def test_a_peer_that_is_not_root_is_sent_away(workshop: Workshop) -> None:
    """Row 12 of docs/security.md (CVE-2020-15257): even where the folder and the socket are everybody's by mistake.

    Variant: is_our_user() in csrc/control.c looks at nothing; then the peer is told the state, as root is.
    """

    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        directory = workshop.directory(monitor.ident)
        os.chmod(directory, 0o755)
        os.chmod(directory / "control", 0o666)
        assert await asyncio.to_thread(_heard_as, directory, 65534) == 0
        assert await asyncio.to_thread(_heard_as, directory, 0) > 0, "the control"
        await _proves_alive(monitor)

    workshop.run(test)


def _heard_as(directory: Path, user: int) -> int:
    """How many bytes a process of that user is told on the control socket: 0 if it is sent away (at most 255)."""
    child = os.fork()
    if child == 0:
        os.chdir(directory)
        os.setuid(user)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(monitors.LIMIT)
        sock.connect("control")
        os._exit(min(len(sock.recv(100)), 255))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_connections_beyond_the_limit_wait(workshop: Workshop) -> None:
    """Seen to fail where they are accepted and closed."""

    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        directory = workshop.directory(monitor.ident)
        socks = [_raw_connection(directory) for _ in range(7)]
        adopting = asyncio.ensure_future(Monitor.adopt(monitor.ident, directory))
        await asyncio.sleep(0.2)
        assert not adopting.done()
        for sock in socks:
            sock.close()
        (await within(adopting)).close()
        await _proves_alive(monitor)

    workshop.run(test)


def test_an_attach_that_does_not_fit_a_message_is_refused(workshop: Workshop) -> None:
    """Seen to fail without the check."""

    async def test() -> None:
        monitor = await workshop.start(shell("read line; exit $line", stdin="open"))
        with pytest.raises(InvalidArgument):
            attach(monitor, detach_keys=bytes(65))
        with pytest.raises(InvalidArgument):
            attach(monitor, early=bytes(65536))
        await _proves_alive(monitor)

    workshop.run(test)
