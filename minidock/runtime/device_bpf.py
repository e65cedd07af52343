"""Device rules as an eBPF program: the guard that the kernel asks at each open and mknod of a device.

cgroup v1 had a file to write rules to; cgroup v2 has none. Instead a program of type BPF_PROG_TYPE_CGROUP_DEVICE is
attached to the cgroup's directory. The kernel calls it with a pointer to

    struct bpf_cgroup_dev_ctx {
        __u32 access_type;    /* (what is asked: 1 mknod, 2 read, 4 write) << 16 | (1 block, 2 character) */
        __u32 major;
        __u32 minor;
    };

in register 1; what the program leaves in register 0 is the answer: 1 let it pass, 0 EPERM.

The rules are first turned into entries of which the first that fits a device has the whole answer: ``entries`` sorts
out in Python which rule overrules which. The program is then a chain of blocks that each end it or are skipped:

    if type differs, or major, or minor: skip;    return (asked & ~granted) == 0

That keeps the verifier's work small. It follows every branch at load time, which is at each start of a container; a
program that goes on after a match (collecting the rights of all rules, say) makes it walk the rest once for each match:
a millisecond for the default rules, and the limit of a million steps at some 800 of them.

An instruction has 8 bytes (include/uapi/linux/bpf.h, struct bpf_insn; on a little-endian machine):

    byte 0      opcode: the low three bits say the class, the rest the operation, and whether it takes a constant
    byte 1      source register << 4 | destination register
    bytes 2-3   offset: how many instructions to skip (a jump), or where to load from (a load)
    bytes 4-7   the constant

Serves runtime/plan.py (step ``devices``; the monitor loads and attaches it). Read next: csrc/, docs/steps/devices.md.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minidock.runtime.devices import DeviceRule
from minidock.wire.errors import InvalidArgument

# Opcodes, as class | operation. Classes: 0x01 load from memory, 0x04 arithmetic on 32 bits, 0x05 jump, 0x06 jump that
# compares 32 bits. Bit 0x08 means "the operand is a register, not the constant".
_LOAD32 = 0x61  # dst = *(u32 *)(src + offset)
_MOV = 0xB4
_MOV_REGISTER = 0xBC
_AND = 0x54
_SHIFT_RIGHT = 0x74
_JUMP_IF_ANY = 0x46  # if dst & constant
_JUMP_UNLESS_EQUAL = 0x56
_EXIT = 0x95

_RESULT, _CONTEXT, _TYPE, _ASKED, _MAJOR, _MINOR = range(6)
"""Registers r0 to r5. r0 is the return value, r1 comes as the argument; the others are ours to use."""

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7
_MOST_ENTRIES = 4096

_BYTE_ORDER = "<" if sys.byteorder == "little" else ">"


@dataclass(frozen=True)
class Entry:
    """What may be done with some devices: ``granted`` is a sum of 1 (mknod), 2 (read), 4 (write). None means any."""

    type: str
    major: int | None
    minor: int | None
    granted: int


def entries(rules: Sequence[DeviceRule]) -> list[Entry]:
    """Rules, of which the last word counts, as entries of which the first that fits counts.

    The narrow come before the wide. Where a rule for a major crosses one for a minor, the device at the crossing gets
    an entry of its own. So all rules that fit a device also fit the whole of its first entry, and the entry's rights
    are those rules', read in order. What no entry fits is denied. Raises InvalidArgument for a list grown too long.
    """
    patterns = {(type_, rule.major, rule.minor): None for rule in rules for type_ in _types(rule)}
    majors = [(type_, major) for type_, major, minor in patterns if major is not None and minor is None]
    minors = [(type_, minor) for type_, major, minor in patterns if major is None and minor is not None]
    if len(patterns) + len(majors) * len(minors) > _MOST_ENTRIES:
        raise InvalidArgument(f"too many device rules: {len(rules)}", "use a wildcard, such as c 188:*")
    patterns |= {(type_, major, minor): None for type_, major in majors for same, minor in minors if same == type_}
    ordered = sorted(patterns, key=lambda pattern: (pattern[1] is None) + 2 * (pattern[2] is None))
    return [Entry(*pattern, _granted(rules, *pattern)) for pattern in ordered]


def _types(rule: DeviceRule) -> str:
    return "bc" if rule.type == "a" else rule.type


def _granted(rules: Iterable[DeviceRule], type_: str, major: int | None, minor: int | None) -> int:
    granted = 0
    for rule in rules:
        if type_ in _types(rule) and rule.major in (None, major) and rule.minor in (None, minor):
            bits = sum(_ACCESS[letter] for letter in set(rule.access))
            granted = granted | bits if rule.allow else granted & ~bits
    return granted


def _instruction(opcode: int, destination: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    low, high = (destination, source) if _BYTE_ORDER == "<" else (source, destination)
    return struct.pack(f"{_BYTE_ORDER}BBhi", opcode, high << 4 | low, offset, constant)


def _answer(result: int) -> bytes:
    return _instruction(_MOV, _RESULT, constant=result) + _instruction(_EXIT)


_PROLOGUE = b"".join(
    (
        _instruction(_LOAD32, _TYPE, _CONTEXT, 0),
        _instruction(_MOV_REGISTER, _ASKED, _TYPE),
        _instruction(_AND, _TYPE, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ASKED, constant=16),
        _instruction(_LOAD32, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD32, _MINOR, _CONTEXT, 8),
    )
)


def _block(entry: Entry) -> bytes:
    """Up to three tests, each of which skips the block, then the answer.

    A request for nothing (access(2) with F_OK) passes wherever an entry fits: it gives nothing away.
    """
    answer = _answer(1)
    if entry.granted != _ALL_ACCESS:
        answer = (
            _instruction(_JUMP_IF_ANY, _ASKED, offset=2, constant=_ALL_ACCESS & ~entry.granted) + answer + _answer(0)
        )
    tests = [(_TYPE, _TYPES[entry.type]), (_MAJOR, entry.major), (_MINOR, entry.minor)]
    block = answer
    for register, wanted in reversed(tests):
        if wanted is not None:
            block = _instruction(_JUMP_UNLESS_EQUAL, register, offset=len(block) // 8, constant=wanted) + block
    return block


def compile_rules(rules: Sequence[DeviceRule]) -> bytes:
    """Rules in order → the bytes of a ``struct bpf_insn[]`` for BPF_PROG_LOAD. No rules: everything is denied."""
    return _PROLOGUE + b"".join(_block(entry) for entry in entries(rules)) + _answer(0)
