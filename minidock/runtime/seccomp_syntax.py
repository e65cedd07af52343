"""Reads a seccomp profile: JSON in Docker's format, or the ``linux.seccomp`` object of an OCI runtime spec.

    {
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
      "archMap":  [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
      "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                    "includes": {"arches": ["amd64"], "minKernel": "4.8"}, "excludes": {"caps": ["CAP_SYS_ADMIN"]},
                    "comment": "…"}]
    }

A profile says what is let through, so nothing in it is guessed at or skipped: an unknown key may be a condition that
would have narrowed a rule. Everything wrong is an InvalidArgument with the JSON path of the place
(``seccomp profile p.json: syscalls[3].args[0].op: …``).

Serves runtime/seccomp.py. See: config-linux.md ("Seccomp") of the OCI runtime spec, seccomp_rule_add(3).
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from minidock.runtime.capabilities import normalise
from minidock.wire.errors import InvalidArgument

SIZE_LIMIT = 1 << 20
"""Bytes of a profile file. Docker's has 18 KiB."""

EPERM = 1

ALLOW, LOG = 0x7FFF0000, 0x7FFC0000
_ERRNO, _TRACE = 0x00050000, 0x7FF00000
ACTIONS: dict[str, int] = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
}
"""The answer of a filter as the kernel wants it: SECCOMP_RET_* of linux/seccomp.h, data in the low 16 bits."""

COMPARISONS: dict[str, int] = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
"""Name → enum scmp_compare. MASKED_EQ is true when argument & value == valueTwo."""


_ERRNO_NAMES = {name: number for number, name in errno.errorcode.items()}


@dataclass(frozen=True)
class Argument:
    """A condition on one argument of a system call: ``arguments[index] comparison value``, on 64 bits, unsigned."""

    index: int
    comparison: int
    value: int
    value_two: int = 0


@dataclass(frozen=True)
class Condition:
    """When a rule is meant: on these architectures (Go's names), with these capabilities, from this kernel on."""

    arches: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    kernel: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rule:
    """One entry of ``syscalls``. ``where`` is its JSON path, for messages."""

    where: str
    names: tuple[str, ...]
    action: int
    arguments: tuple[Argument, ...]
    includes: Condition
    excludes: Condition


@dataclass(frozen=True)
class Document:
    """A profile as it was written. ``arch_map``: architecture → those whose programs run on it too."""

    default: int
    architectures: tuple[str, ...]
    arch_map: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class _Place:
    """A value in the JSON and the way to it; every look at the value checks its type."""

    value: object
    path: str
    source: str

    def refuse(self, reason: str, hint: str = "") -> NoReturn:
        raise InvalidArgument(f"seccomp profile {self.source}: {self.path or 'the whole'}: {reason}", hint)

    def __getitem__(self, key: str) -> _Place:
        """A member of an object; one that is missing is a null."""
        assert isinstance(self.value, dict)
        return _Place(self.value.get(key), f"{self.path}.{key}" if self.path else key, self.source)

    def object(self, keys: str) -> _Place:
        """Self, after a check that it is an object with no other than these keys; null is an empty one."""
        if self.value is None:
            return _Place({}, self.path, self.source)
        if not isinstance(self.value, dict):
            self.refuse("is not an object")
        if unknown := set(self.value) - set(keys.split()):
            self.refuse(f"unknown key {min(unknown)!r}", f"known here: {', '.join(keys.split())}")
        return self

    def items(self) -> list[_Place]:
        """The members of an array; null is an empty one."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            self.refuse("is not an array")
        return [_Place(item, f"{self.path}[{index}]", self.source) for index, item in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.refuse("is missing" if self.value in (None, "") else "is not a string")
        return self.value

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def number(self, limit: int, default: int | None = None) -> int:
        """A whole number below ``limit``."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse("is missing" if self.value is None else "is not a whole number")
        if not 0 <= self.value < limit:
            self.refuse(f"{self.value} is out of range (0 to {limit - 1})")
        return self.value

    def choice(self, table: Mapping[str, int]) -> int:
        name = self.text()
        if name not in table:
            self.refuse(f"unknown value {name!r}", f"one of {', '.join(table)}")
        return table[name]


