"""The daemon is killed at exact calls of a pull, a load, a commit, or its disk is full: nothing half made stays.

Read next: test_faults_crash.py (the same for containers), ../support/faults.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import ledger, registries
from tests.support.daemon import Daemon, Session
from tests.support.faults import Api, balance, died, fill, small_disk, struck
from tests.support.figures import Figure
from tests.support.images import docker_archive, file, tar
from tests.support.wait import eventually

pytestmark = [
    pytest.mark.overlay,
    pytest.mark.bridge,
    pytest.mark.registry,
    pytest.mark.slow,
    pytest.mark.time_limit(240),
]

CALLS = {
    "mkdir": "mkdir,mkdirat",
    "rename": "rename,renameat,renameat2",
    "open": "openat",
    "sync": "fsync,fdatasync",
    "database": "pwrite64",
    "write": "write",
    "unlink": "unlink,unlinkat,rmdir",
}
FEW = (("rename", 1), ("database", 2), ("sync", 1))
Do = Callable[[], str]


@pytest.fixture
def verbs(fresh_daemon: Daemon, tmp_path: Path) -> Iterator[dict[str, Do]]:
    """For each verb a function that does it, and says which image it has made; "" where the daemon went away."""
    archive = tmp_path / "image.tar"
    archive.write_bytes(docker_archive([tar(file("new", b"n" * 100_000))], ["made:1"]))
    api = Api(fresh_daemon)
    changed = api.create("sh", "-c", "echo changed > /new", NetworkMode="none")
    api.ok("POST", f"/containers/{changed}/start")
    api.ok("POST", f"/containers/{changed}/wait")
    enter = fresh_daemon.netns.enter

    def commit() -> str:
        status, _ = Api(fresh_daemon).ask("POST", f"/commit?container={changed}&repo=made&tag=1")
        return "made:1" if status == 201 else ""

    def load() -> str:
        return "made:1" if fresh_daemon.cli("load", "-i", str(archive)).code == 0 else ""

    with registries.real_registry(tmp_path / "registry", registries.free_port(), enter) as host:
        registries.fill(host, registries.BUSYBOX, "made:1", enter)

        def pull() -> str:
            return f"{host}/made:1" if fresh_daemon.cli("pull", f"{host}/made:1").code == 0 else ""

        yield {"commit": commit, "load": load, "pull": pull}
    Api(fresh_daemon).ok("DELETE", f"/containers/{changed}?force=1")


def _strike(daemon: Daemon, session: Session, do: Do, calls: str, when: int) -> bool:
    """One kill, the same again with the next daemon, and all of it taken away; False if there were fewer such calls."""
    before = ledger.take(session)
    with struck(daemon, CALLS[calls], "signal=SIGKILL", when, children=True):
        do()
        dead = died(daemon, timeout=0.3)
    dead = dead or died(daemon, timeout=0.2)  # strace was not done with its threads
    if dead:
        daemon.start()
    name = do()
    assert name, f"killed at {calls} number {when}, and then it does not work any more"
    ran = daemon.cli("run", "--rm", "--network", "none", name, "/bin/busybox", "true")
    assert ran.code in (0, 127), ran  # 127: the image of the archive has one file, and that is none to run
    Api(daemon).ok("DELETE", f"/images/{name}?force=1")
    Api(daemon).ok("POST", "/images/prune")  # a commit that was whole but unanswered lost its name to the second
    balance(session, before, f"killed at {calls} number {when}")
    return dead


@pytest.mark.parametrize("verb", ["commit", "load", "pull"])
def test_killed_at_an_exact_call(
    fresh_daemon: Daemon,
    daemons: Session,
    verbs: dict[str, Do],
    verb: str,
    scale: Callable[[int, int], int],
    figure: Figure,
) -> None:
    """Ledger 0: no blob, no layer, no half of either; and what was begun can be done again.

    Seen to fail where a start does not empty tmp/.
    """
    kills = 0
    if scale(0, 1):
        for calls in CALLS:
            for when in range(1, 30):
                if not _strike(fresh_daemon, daemons, verbs[verb], calls, when):
                    break
                kills += 1
    else:
        kills = sum(_strike(fresh_daemon, daemons, verbs[verb], calls, when) for calls, when in FEW)
    assert kills
    figure(f"daemon killed at exact calls of {verb}", "ledger 0, works again", f"{kills} kill points, ledger 0")


def _holds(daemon: Daemon) -> dict[str, set[str]]:
    """What there is of images below the data root, which only the daemon's mount namespace shows."""
    root = Path(f"/proc/{daemon.pid}/root{daemon.data_root}")
    return {name: set(os.listdir(root / name)) for name in ("content/sha256", "layers", "tmp", "trash")}


def test_a_full_disk_in_a_pull(daemons: Session, tmp_path: Path, figure: Figure) -> None:
    """No room at all, for half of the blob, for the blob and not for its files: said so, nothing stays, and with room
    the same pull works. What runs goes on.

    Seen to fail where a layer that could not be unpacked whole is left in tmp/.
    """
    archive, daemon = tmp_path / "image.tar", Daemon(daemons)
    layer = tar(file("noise", os.urandom(6 << 20)), file("zeroes", bytes(6 << 20)))
    archive.write_bytes(docker_archive([layer], ["made:1"]))
    try:
        with registries.real_registry(tmp_path / "registry", registries.free_port(), daemon.netns.enter) as host:
            registries.fill(host, f"docker-archive:{archive}:made:1", "made:1", daemon.netns.enter)
            daemon.start(prefix=small_disk(daemon, "32m"))
            daemon.load("busybox")
            api = Api(daemon)
            running = api.create("sleep", "1000", NetworkMode="none")
            api.ok("POST", f"/containers/{running}/start")
            before, ballast = _holds(daemon), f"/proc/{daemon.pid}/root{daemon.data_root}/ballast"
            for left in (0, 3 << 20, 9 << 20):
                fill(ballast, leave=left)
                pulled = daemon.cli("pull", f"{host}/made:1")
                assert pulled.code == 1 and "no space left" in pulled.err.lower(), pulled
                eventually(lambda: _holds(daemon) == before, "nothing half made to stay")
                assert api.state(running)["Status"] == "running"
                os.unlink(ballast)
            daemon.cli.ok("pull", f"{host}/made:1")
            api.ok("DELETE", f"/images/{host}/made:1")
            eventually(lambda: _holds(daemon) == before, "the image to be gone")
            api.ok("DELETE", f"/containers/{running}?force=1")
    finally:
        daemon.close()
    figure("disk full in pull and unpack", "said so; works again with room", "at 3 places, nothing half made")
