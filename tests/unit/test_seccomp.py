"""seccomp: what the default filter answers, call by call, and how profiles are read, resolved, compiled and kept.

The programs run in the small machine of ../support/bpf.py, so any call of any architecture can be asked about; what the
real kernel answers is in ../root/test_seccomp_kernel.py.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from minidock.runtime import seccomp, seccomp_bpf
from minidock.runtime.capabilities import DEFAULT, NUMBERS
from minidock.runtime.seccomp import Host, SeccompProfile, compile_profile
from minidock.wire.errors import InvalidArgument
from tests.support.bpf import Seccomp

ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32_BIT = 0x40000000
THIS = Host.this()
AMD64 = pytest.mark.skipif(THIS.machine != "x86_64", reason="amd64: the numbers are those of x86-64")

# Calls by their x86-64 numbers.
READ, CLONE, SOCKET, PERSONALITY, MOUNT, PTRACE, UNSHARE, CLONE3 = 0, 56, 41, 135, 165, 101, 272, 435
SOCKETCALL_386, SOCKET_386, CLONE_386 = 102, 359, 120


SHUT = """
    io_uring_setup io_uring_enter userfaultfd keyctl add_key request_key kexec_load kexec_file_load move_pages
    migrate_pages bpf perf_event_open mount umount2 unshare setns swapon reboot init_module open_by_handle_at
    pidfd_getfd process_madvise syslog settimeofday iopl pivot_root nfsservctl mbind
"""


@pytest.fixture(scope="module")
def default() -> Seccomp:
    return Seccomp(compile_profile(SeccompProfile.load(), DEFAULT))


def compiled(profile: dict[str, Any], capabilities: frozenset[str] = DEFAULT) -> Seccomp:
    return Seccomp(compile_profile(SeccompProfile.parse(json.dumps(profile)), capabilities))


def rule(names: str, action: str = "SCMP_ACT_ALLOW", **more: object) -> dict[str, Any]:
    return {"names": names.split(), "action": action, **more}


def deny_but(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules)}


# -- the default profile -----------------------------------------------------------------------------------------------


def allowed_numbers(go_name: str, machine: str) -> set[int | None]:
    profile = json.loads(Path(seccomp.__file__).with_name("seccomp-default.json").read_text())
    allowed: set[int | None] = set()
    for entry in profile["syscalls"]:
        applies = set(entry.get("includes", {}).get("caps", [])) <= DEFAULT
        applies &= go_name in entry.get("includes", {}).get("arches", [go_name])
        if applies and entry["action"] == "SCMP_ACT_ALLOW" and "args" not in entry:
            allowed |= {seccomp_bpf.syscall_number(machine, name) for name in entry["names"]}
    return allowed


@AMD64
def test_each_call_of_the_table_gets_the_answer_that_the_profile_gives_its_name(default: Seccomp) -> None:
    """Every number from 0 to 600, against the JSON read by other code than minidock's."""
    allowed = allowed_numbers("amd64", "x86_64")
    for number in set(range(600)) - {CLONE, SOCKET, PERSONALITY}:
        expected = ALLOW if number in allowed else ENOSYS if number > 466 or number == CLONE3 else EPERM
        assert default.run(X86_64, number) == expected, number


@pytest.mark.parametrize(
    ("machine", "go_name", "token", "second"),
    [("aarch64", "arm64", AARCH64, 0x40000028), ("riscv64", "riscv64", 0xC00000F3, None)],
)
def test_other_machines_answer_as_the_profile_says(machine: str, go_name: str, token: int, second: int | None) -> None:
    """The filter of a machine that these tests may not run on: compiled for it, run in ours. Numbers are the kernel's
    (asm-generic/unistd.h), names the profile's; ``second`` is the architecture of its 32-bit programs."""
    profile = SeccompProfile.load()
    program = Seccomp(seccomp_bpf.build(profile.resolve(DEFAULT, Host(machine, (6, 8)))))
    allowed = allowed_numbers(go_name, machine)
    clone, personality, socket, clone3 = 220, 92, 198, 435
    for number in set(range(600)) - {clone, socket, personality}:
        expected = ALLOW if number in allowed else ENOSYS if number > 466 or number == clone3 else EPERM
        assert program.run(token, number) == expected, number
    assert [program.run(token, clone, [flags]) for flags in (17, 17 | 1 << 28)] == [ALLOW, EPERM]
    assert [program.run(token, socket, [family]) for family in (2, 38, 1 << 32 | 38)] == [ALLOW, EPERM, EPERM]
    assert [program.run(token, personality, [value]) for value in (8, 0x40000)] == [ALLOW, EPERM]
    if second is not None:
        assert [program.run(second, number) for number in (3, 281, 102, 128)] == [ALLOW, ALLOW, EPERM, EPERM]
    assert program.run(0x80000016, 4) == KILL_PROCESS, "s390x's write"


