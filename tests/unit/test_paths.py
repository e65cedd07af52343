"""What of the kernel's file systems a container is given: the order of mounts, what is locked, what is masked."""

from __future__ import annotations

from pathlib import Path, PurePath

from minidock.runtime.paths import MASKED_PATHS, READONLY_PATHS, default_mounts, masked_paths


def test_each_mount_finds_its_parent_mounted() -> None:
    seen: set[str] = set()
    for mount in default_mounts():
        inner = [path for path in seen if PurePath(path).is_relative_to(mount.target)]
        assert not inner, f"{mount.target} covers {inner}"
        seen.add(mount.target)
    assert seen == {"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"}


def test_no_mount_lets_a_setuid_program_in_and_only_dev_takes_nodes_and_programs() -> None:
    for mount in default_mounts():
        assert "nosuid" in mount.flags
        assert "noexec" in mount.flags or mount.target == "/dev"
        assert "nodev" in mount.flags or mount.target in ("/dev", "/dev/pts")


def test_the_kernels_settings_are_read_only_unless_privileged() -> None:
    def read_only(privileged: bool) -> set[str]:
        return {mount.target for mount in default_mounts(privileged=privileged) if "ro" in mount.flags}

    assert read_only(False) == {"/sys", "/sys/fs/cgroup"}
    assert read_only(True) == set()


def test_shm_has_the_size_that_was_asked_for() -> None:
    (shm,) = (mount for mount in default_mounts(shm_size=1 << 20) if mount.target == "/dev/shm")
    assert "size=1048576" in shm.options and "mode=1777" in shm.options


def test_thermal_counters_of_each_processor_are_masked(tmp_path: Path) -> None:
    for name in ("cpu0/thermal_throttle", "cpu1/thermal_throttle", "cpu2", "cpuidle/thermal_throttle"):
        (tmp_path / name).mkdir(parents=True)
    more = [path for path in masked_paths(tmp_path) if path not in MASKED_PATHS]
    assert more == [f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in (0, 1)]


def test_doors_to_the_whole_machine_are_shut() -> None:
    assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} <= set(MASKED_PATHS)
    assert {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"} == set(READONLY_PATHS)
