"""Devices: the few nodes every container's /dev has, and who may open what, as data and as eBPF.

A device node is a name for a (type, major, minor) triple; who can open the node talks to the driver. A container may
keep CAP_MKNOD, because packages make nodes, so what holds it off the host's disks is not the missing node but the
device controller of its cgroup: the kernel asks a small program of ours at each open and mknod of a device.

This module holds the default nodes and rules (Docker's and runc's, less /dev/net/tun), the parser of
``--device-cgroup-rule`` (that of ``--device`` is wire/devices.py), and the lookup of a host device. ``device_bpf.py``
turns the rules into the program.

Serves runtime/plan.py (steps ``mknod``, ``symlink`` and ``devices``) and the engine.
See: Documentation/admin-guide/cgroup-v2.rst ("Device controller"), mknod(2), devices.txt.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minidock.wire.devices import DeviceMapping, is_access
from minidock.wire.errors import InvalidArgument, NotFound

MAJOR_LIMIT = 1 << 12
MINOR_LIMIT = 1 << 20
"""The kernel's dev_t has 12 bits of major and 20 bits of minor; a larger number names no device."""


@dataclass(frozen=True)
class DeviceNode:
    """A node to make in the container. ``type`` is c, b or p; ``mode`` the permission bits; ``source`` the host's name
    for it where that is another."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    source: str = ""


@dataclass(frozen=True)
class DeviceRule:
    """One line of the device controller: allow or deny ``access`` (of r, w and m for mknod) to some devices.

    ``type`` is c, b or a (both); None as major or minor stands for any. Rules are read in order and the last word on
    each kind of access wins, as with cgroup v1's devices.allow and devices.deny; nothing is allowed to begin with.
    """

    allow: bool
    type: str
    major: int | None
    minor: int | None
    access: str

    def __str__(self) -> str:
        major, minor = ("*" if number is None else str(number) for number in (self.major, self.minor))
        return f"{'allow' if self.allow else 'deny'} {self.type} {major}:{minor} {self.access}"


DEFAULT_NODES: tuple[DeviceNode, ...] = (
    DeviceNode("/dev/null", "c", 1, 3),
    DeviceNode("/dev/zero", "c", 1, 5),
    DeviceNode("/dev/full", "c", 1, 7),
    DeviceNode("/dev/random", "c", 1, 8),
    DeviceNode("/dev/urandom", "c", 1, 9),
    DeviceNode("/dev/tty", "c", 5, 0),
)
"""What POSIX programs take for granted. /dev/console comes with a terminal only (step ``console``)."""

DEFAULT_LINKS: tuple[tuple[str, str], ...] = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)
"""(to, path). ptmx is a link so that opening it gives a terminal of the container's own devpts, not the host's."""


def _allow(type_: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(True, type_, major, minor, access)


DEFAULT_RULES: tuple[DeviceRule, ...] = (
    # A node may be made, since archives hold some; that it can't be opened is what counts.
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    *(_allow(node.type, node.major, node.minor) for node in DEFAULT_NODES),
    _allow("c", 5, 1),  # console
    _allow("c", 5, 2),  # ptmx
    _allow("c", 136, None),  # pts/0, pts/1, …: terminals of the container's own devpts
)
"""Everything else is denied, /dev/fuse (10:229) and /dev/net/tun (10:200) included."""

PRIVILEGED_RULES: tuple[DeviceRule, ...] = (_allow("a", None, None),)
"""``--privileged``: every device. No program need be attached then."""

_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})", re.ASCII)


def _number(text: str, limit: int, what: str, whole: str) -> int | None:
    if text == "*":
        return None
    if len(text) > 10 or int(text) >= limit:
        raise InvalidArgument(f"device rule {whole!r}: {what} number {text[:12]} is out of range (below {limit})")
    return int(text)


def parse_rule(text: str) -> DeviceRule:
    """``--device-cgroup-rule "c 1:3 rwm"`` → the rule that allows it. Raises InvalidArgument."""
    found = _RULE.fullmatch(text)
    if not found or not is_access(found[4]):
        raise InvalidArgument(
            f"invalid device cgroup rule: {text!r}",
            'write TYPE MAJOR:MINOR ACCESS, such as "c 188:* rwm"',
        )
    major = _number(found[2], MAJOR_LIMIT, "major", text)
    minor = _number(found[3], MINOR_LIMIT, "minor", text)
    return DeviceRule(True, found[1], major, minor, found[4])


def host_nodes(mapping: DeviceMapping) -> tuple[DeviceNode, ...]:
    """The nodes to make for a mapping: one for a device, one each for the devices below a directory.

    Numbers, owner and mode are the host's. Raises NotFound where there is nothing, InvalidArgument for what is neither.
    """
    try:
        status = os.stat(mapping.source)
    except OSError as error:
        raise NotFound(f"device {mapping.source}: {(error.strerror or '').lower()}") from None
    if stat.S_ISDIR(status.st_mode):
        return tuple(_below(mapping))
    node = _node(mapping.target, status, mapping.source)
    if node is None:
        raise InvalidArgument(f"device {mapping.source}: not a device node", "use -v to share a file")
    return (node,)


def _below(mapping: DeviceMapping) -> Iterator[DeviceNode]:
    """Devices in a directory such as /dev/snd; links are not followed, so that a loop can't be walked."""
    for folder, _, names in os.walk(mapping.source):
        for name in sorted(names):
            path = Path(folder, name)
            node = _node(
                str(Path(mapping.target, path.relative_to(mapping.source))),
                path.lstat(),
                str(path),
            )
            if node:
                yield node


def _node(target: str, status: os.stat_result, source: str) -> DeviceNode | None:
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else None
    if kind is None:
        return None
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return DeviceNode(
        target,
        kind,
        major,
        minor,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        source,
    )


def rules_for(mapping: DeviceMapping, nodes: tuple[DeviceNode, ...]) -> tuple[DeviceRule, ...]:
    """The rules that let a container use the nodes of a mapping."""
    return tuple(_allow(node.type, node.major, node.minor, mapping.access) for node in nodes)
