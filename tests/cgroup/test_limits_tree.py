"""The cgroup tree on a real kernel: limits that bite, warnings where they can't, kill, freeze and removal.

Tests without a controller in their marker need only the tree itself and run on hybrid machines too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minidock.cgroup.find import Cgroup2, choose_base, find_cgroup2, own_cgroup
from minidock.cgroup.limits import Limits
from minidock.cgroup.tree import CgroupTree
from minidock.wire.errors import Conflict, InvalidArgument, NotFound
from tests.support.wait import eventually

ID = "c0" * 32
MIB = 1 << 20

Spawn = Callable[..., "subprocess.Popen[str]"]


def make_tree(parent: Path, mount: Cgroup2 | None = None) -> CgroupTree:
    tree = CgroupTree(parent / f"minidock-test-{os.getpid()}", mount or find_cgroup2())
    tree.setup()
    return tree


def tear_down(directory: Path) -> None:
    """Kills and removes a cgroup of a test with all below it, without the code under test."""
    if directory.exists():
        (directory / "cgroup.kill").write_text("1")
        eventually(lambda: "populated 0" in (directory / "cgroup.events").read_text(), f"{directory} to be empty")
        subprocess.run(["find", str(directory), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=True)


@pytest.fixture
def tree() -> Iterator[CgroupTree]:
    tree = make_tree(Path())
    yield tree
    tear_down(tree.base)


@pytest.fixture
def inside() -> Iterator[Spawn]:
    """Starts a command in a cgroup; what is left is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def spawn(directory: Path, *command: str) -> subprocess.Popen[str]:
        script = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", script, str(directory), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        eventually(
            lambda: cgroup_of(process) == directory.name or process.poll() is not None, "the move into the cgroup"
        )
        return process

    yield spawn
    for process in started:
        process.kill()
        process.communicate()


def cgroup_of(process: subprocess.Popen[str]) -> str:
    lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    return next((line.rpartition("/")[2] for line in lines if line.startswith("0::")), "")


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup("memory", "cpu", "cpuset", "pids", "io")
def test_every_limit_arrives_in_the_kernel(tree: CgroupTree) -> None:
    limits = Limits(
        memory=64 * MIB,
        memory_swap=96 * MIB,
        memory_reservation=32 * MIB,
        nano_cpus=500_000_000,
        cpu_shares=512,
        cpuset_cpus="0",
        cpuset_mems="0",
        pids_limit=20,
    )
    path, warnings = tree.create(ID, limits)
    assert warnings == []
    assert path == tree.base / ID
    files = ("memory.max", "memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max")
    values = {name: (path / name).read_text().strip() for name in files}
    assert values == {
        "memory.max": str(64 * MIB),
        "memory.low": str(32 * MIB),
        "cpu.max": "50000 100000",
        "cpu.weight": "59",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "20",
    }
    assert (path / "io.stat").exists()


@pytest.mark.cgroup("memory")
def test_memory_limit_kills_and_is_told(tree: CgroupTree, inside: Spawn) -> None:
    allocate = [sys.executable, "-c", f"b = bytearray({64 * MIB}); print(len(b))"]
    for limit, status, killed in ((32, -9, True), (128, 0, False)):
        path, _ = tree.create(ID, Limits(memory=limit * MIB, memory_swap=limit * MIB))
        process = inside(path, *allocate)
        assert process.wait(30) == status, process.communicate()
        assert tree.oom_killed(ID) is killed
        tree.remove(ID)


FORKS = """
import os, signal
for n in range(9):
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError as error:
        print(n, error, flush=True)
"""


@pytest.mark.cgroup("pids")
def test_pids_limit_stops_forks(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits(pids_limit=3))
    process = inside(path, sys.executable, "-c", FORKS)
    assert process.stdout is not None
    assert process.stdout.readline() == "2 [Errno 11] Resource temporarily unavailable\n"
    assert tree.stats(ID).pids_current == 3
    assert tree.stats(ID).pids_limit == 3
    tree.kill(ID)


@pytest.mark.cgroup("memory", "pids", "cpu")
def test_update_changes_a_live_container_and_only_what_it_names(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits(memory=64 * MIB, pids_limit=20, nano_cpus=10**9))
    inside(path, "sleep", "60")
    assert tree.update(ID, Limits(memory=128 * MIB, pids_limit=-1)) == []
    assert (path / "memory.max").read_text() == f"{128 * MIB}\n"
    assert (path / "pids.max").read_text() == "max\n"
    assert (path / "cpu.max").read_text() == "100000 100000\n"


