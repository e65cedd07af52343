"""`docker commit`: what a container changed in its image's files → a layer, and with it a new image.

    upper directory → tar (whiteouts become .wh. names again) → gzip blob → unpacked as any layer → config → rows

The blob is unpacked like one from a registry, and its diff id must come out the same, so what was committed can be
pushed, saved and loaded. A step of a build is a commit, too, though it may have no layer. Read next: tarwriter.py,
layers.py.
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


@dataclass(frozen=True)
class StepRequest:
    """What a build's step makes: all settings of the new image, how the history tells it, the key of the cache."""

    settings: dict[str, Any]
    created_by: str
    key: str = ""
    author: str = ""


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
    imports.apply_changes(settings, wish.changes)
    told = {"created_by": wish.command, "author": wish.author, "comment": wish.comment}
    config |= {"author": wish.author, "comment": wish.comment, "container": wish.container}
    return _child(config, layers, diff_id, settings, told)


def step_config(base: bytes | None, layers: int, diff_id: str, wish: StepRequest) -> bytes:
    """The config of an image that a build's step makes; on nothing, or with no layer, where there is none."""
    config: dict[str, Any] = json.loads(base) if base else imports.empty_config()
    for key in ("container", "comment", "author"):
        config.pop(key, None)
    if wish.author:
        config["author"] = wish.author
    return _child(config, layers, diff_id, wish.settings, {"created_by": wish.created_by, "author": wish.author})


def _child(config: dict[str, Any], layers: int, diff_id: str, settings: dict[str, Any], told: dict[str, Any]) -> bytes:
    """The old config with one more entry of the history, and one more layer unless ``diff_id`` is empty."""
    created = times.rfc3339(times.now())
    history = list(config.get("history") or [])
    missing = layers - sum(not entry.get("empty_layer") for entry in history)
    history += [{"created": config.get("created") or times.NEVER}] * missing
    step = {"created": created, **told, "empty_layer": not diff_id}
    diff_ids = [*(config.get("rootfs") or {}).get("diff_ids", []), *([diff_id] if diff_id else [])]
    config |= {"config": settings, "created": created, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config["history"] = [*history, {key: value for key, value in step.items() if value}]
    config.pop("container_config", None)
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
