"""Who a process runs as: ``USER`` and ``--user`` → numbers, by the image's own passwd and group files.

One parser serves both, for start and for exec. A number is decimal ASCII digits from 0 to 2^31-1 and is never looked up
as a name (CVE-2016-3697); anything else is a name that must be in the file (CVE-2026-30892 is what happens otherwise).
The files are the container's, read through a directory fd with in-root resolution, so that a link in the image can't
make the daemon read the host's; they are bounded, and a line that is malformed is passed over.
See: passwd(5), group(5); Docker's ``docker run --user``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minidock.linux import shim
from minidock.runtime.spec import Overlay, User
from minidock.wire.errors import InvalidArgument, ServerError

MAX_ID = (1 << 31) - 1
_MAX_FILE = 1 << 20


@dataclass(frozen=True)
class Account:
    """A resolved user: numbers, and the home directory for ``HOME``."""

    user: User
    home: str


def _number(text: str) -> int | None:
    """The number that ``text`` is, or None where it is a name. Raises InvalidArgument for one out of range."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}: {text[:20]}")
    return int(text)


def _table(rootfs: int, path: str, width: int) -> Iterator[list[str]]:
    """The lines of passwd or group as fields; nothing if the image has no such file."""
    try:
        fd = shim.open_regular(rootfs, path)
    except OSError:
        return
    with open(fd, "rb") as file:
        text = file.read(_MAX_FILE).decode("utf-8", "replace")
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= width and fields[2].isascii() and fields[2].isdigit() and len(fields[2]) <= 10:
            yield fields


def resolve(rootfs: int, text: str, extra_groups: Sequence[str] = ()) -> Account:
    """``name|uid[:group|gid]`` → an account. Empty means root. Raises ServerError for an unknown name, as Docker."""
    name, _, group = text.partition(":")
    passwd = list(_table(rootfs, "etc/passwd", 6))
    groups = list(_table(rootfs, "etc/group", 4))
    uid = _number(name or "0")
    found = next((f for f in passwd if (f[0] == name if uid is None else int(f[2]) == uid)), None)
    if uid is None:
        if found is None:
            raise ServerError(f"unable to find user {name}: no matching entries in passwd file")
        uid = _in_range(found[2])
    gid = _group(group, groups) if group else _in_range(found[3]) if found else 0
    member = [] if group or found is None else [_in_range(f[2]) for f in groups if found[0] in f[3].split(",")]
    wanted = [gid, *member, *(_group(extra, groups) for extra in extra_groups)]
    home = found[5] if found and found[5].startswith("/") and found[5].isprintable() else "/"
    return Account(User(uid, gid, tuple(dict.fromkeys(wanted))), home)


class Accounts:
    """Looks users up before the container's root exists.

    The root is seen through a mount of its layers that nobody but this process has. Taking that down again costs more
    than the look, so what an image says (images never change) is remembered for containers that have not touched their
    /etc.
    """

    _MOST = 256

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, ...], str, tuple[str, ...]], Account] = {}

    def find(self, root: Overlay, user: str, groups: tuple[str, ...]) -> Account:
        """As ``resolve``, for a root that is yet to be mounted."""
        if os.path.lexists(os.path.join(root.upper, "etc")):
            return _look(root.base, (os.path.relpath(root.upper, root.base), *root.lowers), user, groups)
        key = (root.lowers, user, groups)
        if key not in self._known:
            while len(self._known) >= self._MOST:
                del self._known[next(iter(self._known))]
            self._known[key] = _look(root.base, root.lowers, user, groups)
        return self._known[key]


def _look(base: str, lowers: tuple[str, ...], user: str, groups: tuple[str, ...]) -> Account:
    view = shim.overlay_view(base, ":".join(lowers))
    try:
        return resolve(view, user, groups)
    finally:
        os.close(view)


def _in_range(text: str) -> int:
    number = _number(text)
    return 0 if number is None else number


def _group(text: str, groups: list[list[str]]) -> int:
    gid = _number(text)
    if gid is not None:
        return gid
    found = next((fields for fields in groups if fields[0] == text), None)
    if found is None:
        raise ServerError(f"unable to find group {text}: no matching entries in group file")
    return _in_range(found[2])


def check_syntax(text: str) -> None:
    """For create, before there is a root to look into: refuses what can't be right."""
    name, _, group = text.partition(":")
    for part in (name, group):
        _number(part)
        if not part.isprintable() or part.startswith("-") or "/" in part or ":" in part:
            raise InvalidArgument(f"invalid user: {text!r}", "give NAME, UID, NAME:GROUP or UID:GID")
