"""The options of the driver ``local``: type, o and device, as mount(8) would take them.

Docker's daemon mounts such a volume in the host's namespace, where it stays if the daemon dies. Here nothing is ever
mounted there: what the options say becomes a step of each container's start. So a tmpfs volume belongs to its
container alone, and what is left is tmpfs and bind; a disk or a network share is refused, and better mounted by the
host itself. See: docker volume create, driver-specific options. Read next: mounts.py.
"""

from __future__ import annotations

import os
import re

from minidock.runtime.spec import Filesystem
from minidock.wire.errors import InvalidArgument, NotImplemented

Options = dict[str, str]
_KNOWN = ("type", "o", "device")
TMPFS_SIZES = re.compile(r"(size|mode|uid|gid|nr_inodes|nr_blocks)=[0-9]+[kmgKMG%]?", re.ASCII)
_FLAGS = frozenset(("ro", "rw", "nosuid", "nodev", "noexec", "relatime", "noatime", "strictatime", "nodiratime"))


def check(name: str, options: Options) -> None:
    """Raises InvalidArgument, or NotImplemented for what docker could mount."""
    for key in options:
        if key not in _KNOWN:
            raise InvalidArgument(f'create {name}: invalid option: "{key}"', f"one of {', '.join(_KNOWN)}")
    if not options:
        return
    words = _words(options)
    if "bind" in words or "rbind" in words:
        path = options.get("device", "")
        if not path.startswith("/") or not path.isprintable():
            raise InvalidArgument(f"create {name}: missing device in volume options", "device=/an/absolute/path")
        rest = [word for word in words if word not in ("bind", "rbind", "ro", "rw")]
        if options.get("type", "none") not in ("", "none", "bind") or rest:
            raise InvalidArgument(f"create {name}: options that do not go with bind", "type=none, o=bind[,ro]")
        return
    if options.get("type") != "tmpfs":
        kind = options.get("type") or "a device"
        raise NotImplemented(
            f"create {name}: volumes of type {kind}: not there in minidock, which has tmpfs and bind",
            "mount it on the host, and bind it with type=none, o=bind, device=PATH",
        )
    for word in words:
        if word not in _FLAGS and not TMPFS_SIZES.fullmatch(word):
            raise InvalidArgument(
                f"create {name}: invalid tmpfs option: {word!r}", "such as size=64m, uid=1000, noexec"
            )


def _words(options: Options) -> list[str]:
    return [word for word in options.get("o", "").split(",") if word]


def is_tmpfs(options: Options) -> bool:
    """Whether the volume is a tmpfs."""
    return options.get("type") == "tmpfs"


def device(options: Options) -> str:
    """The host's directory that the volume is, "" for one of our own. It is not looked at, and may be gone."""
    path = "" if is_tmpfs(options) else options.get("device", "")
    return os.path.normpath(path) if path else ""


def readonly(options: Options) -> bool:
    """Whether the options forbid to write."""
    return "ro" in _words(options)


def tmpfs(options: Options, target: str, writable: bool) -> Filesystem:
    """A tmpfs volume as a mount of a container."""
    words = _words(options)
    flags = {word for word in words if word in _FLAGS and word != "rw"} | (set() if writable else {"ro"})
    sized = tuple(word for word in words if "=" in word)
    return Filesystem("tmpfs", target, tuple(sorted(flags | {"nosuid", "nodev"})), sized)
