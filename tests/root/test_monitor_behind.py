"""Clients that are behind: the log is their buffer; neither the container nor its log nor its exit waits for them.

See: csrc/replay.h, csrc/client.h. Read next: test_monitor_clients.py (what holds where no log is kept).
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from minidock.wire.frames import FrameParser
from tests.support import monitors
from tests.support.busybox import BUSYBOX
from tests.support.monitors import COUNT, Workshop, attach, ended, finish, shell, within
from tests.support.wait import eventually


def _logged(log: Path) -> bytes:
    """What the log's files say that was written."""
    files = sorted(log.parent.glob(f"{log.name}.*"), key=lambda path: -int(path.suffix[1:]))
    lines = b"".join(path.read_bytes() for path in [*files, log]).splitlines()
    return "".join(json.loads(line)["log"] for line in lines).encode()


def _size(log: Path) -> int:
    """Of the file that is written; 0 in the moment when a rotation has it renamed."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def _text(size: int) -> bytes:
    """Text with characters of one to four bytes and everything that JSON escapes, in lines short and very long."""
    dice = random.Random(1)
    letters = 'a\t"\\<>&/é€\u2028\u2029\ufffd漢🐳\x00\x1b\x7f'
    lines = ("".join(dice.choices(letters, k=dice.choice((0, 10, 300, 40_000)))) + "\n" for _ in range(size))
    return "".join(lines).encode()


def test_a_paused_client_holds_up_nothing_and_gets_all(workshop: Workshop, counted: bytes) -> None:
    """Each is alone with its container, reads nothing until that has exited, and then gets every byte.

    Seen to fail where a client's full socket stops the reading of the streams: the exit did not come.
    """

    async def test() -> None:
        for mux in (False, True):
            workshop.log.unlink(missing_ok=True)
            monitor = await workshop.spawn(shell(f"{COUNT}; printf end; exit 7", log=workshop.log))
            client = attach(monitor, mux=mux)
            await within(monitor.start())
            assert (await within(monitor.exited)).code == 7
            ended(monitor)
            assert _logged(workshop.log) == counted + b"end"
            got = (await client.frames())[1] if mux else await client.rest()
            assert got == counted + b"end"

    workshop.run(test)


def test_text_comes_back_from_the_log_as_it_was(workshop: Workshop) -> None:
    """Seen to fail where a chunk that ends within a character counts as no text: the exit did not come."""
    text = _text(200)
    (workshop.folder / "text").write_bytes(text)

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"cat {workshop.folder}/text", log=workshop.log))
        clients = [attach(monitor, mux=mux) for mux in (False, True)]
        await within(monitor.start())
        await within(monitor.exited)
        ended(monitor)
        assert await clients[0].rest() == text
        assert (await clients[1].frames())[1] == text

    workshop.run(test)


def test_who_has_caught_up_is_live_again(workshop: Workshop) -> None:
    """Behind, in the midst of a line of each stream, and then at the prompt: a line's beginning comes once.

    Seen to fail where what the client has had of a line under way is not noted: it came twice.
    """
    script = f"printf one; printf two >&2; read go; {BUSYBOX} seq 1 100000; printf 'prompt> '; read go; echo $go"

    async def test() -> None:
        monitor = await workshop.spawn(shell(script, log=workshop.log, stdin="open"))
        client = attach(monitor, mux=True)
        await within(monitor.start())
        await client.until(b"two")
        await client.until(b"one")
        await client.send(b"\n")
        eventually(lambda: b'"100000\\n"' in workshop.log.read_bytes()[-200:], "the container to go on")
        await client.until(b"prompt> ")
        await client.send(b"good\n")
        await client.until(b"good")
        await finish(monitor, client)
        streams: dict[int, bytes] = {}
        for stream, data in FrameParser().feed(bytes(client.received)):
            streams[stream] = streams.get(stream, b"") + data
        numbers = b"".join(b"%d\n" % n for n in range(1, 100_001))
        assert streams == {1: b"one" + numbers + b"prompt> good\n", 2: b"two"}

    workshop.run(test)


def test_others_get_all_at_once(workshop: Workshop, counted: bytes) -> None:
    """One reads, five do not: nobody is cut off for it, and all have every byte in the end.

    Seen to fail where all wait for whoever is behind.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT}; echo error >&2", log=workshop.log))
        paused = [attach(monitor, mux=n % 2 == 0, stderr=n < 4) for n in range(5)]
        reader = attach(monitor, stderr=False)
        await within(monitor.start())
        assert await finish(monitor, reader) == counted
        for n, client in enumerate(paused):
            if n % 2:
                assert sorted((await client.rest()).split()) == sorted(counted.split() + [b"error"])
            else:
                assert await client.frames() == ({1: counted, 2: b"error\n"} if n < 4 else {1: counted})

    workshop.run(test)


def test_bytes_that_a_log_can_not_hold_come_as_they_are(workshop: Workshop) -> None:
    """Text, then bytes, then text: a client that pauses misses and doubles nothing, though it is slower than all.

    Seen to fail where such bytes go the way through the log: they came back as U+FFFD.
    """
    noise = random.Random(2).randbytes(300_000)
    content = _text(40) + noise + _text(40) + b"\xe2\x82"
    (workshop.folder / "mixed").write_bytes(content)

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"cat {workshop.folder}/mixed; sleep 0.2", log=workshop.log))
        client = attach(monitor)
        await within(monitor.start())
        for _ in range(2):
            await asyncio.sleep(monitors.PATIENCE / 1000)
            await client.read(10_000)
        assert monitor.state == "running"
        assert await finish(monitor, client) == content

    workshop.run(test)


