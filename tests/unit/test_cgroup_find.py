"""Which cgroup2 tree is used and which part of it is ours, for the layouts that machines have."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.cgroup.find import Cgroup2, choose_base, find_cgroup2, own_cgroup
from minidock.linux import mountinfo
from minidock.wire.errors import Unavailable

V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


def mounts_of(directory: Path, options: str = "rw", more: str = "") -> list[mountinfo.Mount]:
    return mountinfo.parse(f"{more}41 31 0:38 / {directory} {options},nosuid - cgroup2 cgroup2 rw\n")


@pytest.mark.parametrize("more", ["", V1_MEMORY])
def test_mount_and_controllers_also_beside_v1(tmp_path: Path, more: str) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    found = find_cgroup2(mounts_of(tmp_path, more=more))
    assert found == Cgroup2(tmp_path, frozenset({"cpu", "memory", "pids"}))


def test_no_cgroup2_says_how_to_get_it() -> None:
    with pytest.raises(Unavailable, match="not mounted on this machine; hint: .*cgroup_no_v1=all"):
        find_cgroup2(mountinfo.parse(V1_MEMORY))


def test_read_only_cgroup2_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        find_cgroup2(mounts_of(tmp_path, options="ro"))


@pytest.mark.parametrize(
    ("text", "root", "own"),
    [
        ("9:name=systemd:/x\n0::/system.slice/minidock.service\n", "/", Path("system.slice/minidock.service")),
        ("0::/\n", "/", Path()),
        ("0::/../../outside\n", "/", None),
        ("0::/docker/abc/init\n", "/docker/abc", Path("init")),
        ("0::/other\n", "/docker/abc", None),
        ("4:memory:/x\n", "/", None),
    ],
)
def test_own_cgroup_relative_to_the_mount(text: str, root: str, own: Path | None) -> None:
    assert own_cgroup(Cgroup2(Path("/cg"), frozenset(), root), text) == own


@pytest.mark.parametrize(
    ("own", "delegated", "base"),
    [
        (None, True, "minidock-1a2b3c4d"),
        (Path("user.slice/session-1.scope"), False, "minidock-1a2b3c4d"),
        (Path("system.slice/minidock.service/daemon"), True, "system.slice/minidock.service"),
        (Path("system.slice/minidock.service/daemon"), False, "minidock-1a2b3c4d"),
        # Delegated, but the daemon sits in the unit's own cgroup: systemd could not start the next daemon there.
        (Path("system.slice/minidock.service"), True, "minidock-1a2b3c4d"),
    ],
)
def test_base_is_at_the_top_or_below_a_delegated_unit(own: Path | None, delegated: bool, base: str) -> None:
    tree = Cgroup2(Path("/cg"), frozenset())
    assert choose_base("1a2b3c4d", tree, own, lambda directory: delegated) == Path(base)
