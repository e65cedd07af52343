"""What a registry has under a name, without a pull of it: a descriptor, and what machines it is for.

An index lists its platforms; a single image says its own in its config, which is fetched for that. Serves
GET /distribution/{name}/json. Read next: registry.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidock.image import config, manifest, registry
from minidock.image.http import Timing
from minidock.image.jsonio import Fields, parse_object
from minidock.image.manifest import Descriptor, Manifest
from minidock.image.model import Auth, ImagePlatform, RegistryConfig
from minidock.image.reference import Reference
from minidock.image.registry import Denied, Repository
from minidock.wire.errors import Forbidden, Unauthorized


@dataclass(frozen=True)
class AtRegistry:
    """What a name stands for at its registry: a manifest or an index."""

    descriptor: Descriptor
    platforms: tuple[ImagePlatform, ...]


def inspect(ref: Reference, registries: RegistryConfig, auth: Auth | None, timing: Timing) -> AtRegistry:
    """What ``ref`` stands for. Raises Unauthorized, Forbidden, NotFound, ServerError."""
    try:
        repository, document = registry.open_manifest(ref, registries, auth, timing)
    except Denied as error:
        raise (Forbidden if error.known else Unauthorized)(error.said) from None
    try:
        found = manifest.parse(document.data, document.media_type)
        descriptor = Descriptor(document.media_type, document.digest, len(document.data))
        if isinstance(found, Manifest):
            return AtRegistry(descriptor, _own(repository, found.config))
        return AtRegistry(descriptor, tuple(entry.platform for entry in found))
    finally:
        repository.close()


def _own(repository: Repository, descriptor: Descriptor) -> tuple[ImagePlatform, ...]:
    data = repository.small_blob(descriptor, config.MAX_CONFIG, "image config")
    return (manifest.platform_of(Fields(parse_object(data, "image config", config.MAX_CONFIG), "image config")),)
