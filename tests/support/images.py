"""Layers and image archives made by hand, and an image store below a temporary folder, for the tests of images.

`tar(file("a", b"x"), symlink("b", "a"))` is a layer; `docker_archive([layer], ["x:1"])` what `docker save` would write.
Nothing here is checked or cleaned: hostile names and numbers go through as they are. Read next: registries.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidock.db import Database
from minidock.image.model import Image, RegistryConfig
from minidock.image.progress import ProgressLine
from minidock.image.store import ImageStore

Item = tuple[tarfile.TarInfo, bytes]


def item(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **attributes: Any) -> Item:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def file(name: str, data: bytes = b"", **attributes: Any) -> Item:
    return item(name, data=data, **attributes)


def directory(name: str, **attributes: Any) -> Item:
    return item(name, tarfile.DIRTYPE, **attributes)


def symlink(name: str, target: str, **attributes: Any) -> Item:
    return item(name, tarfile.SYMTYPE, linkname=target, **attributes)


def hard_link(name: str, target: str, **attributes: Any) -> Item:
    return item(name, tarfile.LNKTYPE, linkname=target, **attributes)


def tar(*items: Item, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in items:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image_config(layers: Sequence[bytes], **config: Any) -> bytes:
    """The config of an image made of these (uncompressed) layers; `config` is its inner object."""
    value = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }
    return json.dumps(value).encode()


def docker_archive(
    layers: Sequence[bytes], tags: Sequence[str] = (), config: bytes | None = None, **table: Any
) -> bytes:
    """A `docker save` archive; `table` overrides fields of its line in manifest.json."""
    line = {"Config": "config.json", "RepoTags": list(tags), "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    return tar(
        file("config.json", config or image_config(layers)),
        *(file(f"{n}/layer.tar", layer) for n, layer in enumerate(layers)),
        file("manifest.json", json.dumps([line | table]).encode()),
    )


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@dataclass(frozen=True)
class Images:
    """A store, what it reported, and what is on disk."""

    root: Path
    store: ImageStore
    lines: list[ProgressLine]

    def say(self, line: ProgressLine) -> None:
        self.lines.append(line)

    def load(self, archive: bytes) -> list[Image]:
        return self.store.load(io.BytesIO(archive), self.say)

    def unpacked(self, layer: bytes) -> Path:
        """Imports a layer; its directory."""
        image = self.store.import_rootfs(io.BytesIO(layer), None, "", [])
        return self.store.layers_dir / self.store.lowers(image)[0]

    def pull(self, ref: str) -> Image:
        return self.store.pull(ref, None, self.say)

    def statuses(self) -> list[str]:
        return [line.status for line in self.lines if line.current is None]

    def left(self) -> dict[str, list[str]]:
        """What is in the folders that hold layers, blobs and work in progress."""
        return {name: sorted(os.listdir(self.root / name)) for name in ("layers", "content/sha256", "tmp")}


NOTHING: dict[str, list[str]] = {"layers": [], "content/sha256": [], "tmp": []}


@contextmanager
def images(root: Path, **registries: tuple[str, ...]) -> Iterator[Images]:
    root.mkdir(exist_ok=True)
    (root / "trash").mkdir(exist_ok=True)

    def discard(path: Path) -> None:
        path.rename(root / "trash" / f"{path.name}.{os.urandom(4).hex()}")

    db = Database(root / "minidock.db")
    try:
        yield Images(root, ImageStore(root, db, RegistryConfig(**registries), discard), [])
    finally:
        db.close()


def tree(top: Path) -> dict[str, str]:
    """Everything below a folder: path → kind, mode, owner, device, and content or target. Times are left out."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder) / name
            info = path.lstat()
            what = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid}"
            if stat.S_ISREG(info.st_mode):
                what += " " + digest(path.read_bytes())[:20]
            elif stat.S_ISLNK(info.st_mode):
                what += f" -> {os.readlink(path)}"
            elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                what += f" {os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
            found[str(path.relative_to(top))] = what
    return found