@AMD64
@pytest.mark.parametrize("name", SHUT.split())
def test_what_only_adds_attack_surface_is_refused(default: Seccomp, name: str) -> None:
    number = seccomp_bpf.syscall_number("x86_64", name)
    assert number is not None and default.run(X86_64, number) == EPERM


@AMD64
@pytest.mark.parametrize("family", [*range(38), 39, 41, 42, 43, 44, 45])
def test_socket_families_that_are_let_through(default: Seccomp, family: int) -> None:
    assert default.run(X86_64, SOCKET, [family]) == ALLOW
    assert default.run(I386, SOCKET_386, [family]) == ALLOW


@AMD64
@pytest.mark.parametrize("family", [38, 40, 48, 64, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("high", [0, 1 << 32, 1 << 63])
def test_socket_families_that_are_not(default: Seccomp, family: int, high: int) -> None:
    """The kernel looks at 32 bits of the family. A filter that compares 64, such as Docker's ``> 40``, lets AF_ALG pass
    as 2^32 + 38: that is the variant this test fails on."""
    assert default.run(X86_64, SOCKET, [high | family]) == EPERM


@AMD64
def test_a_32_bit_program_can_not_reach_socket_families_through_socketcall(default: Seccomp) -> None:
    """libseccomp opens socketcall(SYS_SOCKET) for each rule on socket(); the vulnerable variant is a filter without our
    prologue, which the control shows: a profile that names socketcall."""
    for call in range(25):
        assert default.run(I386, SOCKETCALL_386, [call]) == EPERM
    named = compiled({**deny_but(rule("socket bind socketcall")), "architectures": ["SCMP_ARCH_X86"]})
    assert named.run(I386, SOCKETCALL_386, [1]) == ALLOW


@AMD64
def test_clone_makes_processes_but_no_namespaces(default: Seccomp) -> None:
    sigchld, thread = 17, 0x3D0F00
    for architecture, number in ((X86_64, CLONE), (I386, CLONE_386)):
        assert default.run(architecture, number, [sigchld]) == ALLOW
        assert default.run(architecture, number, [thread]) == ALLOW
        for bit in (17, 25, 26, 27, 28, 29, 30):
            assert default.run(architecture, number, [sigchld | 1 << bit]) == EPERM
    assert default.run(X86_64, CLONE3) == ENOSYS


@AMD64
def test_personality_takes_five_values(default: Seccomp) -> None:
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert default.run(X86_64, PERSONALITY, [value]) == ALLOW
    for value in (0x40000, 0x400000, 1 << 32, 0x20001):
        assert default.run(X86_64, PERSONALITY, [value]) == EPERM


@AMD64
def test_calls_younger_than_the_profile_do_not_exist(default: Seccomp) -> None:
    for number in (467, 500, 4000, X32_BIT - 1):
        assert default.run(X86_64, number) == ENOSYS
        assert default.run(I386, number) == ENOSYS


@AMD64
def test_a_foreign_architecture_ends_the_process(default: Seccomp) -> None:
    assert default.run(AARCH64, 63) == KILL_PROCESS


@AMD64
@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", "mount umount2 unshare setns clone3 sethostname fsopen bpf quotactl"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_NICE", "mbind set_mempolicy set_mempolicy_home_node"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)
def test_a_capability_opens_its_calls_and_its_absence_shuts_them(capability: str, names: str) -> None:
    profile = SeccompProfile.load()
    given = Seccomp(compile_profile(profile, DEFAULT | {capability}))
    withheld = Seccomp(compile_profile(profile, frozenset(NUMBERS) - {capability, "CAP_SYS_ADMIN"}))
    for name in names.split():
        number = seccomp_bpf.syscall_number("x86_64", name)
        assert number is not None and given.run(X86_64, number) == ALLOW, name
        if name not in ("bpf", "syslog", "perf_event_open"):
            assert withheld.run(X86_64, number) == (ENOSYS if name == "clone3" else EPERM), name


@AMD64
def test_dropping_chroot_shuts_chroot(default: Seccomp) -> None:
    assert default.run(X86_64, 161) == ALLOW
    assert Seccomp(compile_profile(SeccompProfile.load(), DEFAULT - {"CAP_SYS_CHROOT"})).run(X86_64, 161) == EPERM


@AMD64
def test_the_filter_is_a_tree(default: Seccomp) -> None:
    """A linear filter takes some 350 comparisons for the last of the calls; the kernel runs this at each call."""
    steps = []
    for number in range(335):
        default.run(X86_64, number)
        steps.append(default.steps)
    assert max(steps) <= 45


# -- profiles of users -------------------------------------------------------------------------------------------------


@AMD64
def test_a_profile_may_allow_all_but_a_few() -> None:
    filter_ = compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("mkdir", "SCMP_ACT_ERRNO", errnoRet=13)]})
    assert filter_.run(X86_64, 83) == 0x50000 | 13
    assert filter_.run(X86_64, READ) == filter_.run(X86_64, 4000) == ALLOW