@pytest.mark.cgroup("cpu", "cpuset")
def test_what_can_not_be_is_refused_and_leaves_nothing(tree: CgroupTree) -> None:
    with pytest.raises(InvalidArgument, match="write .* to cpu.max: EINVAL"):
        tree.create(ID, Limits(cpu_quota=10**17))
    with pytest.raises(InvalidArgument, match="Requested CPUs are not available - requested 0,512, available: 0"):
        tree.create(ID, Limits(cpuset_cpus="0,512"))
    assert not tree.path(ID).exists()


@pytest.mark.cgroup2
def test_without_controllers_each_limit_is_a_warning(tree: CgroupTree) -> None:
    """A cgroup below one that hands nothing down looks like the top of a hybrid machine's tree."""
    poor = tree.base / "poor"
    (poor / "top").mkdir(parents=True)
    lacking = make_tree(Path(), Cgroup2(poor / "top", frozenset()))
    path, warnings = lacking.create(ID, Limits(memory=64 * MIB, pids_limit=5, nano_cpus=10**9))
    assert path.is_dir()
    assert [line.partition(" (")[2] for line in warnings] == [
        f"no {name} controller in cgroup v2 at {poor}/top; see minidock doctor)." for name in ("memory", "cpu", "pids")
    ]
    assert warnings[0].startswith(
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted."
    )
    assert lacking.check(Limits(pids_limit=5)) == warnings[2:]


@pytest.mark.cgroup("memory", "cpu")
def test_a_controller_that_is_refused_is_warned_about_with_the_reason(tree: CgroupTree, inside: Spawn) -> None:
    """Processes in an inner node (cgroups(7), "no internal processes"): without limits, but a container can be there.

    Handing on what the kernel would still take there (cpu) made the cgroups below unusable: "domain invalid".
    """
    crowded = tree.base / "crowded"
    crowded.mkdir()
    inside(crowded, "sleep", "60")
    refused = make_tree(Path(), Cgroup2(crowded, frozenset({"memory"})))
    (warning, *_) = refused.check(Limits(memory=64 * MIB))
    assert f"(memory controller: {crowded} can't hand it on, processes are in it; see minidock doctor)" in warning
    path, _ = refused.create(ID, Limits())
    inside(path, "sleep", "60")
    assert len(refused.pids(ID)) == 1


# -- the tree ---------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_ids_are_ids_and_nothing_else(tree: CgroupTree) -> None:
    """Row 24. Variant: CgroupTree.path() takes any text."""
    for bad in ("", "..", "../x", "monitors", "C0" * 32, ID + "/x", ID[:-1]):
        with pytest.raises(InvalidArgument, match="invalid container id"):
            tree.create(bad, Limits())


@pytest.mark.cgroup2
def test_list_knows_containers_only(tree: CgroupTree) -> None:
    tree.create(ID, Limits())
    (tree.base / "daemon").mkdir()
    assert tree.list() == {ID}
    assert tree.monitors.is_dir()


@pytest.mark.cgroup2
def test_setup_again_changes_nothing(tree: CgroupTree) -> None:
    tree.create(ID, Limits())
    tree.setup()
    assert tree.list() == {ID}


