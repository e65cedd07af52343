"""The engines: how each is made ready, and the commands that are measured on it.

An engine is a function that takes the stand and an exit stack (onto which it puts its clean-up) and returns a Peer,
with a client: the command line to which `run --rm busybox true` can be added. An engine that is not installed says so
and is left out; nothing is installed for a measurement. Read next: stand.py; images.py, streams.py, network.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Measured, nothing, quietly, timed
from bench.stand import Stand
from tests.support.daemon import ARCHIVES, SCRIPTS, Daemon
from tests.support.wait import eventually

RUN, RUN_NONE, EXEC, PS, MEMORY, FLOOR = (
    "run --rm busybox true",
    "run --rm --network none busybox true",
    "exec C true",
    "ps",
    "memory of the idle daemon, RSS",
    "the floor",
)


class NotHereError(Exception):
    """An engine or a tool that is not installed, or does not start here."""


@dataclass(frozen=True)
class Peer:
    """An engine that is up: its client, the way into its network, and what all its containers' names begin with.

    `remove` are the arguments that end containers and remove them, without waiting for those that don't heed SIGTERM;
    `settle` waits for what it deletes behind the scenes; `memory` is what its daemon takes while idle, in MB.
    """

    name: str
    client: list[str]
    prefix: str
    enter: list[str]
    remove: tuple[str, ...] = ("rm", "-f")
    settle: Callable[[], None] = nothing
    memory: float = 0


@dataclass(frozen=True)
class Engine:
    """Its name in the table, the program that must be there, and what makes it ready."""

    name: str
    program: str
    hint: str
    prepare: Callable[[Stand, ExitStack], Peer]


def ready(engine: Engine, stand: Stand, stack: ExitStack) -> Peer | None:
    """The engine, up and with busybox in it; None if it is not here."""
    try:
        if not shutil.which(engine.program):
            raise NotHereError(f"not installed ({engine.hint})")
        return engine.prepare(stand, stack)
    except (NotHereError, RuntimeError, AssertionError) as error:
        print(f"left out: {engine.name}: {error}")
        return None


def verbs(peer: Peer, stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    """run, exec and ps, with so many containers running."""
    _fill(peer, running, stack)
    rows = _verbs(peer.name, peer.client, peer.prefix, running)
    if peer.name == "minidock" and shutil.which("docker"):
        rows += _verbs("the docker CLI on minidockd", ["docker", *peer.client[1:]], peer.prefix, running)
    if peer.memory:
        rows.append(Measured(MEMORY, peer.name, lambda: peer.memory, unit="MB"))
    return rows


def _resident(*pids: int) -> float:
    """Megabytes of memory that processes hold, what they share counted for each."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _verbs(engine: str, client: list[str], prefix: str, running: int) -> list[Measured]:
    return [
        Measured(RUN, engine, timed([*client, *RUN.split()])),
        Measured(RUN_NONE, engine, timed([*client, *RUN_NONE.split()])),
        Measured(EXEC, engine, timed([*client, "exec", f"{prefix}0", "true"])),
        Measured(f"{PS}, with {running} running", engine, timed([*client, "ps"])),
    ]


def _fill(peer: Peer, running: int, stack: ExitStack) -> None:
    """Starts the containers that exec and ps need; their removal goes onto the stack first."""
    names = [f"{peer.prefix}{number}" for number in range(max(running, 1))]
    stack.callback(quietly([*peer.client, *peer.remove, *names]))
    for name in names:
        # An init that heeds SIGTERM: removal then waits for nothing.
        command = [
            *peer.client,
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "sleep 100000 & wait",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())


def docker(stand: Stand, stack: ExitStack) -> Peer:
    socket, log = stand.base / "docker.sock", stand.base / "dockerd.log"
    roots = ["--data-root", str(stand.base / "docker"), "--exec-root", str(stand.base / "dx")]
    pidfile = stand.base / "docker.pid"
    options = ["-H", f"unix://{socket}", "--pidfile", str(pidfile), "--storage-driver", "overlay2"]
    daemon = stand.start(["dockerd", *roots, *options], log)
    stack.callback(daemon.wait)
    stack.callback(daemon.terminate)
    client = ["docker", "-H", f"unix://{socket}"]

    def answers() -> bool:
        if daemon.poll() is not None:
            raise NotHereError(f"dockerd does not start: {log.read_text().strip().splitlines()[-1]}")
        return subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0

    eventually(answers, "dockerd to answer", timeout=60)
    subprocess.run([*client, "load", "-q", "-i", str(ARCHIVES["busybox"])], capture_output=True, check=True)
    dockerd = int(pidfile.read_text())
    below = Path(f"/proc/{dockerd}/task/{dockerd}/children").read_text().split()
    return Peer("docker", client, "d", stand.enter, memory=_resident(dockerd, *map(int, below)))


