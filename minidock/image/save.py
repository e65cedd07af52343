"""`docker save`: images as one tar that is a docker archive and an OCI layout at once, as Docker writes it since 25.

    oci-layout  index.json  blobs/sha256/<hex> …   for OCI's readers: every name is a line of the index
    manifest.json                                  for docker load: configs and layers by their paths, with their tags

The tar is made as it is read, a piece at a time, from blobs that are in the content store: nothing is copied, and
nothing held in memory. A layer that two images share is in it once. Times are 0, so the same images give the same tar.
Read next: package.py; archive.py, which reads such tars.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from minidock.image import digest as digests
from minidock.image import reference
from minidock.image.content import Content
from minidock.image.layers import Layers
from minidock.image.manifest import INDEXES, host_platform
from minidock.image.package import Package, as_json, pack
from minidock.image.records import Records
from minidock.image.reference import Reference
from minidock.wire.errors import InvalidArgument

PIECE = 1 << 20
_BLOCK = 512


@dataclass(frozen=True)
class Chosen:
    """An image, and the names that it is saved under; none if it was asked for by its id."""

    ident: str
    names: tuple[Reference, ...]


def choose(records: Records, wanted: Sequence[str]) -> list[Chosen]:
    """What to save, in the order asked for. A repository without a tag means all its tags. Raises NotFound."""
    if not wanted:
        raise InvalidArgument("save image: no image was named")
    found: dict[str, dict[str, Reference]] = {}
    for text in wanted:
        for ident, name in _meant(records, text):
            names = found.setdefault(ident, {})
            if name:
                names[str(name)] = name
    return [Chosen(ident, tuple(names.values())) for ident, names in found.items()]


def _meant(records: Records, text: str) -> list[tuple[str, Reference | None]]:
    ident = records.resolve(text) if text.startswith("sha256:") or len(text) == 64 else None
    if ident:
        return [(ident, None)]
    ref = reference.parse(text)
    if not (ref.tag or ref.digest) and (all_of_it := records.tagged(ref.name)):
        return [(owner, name) for name, owner in all_of_it]
    named = ref.with_default_tag()
    return [(records.resolve(text), named if named.tag and records.named(named) and not named.digest else None)]


def write(records: Records, content: Content, layers: Layers, chosen: Sequence[Chosen]) -> Generator[bytes, None, None]:
    """The tar of some images. What it needs is checked before the first piece, and held until the last."""
    packages = [pack(records, content, one.ident) for one in chosen]
    return _stream(content, layers, packages, chosen)


def _stream(
    content: Content, layers: Layers, packages: Sequence[Package], chosen: Sequence[Chosen]
) -> Generator[bytes, None, None]:
    with layers.holding({part for package in packages for part in package.parts()}):
        yield from _directory("blobs")
        yield from _directory("blobs/sha256")
        small = {digests.of(data): data for package in packages for data in (package.config, package.document)}
        for digest, data in small.items():
            yield from _file(_path(digest), data)
        for digest in dict.fromkeys(layer.digest for package in packages for layer in package.layers):
            yield from _blob(content, digest)
        yield from _file("index.json", _index(packages, chosen))
        yield from _file("manifest.json", _table(packages, chosen))
        yield from _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        yield bytes(2 * _BLOCK)


def _path(digest: str) -> str:
    return f"blobs/sha256/{digests.hex_of(digest)}"


def _index(packages: Sequence[Package], chosen: Sequence[Chosen]) -> bytes:
    entries = []
    for package, one in zip(packages, chosen, strict=True):
        line = as_json(package.descriptor) | {"platform": _platform(package)}
        entries += [line | {"annotations": _annotations(name)} for name in one.names] or [line]
    value = {"schemaVersion": 2, "mediaType": INDEXES[1], "manifests": entries}
    return json.dumps(value, separators=(",", ":")).encode()


def _platform(package: Package) -> dict[str, str]:
    config = json.loads(package.config)
    found = {"architecture": config.get("architecture") or host_platform().architecture, "os": "linux"}
    return found | ({"variant": config["variant"]} if config.get("variant") else {})


def _annotations(name: Reference) -> dict[str, str]:
    return {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag}


def _table(packages: Sequence[Package], chosen: Sequence[Chosen]) -> bytes:
    lines = [
        {
            "Config": _path(package.image),
            "RepoTags": [name.familiar() for name in one.names] or None,
            "Layers": [_path(layer.digest) for layer in package.layers],
        }
        for package, one in zip(packages, chosen, strict=True)
    ]
    return json.dumps(lines, separators=(",", ":")).encode()


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode = size, kind, mode
    return info.tobuf(tarfile.GNU_FORMAT)


def _directory(name: str) -> Iterable[bytes]:
    return (_header(name, 0, tarfile.DIRTYPE, 0o755),)


def _file(name: str, data: bytes) -> Iterable[bytes]:
    return (_header(name, len(data)), data, bytes(-len(data) % _BLOCK))


def _blob(content: Content, digest: str) -> Iterator[bytes]:
    size = content.path(digest).stat().st_size
    yield _header(_path(digest), size)
    with content.open(digest) as file:
        while piece := file.read(PIECE):
            yield piece
    yield bytes(-size % _BLOCK)
