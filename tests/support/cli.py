"""Commands as a user runs them: minidock or the real docker CLI, against one daemon's socket.

For the tiers root and cgroup. `cli("run", "--rm", "alpine", "true")` gives a Result and judges nothing; `cli.ok(...)`
insists on exit code 0 and returns standard output. `cli.start(...)` leaves it running; `cli.terminal(...)` gives it a
terminal of its own (terminal.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.terminal import Terminal


@dataclass(frozen=True)
class Result:
    """How a command ended. `code` is its exit status; -n if signal n ended it."""

    command: str
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\nexit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True)
class Cli:
    """A client program with the options and environment that lead it to one daemon."""

    program: Sequence[str]
    env: Mapping[str, str]

    def __call__(self, *args: str, stdin: str | bytes | None = None, timeout: float = 60) -> Result:
        """Runs the command to its end. No `stdin` means /dev/null."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        source: Mapping[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        command, env = [*self.program, *args], dict(self.env)
        done = subprocess.run(command, env=env, capture_output=True, timeout=timeout, check=False, **source)
        name = " ".join([Path(self.program[0]).name, *args])
        return Result(name, done.returncode, _text(done.stdout), _text(done.stderr))

    def ok(self, *args: str, stdin: str | bytes | None = None, timeout: float = 60) -> str:
        """Standard output, without the last newline, of a command that must succeed."""
        result = self(*args, stdin=stdin, timeout=timeout)
        assert result.code == 0, str(result)
        return result.out.removesuffix("\n")

    @contextmanager
    def start(self, *args: str) -> Iterator[subprocess.Popen[bytes]]:
        """The command running, with pipes on all three streams; killed at the end of the block if it still runs."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*self.program, *args], env=dict(self.env), stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def terminal(self, *args: str, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
        """The command on a terminal of its own; killed at the end of the block if it still runs."""
        terminal = Terminal([*self.program, *args], {**self.env, "TERM": "xterm"}, rows, columns)
        try:
            yield terminal
        finally:
            terminal.close()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def base_env(home: Path) -> dict[str, str]:
    """A small environment: nothing of the caller's settings (DOCKER_HOST, locale, proxies) reaches the program."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DOCKER_CONFIG": str(home / ".docker"),
        "MINIDOCK_CONFIG": str(home / ".minidock"),
    }
