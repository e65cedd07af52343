"""Compiles a resolved seccomp filter to classic BPF: libseccomp's binary tree behind a short prologue of our own.

The kernel runs the filter at each system call, on a copy of {number, architecture, instruction pointer, six arguments}
(struct seccomp_data). libseccomp writes it as a binary search over the numbers, which makes a filter of 350 calls cost
ten comparisons and not 350. Three things it can't say, so a prologue decides them first, per architecture:

* Calls younger than this libseccomp. It knows no name, but since Linux 5.1 a new call has one number on every
  architecture, so a small table does.
* Calls younger than the profile. To a program EPERM means "you may not", ENOSYS "this kernel is too old, do it the old
  way". For what the profile's author could not have known the second is the truth that works. (runc does the same.)
* socketcall, by which 32-bit x86 multiplexes all socket calls: libseccomp opens it wherever ``socket`` is allowed, and
  its arguments lie in memory, where no filter can look. Unless the profile names it, it is shut: otherwise a 64-bit
  program could reach any socket family by ``int 0x80``.

Serves runtime/seccomp.py, which see. The cffi declarations are in csrc/shim_build.py.
See: seccomp(2), seccomp_rule_add(3), Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from minidock._shim import ffi, lib
from minidock.runtime.seccomp_syntax import ALLOW, LOG, Argument
from minidock.wire.errors import InvalidArgument, ServerError

KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000

# In the order of their numbers, which are the same on every architecture (asm-generic/unistd.h), from 440 on.
_FIRST_YOUNG = 440
_YOUNG_NAMES = """
    process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule
    landlock_restrict_self memfd_secret process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
    map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr
    lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
"""
_YOUNG = {name: number for number, name in enumerate(_YOUNG_NAMES.split(), _FIRST_YOUNG)}
_OF_ONE_ARCHITECTURE = {("x86_64", "uretprobe"): 335, ("riscv64", "riscv_hwprobe"): 258}

# Architectures without a prologue: x32 shares its token with x86_64, MIPS counts from 4000, 5000 or 6000.
_NO_PROLOGUE = ("x32", "mips")
_X32_BIT = 0x40000000


@dataclass(frozen=True)
class Call:
    """One system call's rule. Several of one name add up, as conditions that are or-ed."""

    name: str
    action: int
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Filter:
    """A profile as it applies to one machine and one set of capabilities.

    ``architectures``: libseccomp's names, the native one first. ``mentioned``: every name in the profile, applied or
    not; the youngest of them says when the profile was written.
    """

    default: int
    architectures: tuple[str, ...]
    calls: tuple[Call, ...]
    mentioned: frozenset[str]

    @property
    def denies(self) -> bool:
        """Whether a call that no rule names is refused."""
        return self.default not in (ALLOW, LOG)


def library_version() -> str:
    """The libseccomp in use, such as ``2.5.4``: another version may know other calls, or build another tree."""
    version = lib.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"


def build(wanted: Filter) -> bytes:
    """The program, as bytes of ``struct sock_filter[]``. Raises InvalidArgument for what no filter can express."""
    numbers = {name: _native_number(name) for name in {call.name for call in wanted.calls}}
    older = [call for call in wanted.calls if numbers[call.name] is not None]
    younger = [call for call in wanted.calls if numbers[call.name] is None]
    _check_unknown(wanted, younger)
    program = _prologue(wanted, younger) + _tree(wanted, older)
    if len(program) // 8 > 4096:
        raise InvalidArgument(
            f"seccomp profile: {len(program) // 8} instructions, the kernel takes 4096", "simplify it"
        )
    return program


def _native_number(name: str) -> int | None:
    """libseccomp's number: negative for calls that only another architecture has, None for names unknown to it."""
    number = int(lib.seccomp_syscall_resolve_name(name.encode()))
    return None if number == lib.__NR_SCMP_ERROR else number


def _check_unknown(wanted: Filter, calls: Iterable[Call]) -> None:
    """Names nobody knows may be allowed (to no effect), but a refusal that would silently not happen is an error."""
    for call in calls:
        known = call.name in _YOUNG or any(call.name == name for _, name in _OF_ONE_ARCHITECTURE)
        if not wanted.denies and (not known or call.arguments):
            raise InvalidArgument(f"seccomp profile: unknown system call {call.name!r} can't be refused")


def _tree(wanted: Filter, calls: Iterable[Call]) -> bytes:
    """libseccomp's part. A foreign architecture ends the process, as with Docker: its numbers mean other calls."""
    context = ffi.gc(lib.seccomp_init(wanted.default), lib.seccomp_release)
    if context == ffi.NULL:
        raise ServerError("seccomp_init: libseccomp refused the default action")
    _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_ACT_BADARCH, KILL_PROCESS), "bad architecture action")
    _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, 2), "binary tree")
    for name in wanted.architectures:
        result = lib.seccomp_arch_add(context, _token(name))
        if result != -errno.EEXIST:
            _check(result, f"architecture {name}")
    for call in calls:
        if call.action != wanted.default:  # a rule that says what happens anyway is refused by libseccomp
            _add(context, call)
    return _export(context)


