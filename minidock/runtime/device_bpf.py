"""Device rules as an eBPF program: the guard that the kernel asks at each open and mknod of a device.

cgroup v1 had a file to write rules to; cgroup v2 has none. Instead a program of type BPF_PROG_TYPE_CGROUP_DEVICE is
attached to the cgroup's directory. The kernel calls it with a pointer to

    struct bpf_cgroup_dev_ctx {
        __u32 access_type;    /* (what is asked: 1 mknod, 2 read, 4 write) << 16 | (1 block, 2 character) */
        __u32 major;
        __u32 minor;
    };

in register 1; what the program leaves in register 0 is the answer: 1 let it pass, 0 EPERM.

Ours reads as the rule list does. It collects in r0 the kinds of access granted so far, one short block a rule:

    if type differs, or major, or minor: skip;    r0 |= access        (deny: r0 &= ~access)

and at the end lets the request pass if nothing asked for is left over. So rules of one device add up (r here, w there),
a later rule overrules an earlier one, and there is neither a loop nor a jump back for the verifier to wonder about.

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
from collections.abc import Iterable

from minidock.runtime.devices import DeviceRule

# Opcodes, as class | operation. Classes: 0x01 load from memory, 0x04 arithmetic on 32 bits, 0x05 jump, 0x06 jump that
# compares 32 bits, 0x07 arithmetic on 64 bits. Bit 0x08 would mean "the operand is a register".
_LOAD32 = 0x61  # dst = *(u32 *)(src + offset)
_MOV = 0xB4  # dst = constant
_MOV_REGISTER = 0xBC  # dst = src
_OR = 0x44
_AND = 0x54
_AND_REGISTER = 0x5C
_XOR = 0xA4
_SHIFT_RIGHT = 0x74
_JUMP_IF_EQUAL = 0x16
_JUMP_UNLESS_EQUAL = 0x56
_EXIT = 0x95

_GRANTED, _CONTEXT, _TYPE, _ASKED, _MAJOR, _MINOR = range(6)
"""Registers r0 to r5. r0 is the return value, r1 comes as the argument; the others are ours to use."""

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7

_BYTE_ORDER = "<" if sys.byteorder == "little" else ">"


def _instruction(opcode: int, destination: int, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    low, high = (destination, source) if _BYTE_ORDER == "<" else (source, destination)
    return struct.pack(f"{_BYTE_ORDER}BBhi", opcode, high << 4 | low, offset, constant)


_PROLOGUE = b"".join(
    (
        _instruction(_LOAD32, _TYPE, _CONTEXT, 0),
        _instruction(_MOV_REGISTER, _ASKED, _TYPE),
        _instruction(_AND, _TYPE, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ASKED, constant=16),
        _instruction(_LOAD32, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD32, _MINOR, _CONTEXT, 8),
        _instruction(_MOV, _GRANTED, constant=0),
    )
)

# asked &= ~granted; return asked == 0. A request for nothing (access(2) with F_OK) passes: it gives nothing away.
_EPILOGUE = b"".join(
    (
        _instruction(_XOR, _GRANTED, constant=-1),
        _instruction(_AND_REGISTER, _ASKED, _GRANTED),
        _instruction(_MOV, _GRANTED, constant=1),
        _instruction(_JUMP_IF_EQUAL, _ASKED, offset=1, constant=0),
        _instruction(_MOV, _GRANTED, constant=0),
        _instruction(_EXIT, 0),
    )
)


def _access_bits(access: str) -> int:
    return sum(_ACCESS[letter] for letter in set(access))


def _rule(rule: DeviceRule) -> bytes:
    """The block of one rule: up to three tests, each of which jumps behind the block, then the change of r0."""
    tests = [
        (register, wanted)
        for register, wanted in (
            (_TYPE, _TYPES.get(rule.type)),
            (_MAJOR, rule.major),
            (_MINOR, rule.minor),
        )
        if wanted is not None
    ]
    code = [
        _instruction(_JUMP_UNLESS_EQUAL, register, offset=len(tests) - index, constant=wanted)
        for index, (register, wanted) in enumerate(tests)
    ]
    bits = _access_bits(rule.access)
    change = (_OR, bits) if rule.allow else (_AND, _ALL_ACCESS & ~bits)
    return b"".join((*code, _instruction(change[0], _GRANTED, constant=change[1])))


def compile_rules(rules: Iterable[DeviceRule]) -> bytes:
    """Rules in order → the bytes of a ``struct bpf_insn[]`` for BPF_PROG_LOAD. No rules: everything is denied."""
    return _PROLOGUE + b"".join(_rule(rule) for rule in rules) + _EPILOGUE