# podman's defaults ask for what a machine may not have: CAP_SYS_RESOURCE for higher limits, the pids controller.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
"""


def podman(stand: Stand, stack: ExitStack) -> Peer:
    """With crun, its default; with runc where crun can't load the device rules (it asks for CAP_SYS_RESOURCE)."""
    settings = stand.base / "containers.conf"
    settings.write_text(CONTAINERS_CONF)
    os.environ["CONTAINERS_CONF"] = str(settings)
    runtime = "crun" if _crun_manager(stand) == "cgroupfs" else "runc"
    roots = [
        "--root",
        str(stand.base / "podman"),
        "--runroot",
        str(stand.base / "px"),
        "--tmpdir",
        str(stand.base / "pt"),
    ]
    options = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "overlay"]
    podman = ["podman", *roots, *options, "--runtime", runtime]
    stand.run(*podman, "load", "-q", "-i", str(ARCHIVES["busybox"]))
    return Peer(f"podman ({runtime})", [*stand.enter, *podman], "p", stand.enter, ("rm", "-f", "-t", "0"))


def crun(stand: Stand) -> list[Measured]:
    """No daemon, image or network: the runtime alone, on a bundle that lies ready. Compared with --network none."""
    if not shutil.which("crun"):
        print("left out: crun: not installed (apt-get install crun)")
        return []
    manager = _crun_manager(stand)
    name = "crun, a ready bundle" if manager == "cgroupfs" else "crun, a ready bundle, no cgroup"
    return [Measured(RUN_NONE, name, timed([*stand.enter, *_crun(stand, manager)]))]


def _crun(stand: Stand, manager: str) -> list[str]:
    roots = ["--root", str(stand.base / "crun"), "--cgroup-manager", manager]
    return ["crun", *roots, "run", "--bundle", str(stand.base), "minidock-bench"]


def _crun_manager(stand: Stand) -> str:
    """How crun can run here, found by running the bundle once: with cgroups, or (easier for it) without."""
    if not (stand.base / "config.json").exists():
        stand.unpacked_busybox()
        stand.run("crun", "spec", "--bundle", str(stand.base))
        spec = json.loads((stand.base / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["true"], "rlimits": []}
        (stand.base / "config.json").write_text(json.dumps(spec))
    try:
        stand.run(*_crun(stand, "cgroupfs"))
    except RuntimeError:
        return "disabled"
    return "cgroupfs"


class _AsInstalled(Daemon):
    """minidockd and nothing else; the tests' own writes down what it answers, which costs time and memory."""

    @property
    def program(self) -> list[str]:
        return [str(SCRIPTS / "minidockd")]


def minidock(stand: Stand, stack: ExitStack) -> Peer:
    daemon = _AsInstalled(stand.session, ["--log-level", "info"])
    stack.callback(daemon.close)
    daemon.start()
    daemon.load("busybox")
    trash = daemon.data_root / "trash"

    def settle() -> None:
        eventually(lambda: not any(trash.iterdir()), "the trash to be emptied", timeout=120)

    client, enter = list(daemon.cli.program), daemon.netns.enter
    return Peer("minidock", client, "m", enter, settle=settle, memory=_resident(daemon.pid))


def floor() -> list[Measured]:
    return [Measured(FLOOR, "python -c pass", timed([sys.executable, "-c", "pass"]))]


# The first of a group is what its ratios refer to.
ENGINES = (
    Engine("docker", "dockerd", "apt-get install docker.io", docker),
    Engine("podman", "podman", "apt-get install podman", podman),
    Engine("minidock", "nft", "apt-get install nftables", minidock),
)