@AMD64
def test_a_young_call_can_be_refused_by_name_even_if_libseccomp_does_not_know_it() -> None:
    filter_ = compiled(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("mseal statmount", "SCMP_ACT_KILL_PROCESS")]}
    )
    assert filter_.run(X86_64, 462) == filter_.run(X86_64, 457) == KILL_PROCESS
    assert filter_.run(X86_64, 463) == ALLOW


def test_a_refusal_of_an_unknown_call_is_an_error_and_an_allowance_is_not() -> None:
    with pytest.raises(InvalidArgument, match="unknown system call 'moutn'"):
        compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("moutn", "SCMP_ACT_ERRNO")]})
    compiled(deny_but(rule("read moutn")))


@AMD64
def test_two_conditions_on_one_argument_are_alternatives_and_on_two_must_both_hold() -> None:
    def on(index: int, value: int) -> dict[str, object]:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}

    filter_ = compiled(
        deny_but(rule("socket", args=[on(0, 1), on(0, 2)]), rule("personality", args=[on(0, 1), on(1, 2)]))
    )
    assert filter_.run(X86_64, SOCKET, [1]) == filter_.run(X86_64, SOCKET, [2]) == ALLOW
    assert filter_.run(X86_64, SOCKET, [3]) == EPERM
    assert filter_.run(X86_64, PERSONALITY, [1, 2]) == ALLOW
    assert filter_.run(X86_64, PERSONALITY, [1, 3]) == EPERM


@AMD64
@pytest.mark.parametrize(
    ("op", "passes"),
    [
        ("NE", {4, 6, 1 << 32 | 5}), ("LT", {4}), ("LE", {4, 5}),
        ("EQ", {5}), ("GE", {5, 6, 1 << 32 | 5}), ("GT", {6, 1 << 32 | 5}),
    ],
)  # fmt: skip
def test_comparisons_are_on_64_bits(op: str, passes: set[int]) -> None:
    argument = {"index": 1, "value": 5, "op": f"SCMP_CMP_{op}"}
    filter_ = compiled(deny_but(rule("personality", args=[argument])))
    assert {
        value for value in (4, 5, 6, 1 << 32 | 5) if filter_.run(X86_64, PERSONALITY, [0, value]) == ALLOW
    } == passes


