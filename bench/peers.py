"""The engines: how each is made ready, and the commands that are measured on it.

An engine is a function that takes the stand and an exit stack (onto which it puts its clean-up) and returns a client:
the command line to which `run --rm busybox true` can be added. An engine that is not installed says so and is left out;
nothing is installed for a measurement. Read next: stand.py.
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

from bench.stand import Stand
from tests.support.daemon import ARCHIVES, Daemon
from tests.support.wait import eventually

RUN, RUN_NONE, EXEC, PS, FLOOR = (
    "run --rm busybox true",
    "run --rm --network none busybox true",
    "exec C true",
    "ps",
    "the floor",
)


class NotHereError(Exception):
    """An engine that is not installed, or does not start here."""


@dataclass(frozen=True)
class Measured:
    """A command of an engine; `what` is the group that it is compared within."""

    what: str
    engine: str
    command: list[str]


@dataclass(frozen=True)
class Engine:
    """Its name in the table, the program that must be there, and what makes it ready."""

    name: str
    program: str
    hint: str
    prepare: Callable[[Stand, ExitStack, int], list[Measured]]


def ready(engine: Engine, stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    """The commands to measure, with the engine up and `running` containers in it; none if it is not here."""
    try:
        if not shutil.which(engine.program):
            raise NotHereError(f"not installed ({engine.hint})")
        return engine.prepare(stand, stack, running)
    except (NotHereError, RuntimeError, AssertionError) as error:
        print(f"left out: {engine.name}: {error}")
        return []


def _verbs(engine: str, client: list[str], prefix: str, running: int) -> list[Measured]:
    return [
        Measured(RUN, engine, [*client, *RUN.split()]),
        Measured(RUN_NONE, engine, [*client, *RUN_NONE.split()]),
        Measured(EXEC, engine, [*client, "exec", f"{prefix}0", "true"]),
        Measured(f"{PS}, with {running} running", engine, [*client, "ps"]),
    ]


def _fill(client: list[str], prefix: str, running: int, stack: ExitStack) -> None:
    """Starts the containers that exec and ps need; their removal goes onto the stack first."""
    names = [f"{prefix}{number}" for number in range(max(running, 1))]
    stack.callback(subprocess.run, [*client, "rm", "-f", *names], capture_output=True)
    for name in names:
        # An init that heeds SIGTERM: removal then waits for nothing.
        command = [
            *client,
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


def docker(stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    socket, log = stand.base / "docker.sock", stand.base / "dockerd.log"
    roots = ["--data-root", str(stand.base / "docker"), "--exec-root", str(stand.base / "dx")]
    options = ["-H", f"unix://{socket}", "--pidfile", str(stand.base / "docker.pid"), "--storage-driver", "overlay2"]
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
    _fill(client, "d", running, stack)
    return _verbs("docker", client, "d", running)


# podman's defaults ask for what a machine may not have: CAP_SYS_RESOURCE for higher limits, the pids controller.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
"""


def podman(stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
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
    client = [*stand.enter, *podman]
    _fill(client, "p", running, stack)
    return _verbs(f"podman ({runtime})", client, "p", running)


def crun(stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    """No daemon, image or network: the runtime alone, on a bundle that lies ready. Compared with --network none."""
    manager = _crun_manager(stand)
    name = "crun, a ready bundle" if manager == "cgroupfs" else "crun, a ready bundle, no cgroup"
    return [Measured(RUN_NONE, name, [*stand.enter, *_crun(stand, manager)])]


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


def minidock(stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    daemon = Daemon(stand.session, ["--log-level", "info"])
    stack.callback(daemon.close)
    daemon.start()
    daemon.load("busybox")
    client = list(daemon.cli.program)
    _fill(client, "m", running, stack)
    rows = _verbs("minidock", client, "m", running)
    if shutil.which("docker"):
        rows += _verbs("the docker CLI on minidockd", ["docker", "-H", daemon.host], "m", running)
    return rows


def floor(stand: Stand, stack: ExitStack, running: int) -> list[Measured]:
    return [Measured(FLOOR, "python -c pass", [sys.executable, "-c", "pass"])]


# The first of a group is what its ratios refer to.
ENGINES = (
    Engine("docker", "dockerd", "apt-get install docker.io", docker),
    Engine("podman", "podman", "apt-get install podman", podman),
    Engine("crun", "crun", "apt-get install crun", crun),
    Engine("minidock", "nft", "apt-get install nftables", minidock),
    Engine("python", sys.executable, "", floor),
)
