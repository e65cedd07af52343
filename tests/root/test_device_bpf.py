"""The device program in the real kernel: loaded, attached to a cgroup of the test's own, and asked by the probe.

The program is loaded by bpf(2) from the test itself, so that what is tested is the bytecode and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from minidock.runtime.device_bpf import compile_rules
from minidock.runtime.devices import DEFAULT_RULES, PRIVILEGED_RULES, DeviceRule, parse_rule
from tests.support import needs, probe

pytestmark = pytest.mark.cgroup2

SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 280)
PROG_LOAD, PROG_ATTACH = 5, 8
PROG_TYPE_CGROUP_DEVICE, ATTACH_TYPE_DEVICE = 15, 6


class LoadAttributes(ctypes.Structure):
    """The members of union bpf_attr for BPF_PROG_LOAD that are needed here."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("licence", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
    )


class AttachAttributes(ctypes.Structure):
    """The same for BPF_PROG_ATTACH."""

    _fields_ = (
        ("target", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


def bpf(command: int, attributes: ctypes.Structure) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(SYS_BPF, command, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf {command}: {os.strerror(ctypes.get_errno())}")
    return result


def load(program: bytes) -> int:
    """The fd of the program. If the verifier refuses, it is asked again for its log."""
    code, log = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(1 << 20)
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = LoadAttributes(
        PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)
    )
    try:
        return bpf(PROG_LOAD, attributes)
    except OSError as error:
        attributes.log_level, attributes.log_size, attributes.log = 1, len(log), ctypes.addressof(log)
        with contextlib.suppress(OSError):
            bpf(PROG_LOAD, attributes)
        raise AssertionError(f"the verifier refuses: {error}\n{log.value.decode()[-2000:]}") from None


@pytest.fixture
def cgroup() -> Iterator[Path]:
    mount = needs.cgroup2_mount()
    assert mount is not None
    path = mount / f"minidock-test-device-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()


def attach(cgroup: Path, rules: Sequence[DeviceRule]) -> None:
    program, directory = load(compile_rules(rules)), os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bpf(PROG_ATTACH, AttachAttributes(directory, program, ATTACH_TYPE_DEVICE, 0))
    finally:
        os.close(program)
        os.close(directory)


def within(cgroup: Path) -> tuple[str, ...]:
    """The command that runs another one in the cgroup."""
    return ("sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(cgroup))


def try_device(cgroup: Path, tmp_path: Path, *device: str) -> Any:
    return probe.run("mknod", str(tmp_path / "node"), *device, within=within(cgroup))


OK = {"mknod": "ok", "read": "ok", "write": "ok"}


def test_without_a_program_all_devices_open(cgroup: Path, tmp_path: Path) -> None:
    """The control for the tests below: what they see refused is refused by the program."""
    assert try_device(cgroup, tmp_path, "c", "1", "3") == OK
    assert try_device(cgroup, tmp_path, "c", "1", "11")["read"] != "EPERM"


def test_default_rules_let_null_pass_and_refuse_what_is_not_listed(cgroup: Path, tmp_path: Path) -> None:
    attach(cgroup, DEFAULT_RULES)
    assert try_device(cgroup, tmp_path, "c", "1", "3") == OK
    assert try_device(cgroup, tmp_path, "c", "1", "9") == OK
    for device in (
        ("b", "254", "0"),
        ("b", "8", "0"),
        ("c", "1", "1"),
        ("c", "1", "11"),
        ("c", "10", "229"),
        ("b", "1", "3"),
    ):
        assert try_device(cgroup, tmp_path, *device) == {"mknod": "ok", "read": "EPERM", "write": "EPERM"}, device


def test_no_rule_means_no_device(cgroup: Path, tmp_path: Path) -> None:
    attach(cgroup, ())
    assert try_device(cgroup, tmp_path, "c", "1", "3")["mknod"] == "EPERM"


def test_read_and_write_are_told_apart_and_later_rules_win(cgroup: Path, tmp_path: Path) -> None:
    attach(cgroup, (parse_rule("c 1:* rwm"), DeviceRule(False, "c", 1, 3, "w"), DeviceRule(False, "a", None, 5, "m")))
    assert try_device(cgroup, tmp_path, "c", "1", "3") == {"mknod": "ok", "read": "ok", "write": "EPERM"}
    assert try_device(cgroup, tmp_path, "c", "1", "5")["mknod"] == "EPERM"
    assert try_device(cgroup, tmp_path, "c", "1", "7")["read"] == "ok"


def test_privileged_rules_refuse_nothing(cgroup: Path, tmp_path: Path) -> None:
    attach(cgroup, PRIVILEGED_RULES)
    assert try_device(cgroup, tmp_path, "c", "1", "3") == OK
    assert try_device(cgroup, tmp_path, "c", "1", "11")["read"] != "EPERM"


def test_a_thousand_rules_still_pass_the_verifier(cgroup: Path, tmp_path: Path) -> None:
    attach(cgroup, (*(parse_rule(f"c 200:{minor} r") for minor in range(1000)), parse_rule("c 1:3 rwm")))
    assert try_device(cgroup, tmp_path, "c", "1", "3") == OK


def test_the_probe_runs_in_the_cgroup(cgroup: Path) -> None:
    """Keeps `within` honest: a probe elsewhere would pass every test that expects an open device."""
    assert probe.run("report", within=within(cgroup))["cgroup"].endswith(cgroup.name)
    assert subprocess.run(["cat", cgroup / "cgroup.procs"], capture_output=True, check=True).stdout == b""
