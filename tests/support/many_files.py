"""An image of many small files, as package managers make them: five layers, the lowest with busybox in it.

For test_many_files.py, and for `make bench`, where unpacking it is what is measured. The bytes are the same each time;
half of each file compresses.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon import ARCHIVES
from tests.support.images import digest, image_config

LAYERS = 5
A_FOLDER = 50  # files


def write(folder: Path, files: int, size: int, tag: str) -> Path:
    """Writes a docker archive of an image with so many files of `size` bytes; its path. Layers go through memory."""
    layers = [_busybox(folder)]
    per_layer, names = files // LAYERS, _names()
    for number in range(LAYERS):
        layer = _layer(random.Random(number), [next(names) for _ in range(per_layer)], size)
        layers = [_joined(layers[0], layer)] if number == 0 else [*layers, layer]
    config = image_config(layers, Cmd=["sh"])
    line = {"Config": "config.json", "RepoTags": [tag], "Layers": [f"{n}.tar" for n in range(LAYERS)]}
    path = folder / "many.tar"
    with tarfile.open(path, "w") as archive:
        _add(archive, "config.json", config)
        for number, layer in enumerate(layers):
            _add(archive, f"{number}.tar", layer)
        _add(archive, "manifest.json", json.dumps([line]).encode())
    return path


def _names() -> Iterator[str]:
    number = 0
    while True:
        yield f"many/{number // A_FOLDER:04}/{number:06}"
        number += 1


def _layer(chance: random.Random, names: list[str], size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        for name in names:
            _add(layer, name, chance.randbytes(size // 2) + name.encode() * (size // 2 // len(name)))
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _busybox(folder: Path) -> bytes:
    """The only layer of the busybox image."""
    box = folder / "busybox"
    box.mkdir()
    subprocess.run(["tar", "-xf", str(ARCHIVES["busybox"]), "-C", str(box)], check=True)
    (name,) = json.loads((box / "manifest.json").read_bytes())[0]["Layers"]
    data: bytes = (box / name).read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _joined(first: bytes, second: bytes) -> bytes:
    """Two tars as one: what ends the first is cut off."""
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        for member in archive:
            end = member.offset_data + -(-member.size // 512) * 512
    return first[:end] + second


def blobs(layout: Path) -> set[str]:
    """The digests of what `skopeo copy` wrote to an OCI layout, computed anew."""
    return {digest(path.read_bytes()) for path in (layout / "blobs/sha256").iterdir()}
