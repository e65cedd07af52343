"""mountinfo lines as real machines print them, and which cgroup mounts are picked from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.linux import mountinfo

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""


def test_all_fields_of_a_line() -> None:
    (mount,) = mountinfo.parse(
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 unbindable - ext3 /dev/root rw,errors=continue\n"
    )
    assert (mount.id, mount.parent, mount.device) == (36, 35, "98:0")
    assert (mount.root, mount.target, mount.fstype, mount.source) == ("/mnt1", "/mnt2", "ext3", "/dev/root")
    assert mount.options == {"rw", "noatime"}
    assert mount.super_options == {"rw", "errors=continue"}
    assert mount.tags == ("master:1", "unbindable")


def test_escaped_characters_come_back() -> None:
    (mount,) = mountinfo.parse(r"1 2 0:1 / /a\040b\011c\012d\134e rw - tmpfs my\040disk rw")
    assert mount.target == "/a b\tc\nd\\e"
    assert mount.source == "my disk"


def test_reads_the_mounts_of_this_process() -> None:
    assert any(mount.target == "/proc" and mount.fstype == "proc" for mount in mountinfo.read())


def test_malformed_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="unpack"):
        mountinfo.parse("1 2 0:1 /")


def test_containing_takes_the_deepest_and_then_the_latest() -> None:
    mounts = mountinfo.parse(
        "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /var/lib rw - ext4 b rw\n3 2 0:3 / /var/lib rw - xfs c rw\n"
        "4 1 0:4 / /var/libother rw - ext4 d rw\n"
    )
    found = mountinfo.containing(mounts, Path("/var/lib/minidock"))
    assert found is not None
    assert found.source == "c"


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        (HYBRID, "/sys/fs/cgroup/unified"),
        ("1 0 0:1 / /ro ro - cgroup2 c rw\n2 0 0:1 / /rw rw - cgroup2 c rw\n", "/rw"),
        ("1 0 0:1 /part /part rw - cgroup2 c rw\n2 0 0:1 / /whole rw - cgroup2 c rw\n", "/whole"),
        ("1 0 0:1 / /first rw - cgroup2 c rw\n2 0 0:1 / /second rw - cgroup2 c rw\n", "/first"),
    ],
)
def test_which_cgroup2_mount_is_used(lines: str, target: str) -> None:
    found = mountinfo.cgroup2(mountinfo.parse(lines))
    assert found is not None
    assert found.target == target


def test_no_cgroup2_is_none() -> None:
    assert mountinfo.cgroup2(mountinfo.parse(HYBRID.rsplit("41", 1)[0])) is None


def test_controllers_of_v1_by_hierarchy() -> None:
    assert mountinfo.cgroup1(mountinfo.parse(HYBRID)) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