@AMD64
def test_without_an_arch_map_only_native_programs_run() -> None:
    filter_ = compiled(deny_but(rule("read")))
    assert filter_.run(X86_64, READ) == ALLOW
    assert filter_.run(I386, 3) == KILL_PROCESS
    both = compiled({**deny_but(rule("read")), "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]})
    assert both.run(I386, 3) == ALLOW


def names_for(condition: dict[str, object], host: Host = THIS, key: str = "includes") -> set[str]:
    profile = SeccompProfile.parse(json.dumps(deny_but({**rule("read"), key: condition})))
    return {call.name for call in profile.resolve(DEFAULT, host).calls}


def test_rules_are_taken_or_left_by_capability_architecture_and_kernel() -> None:
    old, new = Host("x86_64", (4, 7)), Host("aarch64", (6, 1))
    assert names_for({"caps": ["CAP_CHOWN", "CAP_KILL"]}) and not names_for({"caps": ["CAP_CHOWN", "CAP_BPF"]})
    assert names_for({"arches": ["amd64", "arm"]}, old) and not names_for({"arches": ["amd64"]}, new)
    assert names_for({"minKernel": "4.8"}, new) and not names_for({"minKernel": "4.8"}, old)
    assert names_for({"minKernel": "4.10"}, new) and not names_for({"minKernel": "4.10"}, old)
    assert not names_for({"caps": ["CAP_BPF", "CAP_CHOWN"]}, key="excludes") and names_for(
        {"caps": ["CAP_BPF"]}, key="excludes"
    )
    assert not names_for({"arches": ["arm64"]}, new, "excludes") and names_for({"arches": ["arm64"]}, old, "excludes")
    assert not names_for({"minKernel": "4.8"}, new, "excludes") and names_for({"minKernel": "4.8"}, old, "excludes")


def test_the_default_profile_knows_the_programs_that_an_arm_machine_runs() -> None:
    found = SeccompProfile.load().resolve(DEFAULT, Host("aarch64", (6, 8)))
    assert found.architectures == ("aarch64", "arm")
    assert "set_tls" in {call.name for call in found.calls} and "arch_prctl" not in {call.name for call in found.calls}


def test_an_unknown_machine_is_said_to_be_one() -> None:
    with pytest.raises(InvalidArgument, match="no support for vax"):
        SeccompProfile.load().resolve(DEFAULT, Host("vax", (6, 8)))


# -- bad profiles ------------------------------------------------------------------------------------------------------

GOOD_ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


@pytest.mark.parametrize(
    ("profile", "place"),
    [
        ([], "the whole: is not an object"),
        ({}, "defaultAction: is missing"),
        ({"defaultAction": "ALLOW"}, "defaultAction: unknown value 'ALLOW'"),
        ({"defaultAction": 1}, "defaultAction: is not a string"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "defaultErrnoRet: 4096 is out of range"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY is not supported"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "sysCalls": []}, "the whole: unknown key 'sysCalls'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, "flags: filter flags are not supported"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["a"], "archMap": [{}]}, "archMap: can't be given"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{}]}, "archMap[0].architecture: is missing"),
        (deny_but({"names": ["read"]}), "syscalls[0].action: is missing"),
        (deny_but({"action": "SCMP_ACT_ALLOW"}), "syscalls[0].names: is missing"),
        (deny_but(rule("read", name="write")), "syscalls[0].name: can't be given together"),
        (deny_but(rule("read"), rule("write", arguments=[])), "syscalls[1]: unknown key 'arguments'"),
        (deny_but({"names": ["read", 5], "action": "SCMP_ACT_ALLOW"}), "syscalls[0].names[1]: is not a string"),
        (deny_but(rule("read", args={})), "syscalls[0].args: is not an array"),
        (deny_but(rule("read", args=[{**GOOD_ARGUMENT, "index": 6}])), "syscalls[0].args[0].index: 6 is out of range"),
        (deny_but(rule("read", args=[{**GOOD_ARGUMENT, "value": -1}])), "syscalls[0].args[0].value: -1 is out of"),
        (deny_but(rule("read", args=[{**GOOD_ARGUMENT, "value": 1.5}])), "syscalls[0].args[0].value: is not a whole"),
        (deny_but(rule("read", args=[{**GOOD_ARGUMENT, "value": True}])), "syscalls[0].args[0].value: is not a whole"),
        (deny_but(rule("read", args=[GOOD_ARGUMENT, {**GOOD_ARGUMENT, "op": "EQ"}])), "syscalls[0].args[1].op: unkn"),
        (deny_but(rule("read", includes={"caps": ["CAP_X"]})), "syscalls[0].includes.caps[0]: unknown capability"),
        (deny_but(rule("read", includes={"caps": ["ALL"]})), "syscalls[0].includes.caps[0]: ALL is not"),
        (deny_but(rule("read", excludes={"minKernel": "5"})), "syscalls[0].excludes.minKernel: '5' is not"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_refused_with_the_place(profile: object, place: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        SeccompProfile.parse(json.dumps(profile), "p.json")
    assert error.value.message.startswith(f"seccomp profile p.json: {place}")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a":' * 100_000, b'{"defaultErrnoRet": ' + b"9" * 5000 + b"}"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument):
        SeccompProfile.parse(text)


def test_a_giant_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b" " * (2 << 20))
    with pytest.raises(InvalidArgument, match="larger than"):
        SeccompProfile.load(tmp_path / "big")
    with pytest.raises(InvalidArgument, match="no such file"):
        SeccompProfile.load(tmp_path / "nosuch")


def test_podmans_spelling_of_errno_is_read() -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS"}
    named = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS"}
    assert SeccompProfile.parse(json.dumps(profile)).document.default == ENOSYS
    assert SeccompProfile.parse(json.dumps(named)).document.default == ENOSYS


# -- programs that are kept --------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The filters that were compiled during the test; the programs kept in memory are forgotten first."""
    compile_profile.cache_clear()
    seen: list[object] = []

    def counted(wanted: seccomp_bpf.Filter) -> bytes:
        seen.append(wanted)
        return seccomp_bpf.build(wanted)

    monkeypatch.setattr(seccomp, "build", counted)
    return seen


def test_a_program_is_compiled_once_and_found_again_by_the_next_daemon(tmp_path: Path, builds: list[object]) -> None:
    profile, cache = SeccompProfile.load(), tmp_path / "cache"
    first = compile_profile(profile, DEFAULT, cache)
    assert compile_profile(SeccompProfile.load(), DEFAULT, cache) == first and len(builds) == 1
    compile_profile.cache_clear()
    assert compile_profile(profile, DEFAULT, cache) == first and len(builds) == 1
    assert compile_profile(profile, frozenset(), cache) != first and len(builds) == 2
    assert cache.stat().st_mode & 0o777 == 0o700 and {file.suffix for file in cache.iterdir()} == {".bpf"}


@pytest.mark.parametrize("damage", [b"", b"\0" * 9000, None])
def test_a_damaged_file_is_compiled_anew(tmp_path: Path, builds: list[object], damage: bytes | None) -> None:
    first = compile_profile(SeccompProfile.load(), DEFAULT, tmp_path)
    (file,) = tmp_path.iterdir()
    stored = file.read_bytes()
    file.write_bytes(stored[:-8] if damage is None else damage)
    compile_profile.cache_clear()
    assert compile_profile(SeccompProfile.load(), DEFAULT, tmp_path) == first and len(builds) == 2
    assert file.read_bytes() == stored


def test_in_one_daemon_no_file_is_read_twice(builds: list[object]) -> None:
    assert compile_profile(SeccompProfile.load(), DEFAULT) is compile_profile(SeccompProfile.load(), DEFAULT)
    assert len(builds) == 1


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, builds: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert compile_profile(SeccompProfile.load(), DEFAULT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_can_not_be_written_costs_only_time(tmp_path: Path, builds: list[object]) -> None:
    (tmp_path / "file").touch()
    assert compile_profile(SeccompProfile.load(), DEFAULT, tmp_path / "file" / "cache")
    assert len(builds) == 1
