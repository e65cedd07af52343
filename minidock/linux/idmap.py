"""Which numbers users and groups of a container have on the host: maps, and the ranges that /etc/subuid grants.

A map is lines of "INSIDE OUTSIDE COUNT", as in /proc/PID/uid_map. ``--userns-remap`` names a user whose subordinate ids
containers get: ``default`` (the user ``minidock``), NAME[:GROUP] or UID[:GID], docker's forms. A user may have several
ranges; inside they follow each other from 0.

Serves daemon.py, the engine and the doctor. See: subuid(5), user_namespaces(7). Read next: userns.py.
"""

from __future__ import annotations

import grp
import pwd
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minidock.wire.errors import InvalidArgument

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")
DEFAULT_USER = "minidock"
NOBODY = 65534
"""What a number is shown as that has none on the other side (/proc/sys/fs/overflowuid)."""
_LARGEST = (1 << 32) - 2
_SIZE = 65536
_MOST = 340  # the kernel's limit of lines

# struct vfs_cap_data and vfs_ns_cap_data of linux/capability.h: the latter names whose root is meant (capabilities(7)).
_CAPS_2, _CAPS_3 = struct.Struct("<5I"), struct.Struct("<6I")
_REVISION_2, _REVISION_3, _FLAGS = 0x02000000, 0x03000000, 0xFFFFFF
# struct posix_acl_xattr_entry of linux/posix_acl_xattr.h, behind four bytes of version: tag, rights, whose.
_ACL_ENTRY, _ACL_START, _ACL_USER, _ACL_GROUP = struct.Struct("<HHI"), 4, 2, 8


@dataclass(frozen=True)
class Range:
    """``count`` numbers from ``inside`` on are those from ``outside`` on, on the host."""

    inside: int
    outside: int
    count: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.count}\n"


Ranges = tuple[Range, ...]


@dataclass(frozen=True)
class IdMap:
    """The maps of a user namespace."""

    uids: Ranges
    gids: Ranges

    @property
    def root(self) -> tuple[int, int]:
        """What the container's root is on the host."""
        return self.to_host(0, 0)

    @property
    def last_gid(self) -> int:
        """The largest group number up to which there is no gap."""
        return _contiguous(self.gids) - 1

    def to_host(self, uid: int, gid: int) -> tuple[int, int]:
        """Raises InvalidArgument for a number that the container can't have."""
        return _outward(self.uids, uid, "user"), _outward(self.gids, gid, "group")

    def to_container(self, uid: int, gid: int) -> tuple[int, int]:
        """As a process in the container sees an owner."""
        return _inward(self.uids, uid), _inward(self.gids, gid)

    def attribute_to_host(self, name: str, value: bytes) -> bytes:
        """The value of an extended attribute, where it names users: capabilities of a file, access control lists."""
        if name == "security.capability":
            return self.capability_to_host(value)
        return self._acl_to_host(value) if name.startswith("system.posix_acl_") else value

    def _acl_to_host(self, value: bytes) -> bytes:
        """acl(5) by named users and groups. Raises InvalidArgument for one that the container can't have."""
        if len(value) % _ACL_ENTRY.size != _ACL_START:
            return value  # for the kernel to refuse
        ranges = {_ACL_USER: (self.uids, "user"), _ACL_GROUP: (self.gids, "group")}
        entries = [
            (tag, rights, _outward(ranges[tag][0], who, ranges[tag][1]) if tag in ranges else who)
            for tag, rights, who in _ACL_ENTRY.iter_unpack(value[_ACL_START:])
        ]
        return value[:_ACL_START] + b"".join(_ACL_ENTRY.pack(*entry) for entry in entries)

    def capability_to_host(self, value: bytes) -> bytes:
        """An attribute security.capability that says in the container "root's" → the same, said from outside."""
        if len(value) != _CAPS_2.size:
            return value
        magic, *sets = _CAPS_2.unpack(value)
        return _CAPS_3.pack(magic & _FLAGS | _REVISION_3, *sets, self.root[0])

    def capability_to_container(self, value: bytes) -> bytes:
        """The other way."""
        if len(value) != _CAPS_3.size:
            return value
        magic, *sets, root = _CAPS_3.unpack(value)
        return _CAPS_2.pack(magic & _FLAGS | _REVISION_2, *sets) if root == self.root[0] else value


