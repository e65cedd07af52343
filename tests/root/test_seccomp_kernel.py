"""The default seccomp filter in the real kernel: a process that loads it and walks the system calls.

../unit/test_seccomp.py asks a small machine of ours what the filter answers; here the kernel answers, and the two must
agree. The calls are made with bad arguments by the probe (../probe/syscalls.c), in namespaces of their own.

Variants that it was seen to fail on: socket family 38 (AF_ALG) let through by a wider mask, io_uring_setup allowed
(row 29 of docs/security.md).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from minidock.runtime import seccomp
from minidock.runtime.capabilities import DEFAULT
from minidock.runtime.seccomp import SeccompProfile, compile_profile
from tests.support import probe
from tests.support.bpf import Seccomp

NAMESPACES = ("unshare", "-mpuinf", "--mount-proc", "--")
ALLOW = 0x7FFF0000
X86_64 = 0xC000003E
LAST = 475
UNFILTERED = {"335", "336"}
"""uretprobe and uprobe, which only the kernel's trampolines call: since Linux 6.14 no filter is asked about them."""

ALL_BAD = [-1] * 6

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="amd64: the numbers are those of x86-64")


@pytest.fixture(scope="module")
def filter_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("seccomp") / "default.bpf"
    file.write_bytes(compile_profile(SeccompProfile.load(), DEFAULT))
    return file


def filtered(file: Path, *verb: str) -> Any:
    return probe.run("filter", str(file), *verb, within=NAMESPACES)


def test_the_filter_loads_and_shows_in_the_status(filter_file: Path) -> None:
    before, after = probe.run("report"), filtered(filter_file, "report")
    assert (before["seccomp"], before["seccomp_filters"]) == (0, 0)
    assert (after["seccomp"], after["seccomp_filters"]) == (2, 1)


def test_every_call_is_answered_by_the_filter_or_as_without_it(filter_file: Path) -> None:
    """Where the filter refuses, its errno comes back; where it allows, the kernel's own answer, whatever that is."""
    without = probe.run("syscalls", str(LAST), within=NAMESPACES)
    with_filter = filtered(filter_file, "syscalls", str(LAST))
    machine = Seccomp(filter_file.read_bytes())
    wrong = {}
    for number, answer in with_filter.items():
        said = machine.run(X86_64, int(number), ALL_BAD)
        expected = without[number] if said == ALLOW else errno.errorcode[said & 0xFFFF]
        if answer not in (expected, "skipped") and number not in UNFILTERED:
            wrong[number] = (answer, expected)
    assert not wrong
    assert list(with_filter.values()).count("EPERM") > 60 and list(without.values()).count("EPERM") < 5


def test_the_kernel_lets_no_shut_socket_family_pass_by_any_road(filter_file: Path) -> None:
    """The vulnerable variants: Docker's rule ``family > 40`` (2^32 + 38 passes, and is AF_ALG to the kernel), and a
    profile that allows socketcall. The controls show that both roads lead to a socket when nobody watches."""
    high_inet, high_alg = str(1 << 32 | 2), str(1 << 32 | 38)
    assert probe.run("socket", high_inet)["socket"] == "ok", "the control: the kernel looks at 32 bits"
    assert filtered(filter_file, "socket", "2")["socket"] == "ok"
    assert filtered(filter_file, "socket", "38")["socket"] == "EPERM"
    assert filtered(filter_file, "socket", high_alg)["socket"] == "EPERM"
    by_int80 = probe.run("socketcall", "2")["socket"]
    assert by_int80 in ("ok", "ENOSYS"), "the control: ENOSYS where the kernel runs no 32-bit programs"
    assert filtered(filter_file, "socketcall", "2")["socket"] in ("EPERM", by_int80.replace("ok", "EPERM"))


def test_dockers_family_rule_is_vulnerable(tmp_path: Path) -> None:
    """Keeps the test above honest: the rule as Docker has it lets the family through to the kernel."""
    text = Path(seccomp.__file__).with_name("seccomp-default.json").read_text()
    docker = text.replace(
        '"value": 4294967292, "valueTwo": 44, "op": "SCMP_CMP_MASKED_EQ"', '"value": 40, "op": "SCMP_CMP_GT"'
    )
    assert docker != text
    file = tmp_path / "docker.bpf"
    file.write_bytes(compile_profile(SeccompProfile.parse(docker), DEFAULT))
    assert filtered(file, "socket", str(1 << 32 | 38))["socket"] != "EPERM"
    assert filtered(file, "socket", "38")["socket"] == "EPERM"
