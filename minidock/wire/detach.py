"""Detach keys: what a user types to leave a terminal without ending what runs in it.

Written as ``ctrl-p,ctrl-q`` (the default) or ``a,b,ctrl-]``; sent and compared as the bytes that a terminal gives.
See: docker attach, "Override the detach sequence".
"""

from __future__ import annotations

from minidock.wire.errors import InvalidArgument

DEFAULT = b"\x10\x11"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse(text: str) -> bytes:
    """The bytes of a key sequence; the default for an empty text. Raises InvalidArgument."""
    return b"".join(_key(part, text) for part in text.split(",")) if text else DEFAULT


def _key(part: str, text: str) -> bytes:
    if len(part) == 1 and part.isascii() and part.isprintable():
        return part.encode()
    if part.startswith("ctrl-") and len(part) == 6 and part[5].lower() in _CONTROL:
        return bytes([_CONTROL.index(part[5].lower())])
    raise InvalidArgument(f"Invalid detach keys ({text}) provided", "write them as ctrl-p,ctrl-q or as letters")
