"""Manifests and indexes: which config and which layers make an image, and which image of several fits this machine.

Two families with one shape: Docker's "schema 2" and OCI's. They are read strictly: digests and sizes are checked before
anything is fetched by them, a document that could be read as both a manifest and an index is refused (CVE-2021-41190),
and the `urls` of a descriptor are ignored, because they would let a manifest send us anywhere (CVE-2020-15157).
See: OCI image-spec, manifest.md, image-index.md and descriptor.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.image import digest as digests
from minidock.image.jsonio import Fields, parse_object
from minidock.image.model import ImagePlatform
from minidock.wire.errors import InvalidArgument, NotFound, NotImplemented

MAX_MANIFEST = 4 << 20
MAX_DESCRIPTORS = 1000

_DOCKER, _OCI = "application/vnd.docker.", "application/vnd.oci.image."
MANIFESTS = (_DOCKER + "distribution.manifest.v2+json", _OCI + "manifest.v1+json")
INDEXES = (_DOCKER + "distribution.manifest.list.v2+json", _OCI + "index.v1+json")
CONFIGS = (_DOCKER + "container.image.v1+json", _OCI + "config.v1+json")
ACCEPT = ", ".join(MANIFESTS + INDEXES)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}
_ALSO_RUNS = {"amd64": ("386",), "arm64": ("arm",)}
_VARIANTS = {"arm64": ("v8", ""), "armv7l": ("v7", "v6", "v5", ""), "armv6l": ("v6", "v5", "")}


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about a blob: its digest and its exact size."""

    media_type: str
    digest: str
    size: int

    @property
    def short(self) -> str:
        """12 digits, as progress lines name a layer."""
        return digests.hex_of(self.digest)[:12]


@dataclass(frozen=True)
class Manifest:
    """One image: its config and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Platform:
    """An operating system is always linux here; ``variants`` in order of preference."""

    architecture: str
    variants: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(filter(None, ("linux", self.architecture, self.variants[0])))


@dataclass(frozen=True)
class IndexEntry:
    """One line of an index: an image (or index) with what it is for, and the names that an archive gives it."""

    descriptor: Descriptor
    platform: ImagePlatform
    annotations: dict[str, str]


def host_platform() -> Platform:
    """What this machine runs."""
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine, machine)
    return Platform(architecture, _VARIANTS.get(machine, _VARIANTS.get(architecture, ("",))))


def fits(platform: str, architecture: str) -> bool:
    """Whether ``--platform`` (``linux``, ``linux/amd64``, ``linux/amd64/v2``, ``amd64``; empty: any) means this one."""
    system, _, rest = platform.lower().partition("/")
    wanted = (rest if system == "linux" else platform.lower()).split("/")[0]
    return not wanted or _ARCHITECTURES.get(wanted, wanted) == architecture


def runs_here(architecture: str) -> bool:
    """Whether this machine's processors as a rule run such programs (a user may have taught the kernel more)."""
    host = host_platform().architecture
    return architecture in (host, *_ALSO_RUNS.get(host, ()))


def parse(data: bytes, media_type: str = "") -> Manifest | tuple[IndexEntry, ...]:
    """A manifest, or the entries of an index. ``media_type`` counts if the text itself does not say."""
    fields = Fields(parse_object(data, "manifest", MAX_MANIFEST), "manifest")
    kind = fields.text("mediaType") or media_type
    if fields.has("schemaVersion") and fields.size("schemaVersion") == 1:
        raise NotImplemented("read manifest: Docker's schema 1 is no longer in use", "push the image again")
    if fields.has("manifests") and (fields.has("layers") or fields.has("config")):
        raise InvalidArgument("read manifest: it is both a manifest and an index")
    if fields.has("manifests") and kind not in MANIFESTS:
        return tuple(_entry(item) for item in _bounded(fields, "manifests"))
    if fields.has("layers") and kind not in INDEXES:
        return _manifest(fields)
    raise InvalidArgument(f"read manifest: neither a manifest nor an index (media type {kind[:80]!r})")


def _manifest(fields: Fields) -> Manifest:
    config = _descriptor(fields.inner("config"))
    if config.media_type not in CONFIGS:
        raise InvalidArgument(f"read manifest: it holds no image (its config is {config.media_type[:80]!r})")
    layers = tuple(_descriptor(Fields(item, "manifest: layer")) for item in _bounded(fields, "layers"))
    return Manifest(config, layers)


def _entry(item: object) -> IndexEntry:
    fields = Fields(item, "index: manifest")
    return IndexEntry(_descriptor(fields), platform_of(fields.inner("platform")), fields.labels("annotations"))


def platform_of(fields: Fields) -> ImagePlatform:
    """What an index's line, or an image config, is for: both call the fields the same."""
    return ImagePlatform(
        fields.text("os"),
        fields.text("architecture"),
        fields.text("variant"),
        fields.text("os.version"),
        fields.texts("os.features"),
    )


def _bounded(fields: Fields, key: str) -> list[object]:
    items = fields.items(key)
    if len(items) > MAX_DESCRIPTORS:
        raise InvalidArgument(f"read manifest: more than {MAX_DESCRIPTORS} {key}")
    return items


def _descriptor(fields: Fields) -> Descriptor:
    return Descriptor(fields.text("mediaType"), digests.check(fields.text("digest")), fields.size("size"))


def choose(entries: Sequence[IndexEntry], platform: Platform) -> IndexEntry:
    """The entry for this machine. Raises NotFound with Docker's text."""
    fitting = [
        entry
        for entry in entries
        if entry.platform.os in ("linux", "") and entry.platform.architecture in (platform.architecture, "")
    ]
    fitting.sort(key=lambda entry: not entry.platform.architecture)  # one that says nothing may be no image at all
    for variant in platform.variants:
        for entry in fitting:
            if entry.platform.variant == variant:
                return entry
    if fitting and len(platform.variants) == 1:
        return fitting[0]
    raise NotFound(f"no matching manifest for {platform} in the manifest list entries")
