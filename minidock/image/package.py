"""An image as it travels: a manifest, and under the digests that it names the config and the layers.

For what sends images away (save.py, push.py). An image that was pulled or loaded goes as it came, if its own manifest
is here with every layer that it lists: so digests stay equal from registry to registry. Any other (committed, imported,
from a docker archive, or sharing layers that came differently compressed) gets a manifest made of the blobs that its
layers were unpacked from; the same image gives the same bytes each time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from minidock.image import digest as digests
from minidock.image import layers, manifest
from minidock.image.content import Content
from minidock.image.manifest import CONFIGS, MANIFESTS, Descriptor, Manifest
from minidock.image.records import Records
from minidock.wire.errors import Error, ServerError

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_SUFFIXES = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}


@dataclass(frozen=True)
class Package:
    """``document`` is the manifest's bytes; ``layers`` name blobs of the content store, lowest first."""

    image: str
    document: bytes
    media_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]

    @property
    def descriptor(self) -> Descriptor:
        """Of the manifest."""
        return Descriptor(self.media_type, digests.of(self.document), len(self.document))

    def parts(self) -> set[str]:
        """What must not be collected while it is sent."""
        return {layer.digest for layer in self.layers} | set(digests.chain_ids(self.diff_ids))


def pack(records: Records, content: Content, ident: str) -> Package:
    """The image as it came, or else put together anew. Raises NotFound, ServerError if a layer's blob is gone."""
    config, parsed = records.config_bytes(ident), records.parsed(ident)
    rows = [records.layer(name.chain_id) for name in layers.names(parsed.diff_ids)]
    blobs = [row.blob if row else "" for row in rows]  # those that were checked to hold what the config lists
    for digest in records.manifests(ident):
        found = _as_it_came(content, digest)
        if found and found[0].config.digest == ident and [one.digest for one in found[0].layers] == blobs:
            read, data = found
            kind = str(json.loads(data).get("mediaType") or _kind(read))
            return Package(ident, data, kind, config, read.layers, parsed.diff_ids)
    made = tuple(_layer(content, blob) for blob in blobs)
    return Package(ident, _document(ident, config, made), MANIFESTS[1], config, made, parsed.diff_ids)


def _as_it_came(content: Content, digest: str) -> tuple[Manifest, bytes] | None:
    """A manifest that is kept; None for an index, and for what can't be read."""
    try:
        with content.open(digest) as file:
            data = file.read()
        found = manifest.parse(data)
    except Error:
        return None
    return (found, data) if isinstance(found, Manifest) else None


def _kind(read: Manifest) -> str:
    """The media type of a manifest that does not say: OCI's need not, Docker's always do."""
    return MANIFESTS[CONFIGS.index(read.config.media_type)]


def _layer(content: Content, blob: str) -> Descriptor:
    if not blob or not content.has(blob):
        raise ServerError("read layer: it is not in the content store", "remove the image and pull it again")
    with content.open(blob) as file:
        suffix = _SUFFIXES.get(file.read(2), "")
    return Descriptor(_LAYER + suffix, blob, content.path(blob).stat().st_size)


def _document(ident: str, config: bytes, made: tuple[Descriptor, ...]) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFESTS[1],
        "config": as_json(Descriptor(CONFIGS[1], ident, len(config))),
        "layers": [as_json(layer) for layer in made],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def as_json(descriptor: Descriptor) -> dict[str, object]:
    """As manifests and indexes write it."""
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
