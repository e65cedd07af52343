"""Write a one-layer image as an archive that `docker load`, `minidock load` and skopeo all take.

For: rootfs/alpine.py and rootfs/busybox.py, which say what is in the layer.

The archive is an OCI image layout (oci-layout, index.json, blobs/sha256/...) that also carries the manifest.json
of `docker save`, as Docker's own archives do since version 25. One tar, two readings.

The bytes are reproducible: entries are sorted, times come from the caller, owners have no names, and the layer is
not compressed (two zlib versions compress differently, and then the manifest digest would differ).
Read next: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_OCI = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname's machine → the name that images have


@dataclass(frozen=True)
class Entry:
    """One file of the layer. `path` is relative ("etc/passwd"); a directory has no data, a symlink has a target."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    kind: bytes = tarfile.REGTYPE
    data: bytes = b""
    target: str = ""


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, mode, kind=tarfile.DIRTYPE)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, 0o777, kind=tarfile.SYMTYPE, target=target)


def layer_tar(entries: Iterable[Entry]) -> bytes:
    """The layer as an uncompressed tar: one entry a path, parents first (sorting by path does that)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=lambda e: e.path.split("/")):
            info = tarfile.TarInfo(entry.path)
            info.type, info.mode, info.linkname = entry.kind, entry.mode, entry.target
            info.uid, info.gid, info.mtime = entry.uid, entry.gid, entry.mtime
            info.size = len(entry.data)
            tar.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def image_config(layer: bytes, architecture: str, created: int, comment: str) -> dict[str, object]:
    """The image config (OCI image-spec, config.md): what to run, and the diff id of the layer."""
    when = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "architecture": architecture,
        "config": {
            "Cmd": ["/bin/sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "created": when,
        "history": [{"comment": comment, "created": when, "created_by": "minidock rootfs"}],
        "os": "linux",
        "rootfs": {"diff_ids": [_digest(layer)], "type": "layers"},
    }


def write_image(path: Path, layer: bytes, config: Mapping[str, object], tags: Sequence[str], mtime: int) -> str:
    """Write the archive at `path` (by rename) and return the image id. `tags` are familiar names: "alpine:3.23"."""
    config_blob = _json(config)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(config_blob, "config.v1+json"),
            "layers": [_descriptor(layer, "layer.v1.tar")],
        }
    )
    files = {_blob_path(blob): blob for blob in (config_blob, layer, manifest)}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    files["index.json"] = _index(manifest, tags)
    docker = {"Config": _blob_path(config_blob), "RepoTags": list(tags), "Layers": [_blob_path(layer)]}
    files["manifest.json"] = _json([docker])
    folders = [Entry(name, 0o755, mtime=mtime, kind=tarfile.DIRTYPE) for name in ("blobs", "blobs/sha256")]
    entries = [Entry(name, 0o644, mtime=mtime, data=data) for name, data in files.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(layer_tar(folders + entries))
    part.rename(path)
    return _digest(config_blob)


def _index(manifest: bytes, tags: Sequence[str]) -> bytes:
    """index.json: one descriptor a tag, named as containerd and `docker save` do."""
    descriptors = []
    for tag in tags:
        notes = {
            "io.containerd.image.name": f"docker.io/library/{tag}",
            "org.opencontainers.image.ref.name": tag.partition(":")[2],
        }
        descriptors.append({**_descriptor(manifest, "manifest.v1+json"), "annotations": notes})
    return _json({"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": descriptors})


def _descriptor(blob: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _blob_path(blob: bytes) -> str:
    return "blobs/sha256/" + hashlib.sha256(blob).hexdigest()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