@pytest.mark.parametrize("files", [1, 100])
def test_a_log_that_is_rotated_waits_for_who_is_behind(workshop: Workshop, counted: bytes, files: int) -> None:
    """Not for ever: from a size on the container waits instead. Then all have every byte, and it is rotated again.

    Seen to fail where it is rotated regardless: a gap.
    """

    async def test() -> None:
        script = f"{COUNT}; read go; echo $go; sleep 1000"
        monitor = await workshop.spawn(shell(script, log=workshop.log, size=1 << 20, files=files))
        client = attach(monitor)
        await within(monitor.start())
        limit = 2 * (4 << 20)
        eventually(lambda: _size(workshop.log) > limit, "the log to grow")
        assert await client.until(counted[-100:]) == counted
        assert _size(workshop.log) < limit + (1 << 20)
        await client.send(b"more\n")  # it is rotated before the first line that comes when nobody is behind
        await client.until(b"more\n")
        if files > 1:
            assert _logged(workshop.log) == counted + b"more\n"
        monitor.signal(signal.SIGKILL)
        await finish(monitor, client)

    workshop.run(test)
    assert _size(workshop.log) < 2 << 20


def test_what_the_log_has_can_come_first(workshop: Workshop) -> None:
    """`attach` with logs=1: all files of the log, earlier runs too, then what is written from then on.

    Seen to fail where only the youngest file is looked at.
    """

    async def test() -> None:
        options = {"log": workshop.log, "size": 4000, "files": 10}
        monitor = await workshop.start(shell(f"{BUSYBOX} seq 1 300", **options))
        await within(monitor.exited)
        ended(monitor)
        monitor = await workshop.spawn(shell(f"{BUSYBOX} seq 301 400; printf half; read go; echo $go", **options))
        early = attach(monitor, log=True, stdin=False)
        await within(monitor.start())
        await early.until(b"half")
        late = attach(monitor, log=True, mux=True)
        await late.until(b"half")
        await late.send(b" whole\n")
        await finish(monitor, early)
        expected = b"".join(b"%d\n" % n for n in range(1, 401)) + b"half whole\n"
        assert bytes(early.received).replace(b"halfwhole", b"half whole") == expected
        assert (await late.frames())[1].replace(b"halfwhole", b"half whole") == expected

    workshop.run(test)
    assert len(list(workshop.folder.glob("container.log.*"))) > 2


def test_a_line_that_is_no_line_of_ours_is_passed_over(workshop: Workshop) -> None:
    """A log may have been damaged by a crash of the machine.

    Seen to fail where the name of the stream is not checked.
    """
    entry = b'{"log":"%b","stream":"stdout","time":"2026-11-22T00:00:00.000000000Z"}\n'
    odd = [b"\n", b"{}\n", b"\x00" * 300_000 + b"\n", entry % b"cut \\u12", entry % b"\\x", b'{"log":"no end\n']
    odd += [entry.replace(b"stdout", b"stdin") % b"x", entry % (b"\xff" * 100_000), entry % b"good\\n"]
    workshop.log.write_bytes(b"".join(odd))

    async def test() -> None:
        monitor = await workshop.spawn(shell("echo new", log=workshop.log))
        client = attach(monitor, log=True)
        await within(monitor.start())
        got = await finish(monitor, client)
        assert got.replace(b"\xff", b"") == b"good\nnew\n"

    workshop.run(test)


def test_a_monitor_stays_for_who_is_behind_and_for_nobody_else(workshop: Workshop) -> None:
    """After the exit: one client that is behind, one that has all and sees the end, and the control socket is closed.

    Seen to fail where the monitor ends with the container: the tail was missing.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT}; read go", log=workshop.log, stdin="open"))
        behind, leaver = attach(monitor), attach(monitor)
        quick = attach(monitor, stdout=False)
        await within(monitor.start())
        eventually(lambda: _size(workshop.log) > 25_000_000, "all output to be in the log")
        await quick.send(b"\n")
        await within(monitor.exited)
        ended(monitor)
        assert await quick.rest() == b""
        (pid,) = workshop.processes()
        assert await workshop.cpu_time(0.5) < 0.05
        assert not any("socket" in name for name in _descriptors(pid)[:6])
        leaver.close()
        behind.close()

    workshop.run(test)


def _descriptors(pid: int) -> list[str]:
    """Where its first descriptors lead: the listening socket was one of them."""
    return [str(path.readlink()) for path in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda one: int(one.name))]


def _anonymous(pid: int) -> int:
    """KiB of memory that are this process's alone; its program is shared with its like."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))


def test_being_behind_costs_no_memory(workshop: Workshop, counted: bytes) -> None:
    """However much is written: a chunk for each client that is behind. (The sanitizers' own memory is not counted.)

    Seen to fail where the monitor keeps its buffers.
    """

    async def test() -> None:
        monitor = await workshop.spawn(shell(f"{COUNT}; {COUNT}; read go", log=workshop.log, stdin="open"))
        client = attach(monitor)
        await within(monitor.start())
        (pid,) = workshop.processes()
        eventually(lambda: _size(workshop.log) > 55_000_000, "all output to be in the log", timeout=60)
        if not workshop.build.sanitized:
            eventually(lambda: _anonymous(pid) < 64 + 72, "the buffers to be given back")
        assert await client.until(counted[-50:] + b"1\n")
        monitor.signal(signal.SIGKILL)
        assert await finish(monitor, client) == counted * 2

    workshop.run(test)
