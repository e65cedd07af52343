"""``--device`` as both sides read it: which device of the host, where in the container, with which access.

For cli/values.py, which parses the flag, and runtime/devices.py, which checks what a client sent and looks it up.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidock.wire.errors import InvalidArgument

_HINT = "write HOST[:CONTAINER][:ACCESS], such as /dev/fuse or /dev/sda:/dev/xvda:r"


@dataclass(frozen=True)
class DeviceMapping:
    """``--device``: a host path, its path in the container, and the access given (of r, w, m)."""

    source: str
    target: str
    access: str = "rwm"


def is_access(text: str) -> bool:
    """Letters of ``rwm``, each once at most."""
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def parse_device(text: str) -> DeviceMapping:
    """``--device HOST[:CONTAINER][:ACCESS]`` as the docker CLI reads it. Raises InvalidArgument.

    ``/dev/fuse``, ``/dev/sda:/dev/xvda``, ``/dev/sda:r`` and ``/dev/sda:/dev/xvda:rwm`` are all meant.
    """
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidArgument(f"invalid device {text!r}: too many colons", _HINT)
    source, *rest = parts
    access = rest.pop() if len(rest) == 2 or (rest and is_access(rest[0])) else "rwm"
    target = rest[0] if rest else ""
    return check_mapping(DeviceMapping(source, target or source, access))


def check_mapping(mapping: DeviceMapping) -> DeviceMapping:
    """The mapping, if it makes sense: absolute paths without ``..``, known access letters. Raises InvalidArgument."""
    if not is_access(mapping.access):
        raise InvalidArgument(f"invalid device access {mapping.access!r} for {mapping.source}", _HINT)
    for path in (mapping.source, mapping.target):
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise InvalidArgument(f"invalid device path {path!r}: not an absolute path", _HINT)
    return mapping
