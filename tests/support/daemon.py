"""A real minidockd for a test: its own data root, exec root, socket, network namespace and log.

For the tiers root and cgroup, through the fixtures of ../conftest.py: `daemon` (one a test module, images loaded) and
`fresh_daemon` (one a test). All of a session's daemons live below one folder, short enough for the paths of Unix
sockets (108 bytes), so that ledger.py can tell what is theirs. Read next: cli.py, ledger.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import openapi
from tests.support.cli import Cli, base_env
from tests.support.needs import cgroup2_mount
from tests.support.netns import Netns
from tests.support.wait import eventually

TOP = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent  # .venv/bin: minidock and minidockd as installed
ARCHIVES = {"alpine": TOP / "rootfs/build/alpine-3.23.tar", "busybox": TOP / "rootfs/build/busybox.tar"}


class Session:
    """What all daemons of one test run share: the folder they live in, and the list of those that exist."""

    def __init__(self, parent: str = "/tmp") -> None:
        self.base = Path(tempfile.mkdtemp(prefix="md-", dir=parent))
        self.daemons: list[Daemon] = []
        self.instances: set[str] = set()  # of every daemon there ever was
        self.records: list[Path] = []  # what each of them answered (scribe.py)
        self.judge = openapi.Judge()

    def close(self) -> None:
        for daemon in list(self.daemons):
            daemon.close()
        shutil.rmtree(self.base)


class Daemon:
    """One data root, with the daemon that serves it. start, stop, kill and start again as often as a test likes."""

    def __init__(self, session: Session, options: Sequence[str] = (), netns: Netns | None = None) -> None:
        self.session, self.options = session, list(options)
        self.base = session.base / str(len(session.instances))
        self.data_root, self.exec_root, self.tmp = self.base / "data", self.base / "r", self.base / "tmp"
        self.socket, self.log = self.base / "d.sock", self.base / "log"
        self.records = session.base / f"answers-{self.base.name}"
        self.base.mkdir(mode=0o755)
        self.tmp.mkdir()
        self.data_root.mkdir()
        self.log.touch()
        self.records.touch()
        self.instance = hashlib.sha256(os.path.realpath(self.data_root).encode()).hexdigest()[:8]
        self.netns = netns or Netns()
        self._owns_netns = netns is None
        self.process: subprocess.Popen[bytes] | None = None
        session.daemons.append(self)
        session.instances.add(self.instance)
        session.records.append(self.records)

    # -- its life

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the daemon is not running"
        return self.process.pid

    @property
    def program(self) -> list[str]:
        """minidockd, which writes down what it answers. -P: this folder has modules of general names."""
        return [sys.executable, "-P", str(TOP / "tests/support/scribe.py"), str(self.records)]

    def command(self, *options: str) -> list[str]:
        """The command line that starts it, for tests that start it in their own way (under strace, with limits)."""
        roots = ["--host", self.host, "--data-root", str(self.data_root), "--exec-root", str(self.exec_root)]
        return [*self.program, *roots, "--log-level", "debug", *self.options, *options]

    def environment(self) -> dict[str, str]:
        return {**base_env(self.base), "TMPDIR": str(self.tmp)}

    def granting(self, *lines: str) -> tuple[str, ...]:
        """A prefix for `start`: to the daemon, and to nobody else, /etc/subuid and /etc/subgid hold these lines."""
        script = 'mkdir -p "$0"; cp -a /etc/. "$0"; printf "$1" | tee "$0/subuid" >"$0/subgid"; mount --bind "$0" /etc'
        text = "".join(f"{line}\n" for line in lines)
        return ("unshare", "-m", "sh", "-ec", f'{script}; shift; exec "$@"', str(self.base / "etc"), text)

    def start(self, *options: str, prefix: Sequence[str] = (), wait: bool = True) -> Daemon:
        """Starts it, after `prefix` (a command that runs a command), and waits until it serves."""
        already = self.log.stat().st_size
        with self.log.open("ab") as log:
            command = [*prefix, *self.command(*options)]
            self.process = self.netns.start(command, env=self.environment(), stdout=log, stderr=log, cwd=self.base)
        if wait:
            eventually(lambda: self._listens(already), f"minidockd to listen; its log:\n{self.log_text()}", timeout=30)
        return self

    def _listens(self, offset: int) -> bool:
        text = self.log_text(offset)
        code = self.process.poll() if self.process else None
        assert code is None, f"minidockd ended with exit code {code} instead of listening; its log:\n{text}"
        return "API listen on" in text

    def stop(self, timeout: float = 20) -> int:
        """Asks it to stop (SIGTERM), as systemd does; returns its exit code. Containers stay."""
        assert self.process is not None
        self.process.terminate()
        return self.ended(timeout)

    def kill(self) -> None:
        """Ends it without a word (SIGKILL), as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.ended(10)

    def ended(self, timeout: float) -> int:
        assert self.process is not None
        code = self.process.wait(timeout)
        self.process = None
        return code

    def close(self) -> None:
        """Removes the daemon and, by force, whatever a failed test left: containers, monitors, cgroups, files."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.ended(20)
            except subprocess.TimeoutExpired:
                self.kill()
        for cgroup in self.cgroups():
            _remove_cgroup(cgroup)
        if self._owns_netns:
            self.netns.close()
        shutil.rmtree(self.base, ignore_errors=True)
        self.session.daemons.remove(self)

    # -- its clients

    @property
    def cli(self) -> Cli:
        return Cli([str(SCRIPTS / "minidock"), "-H", self.host], base_env(self.base))

    @property
    def docker(self) -> Cli:
        """The real docker CLI."""
        return Cli([shutil.which("docker") or "docker", "-H", self.host], base_env(self.base))

    def load(self, *images: str) -> None:
        """Loads images that `make setup` built: alpine, busybox."""
        for image in images:
            self.cli.ok("load", "-i", str(ARCHIVES[image]), timeout=120)

    # -- what it leaves to look at

    def log_text(self, offset: int = 0) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def cgroups(self) -> list[Path]:
        """Its base cgroups, wherever in the v2 tree they are (a daemon under systemd has its own below its unit)."""
        mount = cgroup2_mount()
        name = f"minidock-{self.instance}"
        return sorted(Path(top, name) for top, below, _ in os.walk(mount) if name in below) if mount else []


def _remove_cgroup(base: Path) -> None:
    with contextlib.suppress(OSError):
        (base / "cgroup.kill").write_text("1")
        eventually(lambda: "populated 0" in (base / "cgroup.events").read_text(), f"{base} to become empty")
    for folder, _, _ in os.walk(base, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
