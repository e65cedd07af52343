"""`docker commit`: what a container changed in its image's files → a layer, and with it a new image.

    upper directory → tar (whiteouts become .wh. names again) → gzip blob → unpacked as any layer → config → rows

    upper directory → tar (whiteouts become .wh. names again) → gzip blob → unpacked as any layer → rows
id must come out the same, so what was committed can be pushed, saved and loaded. Read next: tarwriter.py, layers.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidock.image import imports
from minidock.image.content import BlobWriter
from minidock.image.tarwriter import TarWriter
from minidock.image.unpack import OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT
from minidock.wire import times
from minidock.wire.errors import ServerError

LEVEL = 3  # of gzip: three times as fast as its usual 6, and a tenth larger
_REDIRECT = "trusted.overlay.redirect"
_PLACES = frozenset(("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"))


@dataclass(frozen=True)
class CommitRequest:
    """What a commit says of the new image. ``settings`` are the container's, as an image config writes them."""

    settings: dict[str, Any]
    changes: Sequence[str] = ()
    author: str = ""
    comment: str = ""
    command: str = ""
    container: str = ""


class LayerWriter(TarWriter):
    """An overlay's upper directory as a layer's tar. Left out are the empty places that a start makes to mount on."""

    def entry(self, fd: int, shown: str) -> None:
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            folder, _, name = shown.rpartition("/")
            self._mark(f"{folder}/{WHITEOUT.decode()}{name}" if folder else WHITEOUT.decode() + name)
        elif not (shown in _PLACES and stat.S_ISREG(status.st_mode) and status.st_size == 0):
            super().entry(fd, shown)

    def tree(self, directory: int, shown: str, depth: int = 0) -> None:
        attributes = os.listxattr(f"/proc/self/fd/{directory}")
        if _REDIRECT in attributes:
            raise ServerError(f"commit {shown[:200]!r}: the directory was renamed by overlayfs's redirect_dir")
        if OPAQUE_ATTRIBUTE in attributes:
            self._mark(f"{shown}/{OPAQUE.decode()}")
        super().tree(directory, shown, depth)

    def _mark(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.mode = 0
        self._header(info)


def write_layer(upper: Path, blob: BlobWriter) -> str:
    """Writes the layer of an upper directory as gzip; returns its diff id."""
    deflate, tar = zlib.compressobj(LEVEL, wbits=31), hashlib.sha256()

    def put(piece: bytes) -> None:
        tar.update(piece)
        blob.write(deflate.compress(piece))

    writer = LayerWriter(put)
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer.tree(fd, "")
    finally:
        os.close(fd)
    writer.finish()
    blob.write(deflate.flush())
    return "sha256:" + tar.hexdigest()


def new_config(base: bytes, layers: int, diff_id: str, wish: CommitRequest) -> bytes:
    """The new image's config: the old one's with one more layer. Raises InvalidArgument for a wrong change."""
    config: dict[str, Any] = json.loads(base)
    settings = {**(config.get("config") or {}), **wish.settings}
    for change in wish.changes:
        imports.apply_change(settings, change)
    created = times.rfc3339(times.now())
    history = list(config.get("history") or [])
    told = sum(not entry.get("empty_layer") for entry in history)
    history += [{"created": config.get("created") or times.NEVER}] * (layers - told)
    step = {"created": created, "created_by": wish.command, "author": wish.author, "comment": wish.comment}
    rootfs = {"type": "layers", "diff_ids": [*(config.get("rootfs") or {}).get("diff_ids", []), diff_id]}
    config |= {"config": settings, "created": created, "rootfs": rootfs, "author": wish.author}
    config |= {"comment": wish.comment, "container": wish.container}
    config["history"] = [*history, {key: value for key, value in step.items() if value}]
    config.pop("container_config", None)
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
