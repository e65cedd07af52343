"""The pump between this process's standard streams and a container's.

For attached.py: one loop over poll(2), nothing is lost and nothing waits for what it need not wait for.

    stdin ──▶ pending input ──▶ socket ──▶ container        end of stdin: half-close of the socket
    stdout, stderr ◀── pending output ◀── socket ◀── container, framed or (with a terminal) not

Each direction stops reading while its other end does not take what was read, so a slow reader holds up its own
direction only. The pump ends with the socket's end. See: Docker Engine API, "Attach to a container". Read next:
wire/frames.py.
"""

from __future__ import annotations

import os
import stat
from _socket import MSG_DONTWAIT
from collections.abc import Callable
from contextlib import suppress
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from typing import Protocol

from minidock.client.client import Stream
from minidock.client.connection import SHUT_WR
from minidock.wire.frames import STDERR, FrameParser

_CHUNK = 1 << 18
_INPUT_CHUNK = 1 << 16
_SURE = 4096  # what a pipe takes without blocking when poll says that it takes something
_GONE = POLLHUP | POLLERR | POLLNVAL


class SignalSource(Protocol):
    """Where signals come from; terminal.Signals."""

    def fileno(self) -> int: ...

    def pending(self) -> list[int]: ...


class _Outlet:
    """Standard output or error, written to without waiting.

    A pipe is opened anew, non-blocking: to set the flag on the descriptor itself would set it for every process that
    shares it. Where that can't be done, pieces are as small as poll(2) promises to be taken at once.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self._most, self.own = fd, _SURE, False
        with suppress(OSError):
            mode = os.fstat(fd).st_mode
            self._most = _CHUNK if stat.S_ISREG(mode) else _SURE
            if stat.S_ISFIFO(mode):
                self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self._most, self.own = _CHUNK, True

    def write(self, data: memoryview) -> int:
        """How many bytes were taken. Raises OSError if nobody reads."""
        try:
            return os.write(self.fd, data[: self._most])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        if self.own:
            os.close(self.fd)


class Pump:
    """Carries bytes until the stream ends. ``on_signal`` is called for each signal that comes meanwhile.

    After ``run``: ``broken`` is why standard output takes no more, ``detaching`` tells that ``detach_keys`` were typed.
    The keys are the daemon's to act upon; knowing of them tells a detached client from an ended container.
    """

    def __init__(
        self,
        stream: Stream,
        stdin: bool,
        signals: SignalSource,
        on_signal: Callable[[int], None],
        detach_keys: bytes = b"",
    ) -> None:
        self._socket = stream.socket
        self._early = stream.early
        self._frames = FrameParser() if stream.framed else None
        self._signals = signals
        self._on_signal = on_signal
        self._stdin_open = stdin
        self._keys = detach_keys
        self._typed = b""
        self._input = b""
        self._outlets = {1: _Outlet(1), 2: _Outlet(2)}
        self._output: list[tuple[int, memoryview]] = []
        self._poll = poll()
        self.broken: OSError | None = None
        self.detaching = False

    def run(self) -> None:
        """Blocks until the container's side ends the stream, or nobody reads our output."""
        alive = self._take(self._early) if self._early else True
        while (alive or self._output) and not self.broken:
            alive = self._turn(alive)
        for outlet in self._outlets.values():
            outlet.close()
        self._socket.close()

    def _turn(self, alive: bool) -> bool:
        """Waits for one thing to be possible, and does what is. False when the stream has ended."""
        ready = self._wait(alive)
        if ready.get(self._signals.fileno()):
            for number in self._signals.pending():
                self._on_signal(number)
        if ready.get(0):
            self._read_stdin()
        if self._output and ready.get(self._outlets[self._output[0][0]].fd):
            self._write()
        events = ready.get(self._socket.fileno(), 0)
        if events & POLLOUT and self._input:
            self._send()
        return alive and (not (events & (POLLIN | _GONE)) or self._receive())

    def _wait(self, alive: bool) -> dict[int, int]:
        """Asks poll for what there is use for now: no reading where the last piece is still on its way."""
        wanted = {self._signals.fileno(): POLLIN}
        if alive:
            wanted[0] = POLLIN if self._stdin_open and not self._input else 0
            wanted[self._socket.fileno()] = (POLLOUT if self._input else 0) | (0 if self._output else POLLIN)
        if self._output:
            wanted[self._outlets[self._output[0][0]].fd] = POLLOUT
        asked = {fd: events for fd, events in wanted.items() if events}
        for fd, events in asked.items():
            self._poll.register(fd, events)
        ready = dict(self._poll.poll())
        for fd in asked:
            self._poll.unregister(fd)
        return ready

    def _read_stdin(self) -> None:
        try:
            self._input = os.read(0, _INPUT_CHUNK)
        except BlockingIOError:
            return  # somebody else took it from the shared terminal
        except OSError:
            self._input = b""
        if self._input:
            self._look_for_keys()
            self._send()
        else:
            self._end_input()

    def _look_for_keys(self) -> None:
        if self._keys:
            self._typed = (self._typed + self._input)[-len(self._input) - len(self._keys) :]
            self.detaching = self.detaching or self._keys in self._typed

    def _end_input(self) -> None:
        self._stdin_open, self._input = False, b""
        with suppress(OSError):  # the other side may have been faster; its end is read next
            self._socket.shutdown(SHUT_WR)

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._input, MSG_DONTWAIT)
            self._input = self._input[sent:]
        except BlockingIOError:
            pass
        except OSError:  # the container reads no more; its last output may still come
            self._stdin_open, self._input = False, b""

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(_CHUNK)
        except OSError:
            return False
        return bool(data) and self._take(data)

    def _take(self, data: bytes) -> bool:
        """Sorts output by its stream, neighbours of one stream in one piece, and writes what is taken at once."""
        pieces: list[tuple[int, list[bytes]]] = []
        for number, payload in self._frames.feed(data) if self._frames else [(1, data)]:
            fd = 2 if number >= STDERR else 1
            if pieces and pieces[-1][0] == fd:
                pieces[-1][1].append(payload)
            else:
                pieces.append((fd, [payload]))
        self._output += [(fd, memoryview(b"".join(payloads))) for fd, payloads in pieces]
        self._write()
        return True

    def _write(self) -> None:
        """Writes pieces until one is not taken whole; one only, where a second might have to wait."""
        while self._output:
            fd, data = self._output.pop(0)
            outlet = self._outlets[fd]
            try:
                rest = data[outlet.write(data) :]
            except OSError as error:
                self.broken = error if fd == 1 else self.broken
                continue
            if rest:
                self._output.insert(0, (fd, rest))
            if rest or not outlet.own:
                return
