"""Digests and the chain of layers: content is named by its SHA-256, so that a name can be checked.

Three digests of one layer must not be confused: the *digest* of the blob as it travels (compressed), the *diff id* of
the tar inside it, and the *chain id* of the layer on top of all those below it, which names its directory.

Whatever looks like a digest goes through ``check`` before it becomes part of a path (CVE-2024-3727).
See: OCI image-spec, descriptor.md (digests) and config.md (chain ids).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from minidock.wire.errors import InvalidArgument

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def is_digest(text: object) -> bool:
    """Whether it is ``sha256:`` and 64 lower-case hexadecimal digits; minidock knows no other algorithm."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check(text: object) -> str:
    """The digest itself. Raises InvalidArgument."""
    if not isinstance(text, str) or not is_digest(text):
        raise InvalidArgument(f"invalid digest: {str(text)[:100]!r}", "minidock knows sha256: with 64 hex digits")
    return text


def of(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The 64 digits, as they stand in paths."""
    return check(digest).removeprefix("sha256:")


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The chain id of each layer, lowest first: chain(n) = sha256(chain(n-1) + " " + diff id(n))."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
