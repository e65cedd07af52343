"""Two small machines that run what the kernel would run: a seccomp filter, and a device program.

They let unit tests ask "what would the kernel answer?" for any system call or device, without root and without doing
it. Only the instructions that libseccomp and minidock emit are known; another is an error. Whoever doubts these
machines finds the same programs in the real kernel in tests/root.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

MASK32 = 0xFFFFFFFF


class Seccomp:
    """A classic BPF program over struct seccomp_data. ``steps`` counts the instructions of the last run."""

    def __init__(self, program: bytes) -> None:
        self.code = list(struct.iter_unpack("=HBBI", program))
        self.steps = 0

    def run(self, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
        """The filter's return value for a call."""
        padded = [*arguments, *[0] * (6 - len(arguments))]
        data = struct.pack("=IIQ6Q", number & MASK32, architecture, 0, *(value & (1 << 64) - 1 for value in padded))
        accumulator, pc, self.steps = 0, 0, 0
        while True:
            opcode, if_true, if_false, constant = self.code[pc]
            pc, self.steps = pc + 1, self.steps + 1
            if opcode == 0x06:
                return int(constant)
            if opcode == 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            elif opcode == 0x54:
                accumulator &= constant
            elif opcode == 0x05:
                pc += constant
            else:
                tests = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}
                tests[0x45] = bool(accumulator & constant)
                pc += if_true if tests[opcode] else if_false


ACCESS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}


def may(program: bytes, type_: str, major: int, minor: int, access: str) -> bool:
    """Runs a device program (eBPF) for one request, such as ``may(p, "c", 1, 3, "rw")``."""
    asked = sum(ACCESS[letter] for letter in access)
    context = struct.pack("<III", asked << 16 | TYPES[type_], major, minor)
    registers = [0xDEAD] * 11
    code = list(_instructions(program))
    pc = 0
    while True:
        opcode, destination, source, offset, constant = code[pc]
        pc += 1
        if opcode == 0x95:
            return registers[0] == 1
        if opcode == 0x61:
            assert source == 1, "loads are from the context"
            (registers[destination],) = struct.unpack_from("<I", context, offset)
        elif opcode in (0x46, 0x56):
            any_, equal = registers[destination] & constant, registers[destination] == constant & MASK32
            if any_ if opcode == 0x46 else not equal:
                pc += offset
        else:
            registers[destination] = _calculate(opcode, registers[destination], registers[source], constant) & MASK32


def _instructions(program: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    for opcode, registers, offset, constant in struct.iter_unpack("<BBhi", program):
        yield opcode, registers & 15, registers >> 4, offset, constant


def _calculate(opcode: int, left: int, right: int, constant: int) -> int:
    return {
        0xB4: constant,
        0xBC: right,
        0x54: left & constant,
        0x74: left >> (constant & 31),
    }[opcode]