@pytest.mark.cgroup2
def test_a_daemon_in_a_delegated_base_makes_room(tree: CgroupTree) -> None:
    """As under systemd with DelegateSubgroup=daemon, and where the daemon sits in the base itself."""
    unit = tree.base / "minidock.service"
    unit.mkdir()
    os.setxattr(unit, "trusted.delegate", b"1")
    script = f"""
import sys
from pathlib import Path
from minidock.cgroup.find import choose_base, find_cgroup2, own_cgroup
from minidock.cgroup.tree import CgroupTree
unit = Path({str(unit)!r})
found = find_cgroup2()
(unit / "cgroup.procs").write_text("0")
CgroupTree(unit.relative_to(found.mount), found).setup()
print(own_cgroup(found), choose_base("1a2b3c4d", found, own_cgroup(found)), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    relative = unit.relative_to(tree.mount.mount)
    assert done.stdout.splitlines() == [str(relative / "daemon"), str(relative)]
    os.removexattr(unit, "trusted.delegate")
    assert choose_base("1a2b3c4d", tree.mount, relative / "daemon") == Path("minidock-1a2b3c4d")


@pytest.mark.cgroup2
def test_create_over_what_a_crash_left(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits())
    (path / "nested").mkdir()
    assert tree.create(ID, Limits()) == (path, [])
    assert not (path / "nested").exists()
    inside(path, "sleep", "60")
    with pytest.raises(Conflict, match="processes are in it"):
        tree.create(ID, Limits())


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_kill_reaches_nested_cgroups_and_nothing_beside(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits())
    other, _ = tree.create("0c" * 32, Limits())
    (path / "a" / "b").mkdir(parents=True)
    processes = [inside(path / "a" / "b", "sleep", "60"), inside(path, "sleep", "60")]
    bystander = inside(other, "sleep", "60")
    assert tree.pids(ID) == sorted(process.pid for process in processes)
    assert tree.stats(ID).pids_current == 2
    tree.kill(ID)
    assert [process.wait(10) for process in processes] == [-9, -9]
    assert bystander.poll() is None
    tree.remove(ID)
    tree.remove(ID)
    tree.kill(ID)
    assert tree.list() == {"0c" * 32}


@pytest.mark.cgroup2
def test_remove_waits_for_the_dying_and_refuses_the_living(
    tree: CgroupTree, inside: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = tree.create(ID, Limits())
    inside(path, "sh", "-c", "sleep 0.3")
    tree.remove(ID)
    assert not path.exists()
    tree.create(ID, Limits())
    inside(path, "sleep", "60")
    monkeypatch.setattr("minidock.cgroup.tree.REMOVE_TIME", 0.2)
    with pytest.raises(Conflict, match="processes are in it; hint: kill"):
        tree.remove(ID)
    assert path.exists()


@pytest.mark.cgroup2
def test_remove_copes_with_what_a_container_can_nest(tree: CgroupTree) -> None:
    """Deeper than a path may be long (4096 bytes), which os.walk and rmdir by path can't reach."""
    path, _ = tree.create(ID, Limits())
    for name in ("x", "y", "z"):
        (path / name).mkdir()
    here = os.open(path, os.O_DIRECTORY)
    for _ in range(40):
        os.mkdir("d" * 120, dir_fd=here)
        there = os.open("d" * 120, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    tree.remove(ID)
    assert not path.exists()


@pytest.mark.cgroup2
def test_frozen_processes_stand_still(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits())
    busy = inside(path, sys.executable, "-c", "while True: pass")
    eventually(lambda: tree.stats(ID).cpu_usage > 50_000, "the process to use its processor")
    tree.freeze(ID)
    used = tree.stats(ID).cpu_usage
    with pytest.raises(subprocess.TimeoutExpired):
        busy.wait(0.3)
    assert tree.stats(ID).cpu_usage == used
    tree.thaw(ID)
    eventually(lambda: tree.stats(ID).cpu_usage > used, "the process to run on")
    tree.freeze(ID)
    tree.kill(ID)
    assert busy.wait(10) == -9


@pytest.mark.cgroup2
def test_an_empty_cgroup_freezes_too(tree: CgroupTree) -> None:
    tree.create(ID, Limits())
    tree.freeze(ID)
    tree.thaw(ID)


@pytest.mark.cgroup2
def test_verbs_on_what_is_not_there(tree: CgroupTree) -> None:
    assert tree.oom_killed(ID) is False
    for verb in (tree.freeze, tree.thaw, tree.pids, tree.stats):
        with pytest.raises(NotFound):
            verb(ID)


# -- counters ---------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup("memory", "pids", "io")
def test_stats_count(tree: CgroupTree, inside: Spawn) -> None:
    path, _ = tree.create(ID, Limits(memory=256 * MIB))
    script = f"import signal; b = bytearray({32 * MIB}); print('ready', flush=True); signal.pause()"
    process = inside(path, sys.executable, "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    stats = tree.stats(ID)
    assert stats.memory_current is not None
    assert 32 * MIB < stats.memory_current < 128 * MIB
    assert stats.memory_limit == 256 * MIB
    assert stats.memory_stat["anon"] > 32 * MIB
    assert "inactive_file" in stats.memory_stat
    assert stats.pids_current == 1
    assert stats.pids_limit is None
    assert 0 < stats.cpu_usage
    assert stats.cpu_user + stats.cpu_system == pytest.approx(stats.cpu_usage, abs=2)
    assert stats.io is not None


@pytest.mark.cgroup2
def test_what_is_not_counted_is_none_and_not_zero(tree: CgroupTree, inside: Spawn) -> None:
    (tree.base / "poor" / "top").mkdir(parents=True)
    lacking = make_tree(Path(), Cgroup2(tree.base / "poor" / "top", frozenset()))
    path, _ = lacking.create(ID, Limits())
    inside(path, "sleep", "60")
    stats = lacking.stats(ID)
    assert (stats.memory_current, stats.memory_limit, stats.io) == (None, None, None)
    assert stats.pids_current == 1


def test_this_process_is_somewhere() -> None:
    assert own_cgroup(find_cgroup2()) is not None


def test_two_may_remove_the_same_cgroup(tree: CgroupTree) -> None:
    """A restore sweeps while the end of a container is still being dealt with; whoever comes second finds it gone."""
    for _ in range(30):
        path, _warnings = tree.create(ID, Limits())
        (path / "below").mkdir()
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(verb, ID) for verb in (tree.kill, tree.remove, tree.kill, tree.remove)]:
                done.result()
        assert not path.exists()