def parse(text: bytes, source: str) -> Document:
    """The profile in ``text``; ``source`` names it in messages. Raises InvalidArgument."""
    if len(text) > SIZE_LIMIT:
        raise InvalidArgument(f"seccomp profile {source}: larger than {SIZE_LIMIT} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"seccomp profile {source}: not JSON: {error}") from None
    return _document(_Place(value, "", source))


def _document(place: _Place) -> Document:
    root = place.object("defaultAction defaultErrnoRet defaultErrno architectures archMap syscalls flags comment")
    if root["flags"].items():
        root["flags"].refuse("filter flags are not supported")
    if root["architectures"].items() and root["archMap"].items():
        root["archMap"].refuse("can't be given together with architectures")
    pairs = [entry.object("architecture subArchitectures") for entry in root["archMap"].items()]
    return Document(
        default=_action(root, "defaultAction", "defaultErrnoRet"),
        architectures=root["architectures"].texts(),
        arch_map={pair["architecture"].text(): pair["subArchitectures"].texts() for pair in pairs},
        rules=tuple(_rule(entry) for entry in root["syscalls"].items()),
    )


def _action(place: _Place, name: str, errno_name: str) -> int:
    """The action and, for those that carry one, its errno: EPERM if none is given. 4095 is the kernel's MAX_ERRNO.

    Podman's profiles write the errno's name as well ("errno": "EPERM"), beside the number or instead of it.
    """
    if place[name].value == "SCMP_ACT_NOTIFY":
        place[name].refuse("SCMP_ACT_NOTIFY is not supported", "it needs an agent that answers for the kernel")
    action = place[name].choice(ACTIONS)
    if action in (_ERRNO, _TRACE):
        named = place[errno_name.removesuffix("Ret")]
        default = EPERM if named.value is None else named.choice(_ERRNO_NAMES)
        return action | place[errno_name].number(4096, default)
    return action


def _rule(place: _Place) -> Rule:
    entry = place.object("name names action errnoRet errno args includes excludes comment")
    if entry["name"].value is not None and entry["names"].items():
        entry["name"].refuse("can't be given together with names")
    names = entry["names"].texts() if entry["name"].value is None else (entry["name"].text(),)
    if not names:
        entry["names"].refuse("is missing")
    return Rule(
        where=entry.path,
        names=names,
        action=_action(entry, "action", "errnoRet"),
        arguments=tuple(_argument(argument) for argument in entry["args"].items()),
        includes=_condition(entry["includes"]),
        excludes=_condition(entry["excludes"]),
    )


def _argument(place: _Place) -> Argument:
    entry = place.object("index value valueTwo op")
    return Argument(
        index=entry["index"].number(6),
        comparison=entry["op"].choice(COMPARISONS),
        value=entry["value"].number(1 << 64),
        value_two=entry["valueTwo"].number(1 << 64, default=0),
    )


def _condition(place: _Place) -> Condition:
    entry = place.object("arches caps minKernel")
    return Condition(
        arches=frozenset(entry["arches"].texts()),
        capabilities=frozenset(_capability(item) for item in entry["caps"].items()),
        kernel=None if entry["minKernel"].value is None else _kernel(entry["minKernel"]),
    )


def _capability(place: _Place) -> str:
    if place.text().upper() == "ALL":
        place.refuse("ALL is not a capability", "name those that the rule depends on")
    try:
        return normalise(place.text())
    except InvalidArgument as error:
        place.refuse(error.message, error.hint)


def _kernel(place: _Place) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", place.text(), re.ASCII)
    if not found:
        place.refuse(f"{place.value!r} is not a kernel version", "write major and minor, such as 4.8")
    return int(found[1]), int(found[2])