def _outward(ranges: Ranges, number: int, what: str) -> int:
    for one in ranges:
        if one.inside <= number < one.inside + one.count:
            return one.outside + number - one.inside
    text = ", ".join(f"{one.inside}-{one.inside + one.count - 1}" for one in ranges)
    raise InvalidArgument(f"{what} {number} does not exist in the container's user namespace", f"it has {text}")


def _inward(ranges: Ranges, number: int) -> int:
    for one in ranges:
        if one.outside <= number < one.outside + one.count:
            return one.inside + number - one.outside
    return NOBODY


def _contiguous(ranges: Ranges) -> int:
    end = 0
    for one in sorted(ranges, key=lambda one: one.inside):
        if one.inside == end:
            end += one.count
    return end


def parse_map(text: str) -> Ranges:
    """The kernel's own form."""
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    return tuple(Range(inside, outside, count) for inside, outside, count in lines)


def _granted(path: Path) -> list[tuple[str, int, int]]:
    """(owner, first, count) of each line of a subid file; a malformed line is passed over, as shadow does it."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        owner, *numbers = line.split(":")
        if len(numbers) == 2 and owner and all(n.isascii() and n.isdigit() and len(n) < 11 for n in numbers):
            first, count = map(int, numbers)
            if count and first + count - 1 <= _LARGEST:
                found.append((owner, first, count))
    return found


def _ranges(path: Path, owners: Iterable[str]) -> Ranges:
    """The ranges of whom the file calls by any of these names, one behind the other from 0."""
    names, found, inside = set(owners), [], 0
    for owner, first, count in _granted(path):
        if owner in names:
            found.append(Range(inside, first, count))
            inside += count
    return tuple(found[:_MOST])


def from_setting(setting: str, subuid: Path = SUBUID, subgid: Path = SUBGID) -> IdMap:
    """The value of ``--userns-remap``. Raises InvalidArgument with the command that gives what is missing."""
    user, separator, group = setting.partition(":")
    if not user or (separator and not group) or ":" in group:
        raise InvalidArgument(f"--userns-remap {setting!r}", "default, USER[:GROUP] or UID[:GID]")
    user = DEFAULT_USER if user == "default" else user
    users = {user} if user == DEFAULT_USER else _user(user)
    groups = _group(group) if group else users
    uids, gids = _ranges(subuid, users), _ranges(subgid, groups)
    wanting = [
        (path, name) for path, name, ranges in ((subuid, user, uids), (subgid, group or user, gids)) if not ranges
    ]
    if wanting:
        raise InvalidArgument(
            f"--userns-remap {setting}: no subordinate ids for {wanting[0][1]} in {wanting[0][0]}",
            _command(wanting, (subuid, subgid)),
        )
    for what, ranges in (("user", uids), ("group", gids)):
        if any(one.outside <= 0 < one.outside + one.count for one in ranges):
            raise InvalidArgument(f"--userns-remap {setting}: its {what} ids hold 0, the host's root", "choose others")
    return IdMap(uids, gids)


def _command(wanting: list[tuple[Path, str]], files: tuple[Path, Path]) -> str:
    """What grants numbers that nobody has yet."""
    taken = [first + count for path in files for _, first, count in _granted(path)]
    first = max([100000, *taken])
    return " && ".join(f"echo {name}:{first}:{_SIZE} >>{path}" for path, name in wanting)


def _user(text: str) -> set[str]:
    """The name and the number of a user, for the file may have either."""
    try:
        entry = pwd.getpwuid(int(text)) if text.isascii() and text.isdigit() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        if text.isascii() and text.isdigit():
            return {text}
        raise InvalidArgument(f"--userns-remap: no user {text} on this host", f"useradd --system {text}") from None
    return {entry.pw_name, str(entry.pw_uid)}


def _group(text: str) -> set[str]:
    try:
        entry = grp.getgrgid(int(text)) if text.isascii() and text.isdigit() else grp.getgrnam(text)
    except (KeyError, OverflowError):
        if text.isascii() and text.isdigit():
            return {text}
        raise InvalidArgument(f"--userns-remap: no group {text} on this host", f"groupadd --system {text}") from None
    return {entry.gr_name, str(entry.gr_gid)}