def _add(context: object, call: Call) -> None:
    """Adds one rule. Two conditions on one argument become two rules: libseccomp has no other way, runc does so too."""
    number = lib.seccomp_syscall_resolve_name(call.name.encode())
    indexes = [argument.index for argument in call.arguments]
    groups = [call.arguments] if len(set(indexes)) == len(indexes) else [(one,) for one in call.arguments]
    for arguments in groups:
        fields = [(one.index, one.comparison, one.value, one.value_two) for one in arguments]
        array = ffi.new("struct scmp_arg_cmp[]", fields)
        result = lib.seccomp_rule_add_array(context, call.action, number, len(arguments), array)
        if result not in (0, -errno.EEXIST):
            raise InvalidArgument(f"seccomp profile: rule for {call.name}: {os.strerror(-result).lower()}")


def _export(context: object) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(lib.seccomp_export_bpf(context, fd), "export")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise ServerError(f"seccomp {what}: {os.strerror(-result).lower()} (libseccomp {library_version()})")


def _token(architecture: str) -> int:
    """``x86_64`` → AUDIT_ARCH_X86_64, the number that the kernel gives a filter."""
    token = int(lib.seccomp_arch_resolve_name(architecture.encode()))
    if token == 0:
        raise InvalidArgument(f"seccomp profile: unknown architecture {architecture!r}")
    return token


# Classic BPF: {u16 opcode, u8 skip if true, u8 skip if false, u32 constant}, one accumulator. Offsets 0 and 4 of
# struct seccomp_data are the call's number and the architecture.
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4


def _instruction(opcode: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", opcode, if_true, if_false, constant)


def _answer(test: int, number: int, action: int) -> bytes:
    """Two instructions: if the test holds for the accumulator, end with this action."""
    return _instruction(test, number, 0, 1) + _instruction(_RETURN, action)


def _prologue(wanted: Filter, younger: list[Call]) -> bytes:
    """One block an architecture, each skipped unless the call is of that architecture; falls through to the tree."""
    program = _instruction(_LOAD, _ARCHITECTURE_OFFSET)
    for name in wanted.architectures:
        block = b"" if name.startswith(_NO_PROLOGUE) else _block(wanted, younger, name)
        if block:
            # A skip in a comparison has 8 bits, one in a plain jump 32: so jump over the jump.
            program += _instruction(_JUMP_EQUAL, _token(name), 1, 0) + _instruction(_JUMP, len(block) // 8) + block
    return program


def _block(wanted: Filter, younger: list[Call], architecture: str) -> bytes:
    shut = b""
    if wanted.denies and "socketcall" not in {call.name for call in wanted.calls}:
        number = syscall_number(architecture, "socketcall")
        shut = b"" if number is None else _answer(_JUMP_EQUAL, number, wanted.default)
    young = _young(wanted, younger, architecture)
    if not shut and not young:
        return b""
    return _instruction(_LOAD, _NUMBER_OFFSET) + shut + young + _instruction(_LOAD, _ARCHITECTURE_OFFSET)


def _young(wanted: Filter, younger: list[Call], architecture: str) -> bytes:
    """The calls that libseccomp does not know, and ENOSYS for those that the profile can't have known.

    The first instruction skips it all for the older calls, nearly all there are; x32's (bit 30) are not meant.
    """
    pairs = [(syscall_number(architecture, call.name), call) for call in younger if not call.arguments]
    answers = {number: call.action for number, call in reversed(pairs) if number is not None}
    lowest = min(answers, default=_X32_BIT)
    code = b"".join(_answer(_JUMP_EQUAL, number, action) for number, action in sorted(answers.items()))
    if wanted.denies:
        youngest = max((syscall_number(architecture, name) or 0 for name in wanted.mentioned), default=0)
        lowest = min(lowest, youngest + 1)
        code += _answer(_JUMP_GREATER, youngest, _RET_ERRNO | errno.ENOSYS)
    if not code:
        return b""
    steps = len(code) // 8
    return (
        _instruction(_JUMP_GREATER_EQUAL, lowest, 0, steps + 1)
        + _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, steps, 0)
        + code
    )


def syscall_number(architecture: str, name: str) -> int | None:
    """The number of a call there, by libseccomp or by our table of the young; None where it has none."""
    number = int(lib.seccomp_syscall_resolve_name_arch(_token(architecture), name.encode()))
    if number >= 0:
        return number
    return _YOUNG.get(name, _OF_ONE_ARCHITECTURE.get((architecture, name)))
