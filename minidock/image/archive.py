"""`docker load`: archives of `docker save` and OCI image layouts, plain or gzip, from a stream that is read once.

The members are copied into files of ours below tmp/, numbered, and found again by their names in the archive; a name
never becomes a path and a link is only an entry in a dictionary (CVE-2014-9358: a "layer.tar" that was a symlink to a
file of the host). What the archive's own tables then say is checked: digests, sizes, diff ids. All images of an archive
are written down together at the end, or none. Read next: layers.py.

See: moby's image/spec/v1.2.md ("Combined Image JSON + Filesystem Changeset Format"); OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from minidock.image import config as configs
from minidock.image import decompress, manifest, reference
from minidock.image import digest as digests
from minidock.image.content import BlobWriter, Content
from minidock.image.jsonio import Fields, parse
from minidock.image.tarstream import TarStream
from minidock.wire.errors import Error, InvalidArgument

MAX_MEMBERS = 20_000
MAX_TABLE = 4 << 20  # manifest.json, index.json
MAX_KEPT = 256 << 10  # a manifest beside manifest.json
MAX_LINKS = 8
NESTED = 3  # an index in an index in an index

_NOT_ONE = "load archive: neither a docker archive nor an OCI layout"


@dataclass(frozen=True)
class Member:
    """A file of the archive, copied to tmp/."""

    writer: BlobWriter
    digest: str

    def read(self, limit: int, what: str) -> bytes:
        """All of it, if it is small."""
        if self.writer.size > limit:
            raise InvalidArgument(f"read {what}: larger than {limit} bytes")
        return self.writer.path.read_bytes()


@dataclass(frozen=True)
class Found:
    """An image of an archive: its config, its layers (lowest first), its manifests, and the names it is to have."""

    config: bytes
    parsed: configs.ParsedConfig
    layers: tuple[Member, ...]
    manifests: tuple[Member, ...]
    names: tuple[reference.Reference, ...]


class Archive:
    """The members of an archive by name. They are gone at the end of ``opened``."""

    def __init__(self, members: dict[str, Member], links: dict[str, str]) -> None:
        self._members, self._links = members, links

    def get(self, name: str) -> Member | None:
        """A member by its name, following links inside the archive, as names."""
        name = posixpath.normpath(name)
        for _ in range(MAX_LINKS):
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def need(self, name: str, what: str) -> Member:
        member = self.get(name)
        if member is None:
            raise InvalidArgument(f"load archive: {what} {name[:200]!r} is not in it")
        return member

    def blob(self, descriptor: manifest.Descriptor) -> Member:
        """A blob of an OCI layout, checked."""
        member = self.need("blobs/sha256/" + digests.hex_of(descriptor.digest), "blob")
        if (member.digest, member.writer.size) != (descriptor.digest, descriptor.size):
            raise InvalidArgument(f"load archive: blob {descriptor.digest} does not have the digest and size it should")
        return member

    def images(self) -> list[Found]:
        """What the archive holds, by manifest.json if it has one, else by index.json."""
        if table := self.get("manifest.json"):
            return self._docker_images(table)
        if table := self.get("index.json"):
            return self._oci_images(table)
        raise InvalidArgument(_NOT_ONE + ": no manifest.json and no index.json in it")

    def _docker_images(self, table: Member) -> list[Found]:
        items = parse(table.read(MAX_TABLE, "manifest.json"), "manifest.json", MAX_TABLE)
        if not isinstance(items, list):
            raise InvalidArgument("read manifest.json: not a list")
        found, kept = [], self._kept_manifests()
        for fields in (Fields(item, "manifest.json") for item in items):
            data = self.need(fields.text("Config"), "config").read(configs.MAX_CONFIG, "image config")
            layers = tuple(self.need(name, "layer") for name in fields.texts("Layers"))
            names = tuple(_tagged(name) for name in fields.texts("RepoTags"))
            own = kept.get((digests.of(data), *(layer.digest for layer in layers)))
            found.append(_found(data, layers, (own,) if own else (), names))
        return found

    def _kept_manifests(self) -> dict[tuple[str, ...], Member]:
        """Of an archive that is an OCI layout, too: its manifests, by the digests of config and layers."""
        found: dict[tuple[str, ...], Member] = {}
        for name, member in self._members.items():
            if name.startswith("blobs/") and member.writer.size <= MAX_KEPT:
                data = member.read(MAX_KEPT, "manifest")
                with suppress(Error):
                    if b"layers" in data and isinstance(inner := manifest.parse(data), manifest.Manifest):
                        found[(inner.config.digest, *(layer.digest for layer in inner.layers))] = member
        return found

    def _oci_images(self, table: Member) -> list[Found]:
        entries = manifest.parse(table.read(MAX_TABLE, "index.json"), manifest.INDEXES[1])
        if not isinstance(entries, tuple):
            raise InvalidArgument("read index.json: not an index")
        named: dict[manifest.Descriptor, list[reference.Reference]] = {}
        for entry in entries:
            if entry.platform.os != "unknown":  # attestations of a build
                named.setdefault(entry.descriptor, []).extend(_names(entry.annotations))
        return [self._oci_image(descriptor, tuple(names)) for descriptor, names in named.items()]

    def _oci_image(self, descriptor: manifest.Descriptor, names: tuple[reference.Reference, ...]) -> Found:
        """The image behind a descriptor: of an index, the one for this machine."""
        above: list[Member] = []
        for _ in range(NESTED):
            above.append(self.blob(descriptor))
            inner = manifest.parse(above[-1].read(manifest.MAX_MANIFEST, "manifest"), descriptor.media_type)
            if isinstance(inner, manifest.Manifest):
                data = self.blob(inner.config).read(configs.MAX_CONFIG, "image config")
                return _found(data, tuple(self.blob(layer) for layer in inner.layers), tuple(above), names)
            descriptor = manifest.choose(inner, manifest.host_platform()).descriptor
        raise InvalidArgument("load archive: indexes are nested too deep")


def _found(
    data: bytes, layers: tuple[Member, ...], manifests: tuple[Member, ...], names: tuple[reference.Reference, ...]
) -> Found:
    parsed = configs.parse(data)
    if len(layers) != len(parsed.diff_ids):
        raise InvalidArgument(f"load archive: {len(layers)} layers, but the image config lists {len(parsed.diff_ids)}")
    return Found(data, parsed, layers, manifests, names)


def _tagged(name: str) -> reference.Reference:
    found = reference.parse(name).with_default_tag()
    if found.digest:
        raise InvalidArgument(f"load archive: {name[:200]!r} names a digest, not a tag")
    return found


def _names(annotations: dict[str, str]) -> Iterator[reference.Reference]:
    """The names in an index: containerd's annotation has the whole name, OCI's may have it, or only a tag."""
    whole = annotations.get("io.containerd.image.name")
    short = annotations.get("org.opencontainers.image.ref.name", "")
    if whole or ":" in short:
        yield _tagged(whole or short)


@contextmanager
def opened(stream: BinaryIO, content: Content) -> Iterator[Archive]:
    """Copies an archive's members below tmp/ and gives access to them. Raises InvalidArgument."""
    with ExitStack() as files:
        members: dict[str, Member] = {}
        links: dict[str, str] = {}
        tar = TarStream(decompress.plain(stream), MAX_MEMBERS)
        for entry in tar:
            name = posixpath.normpath(entry.name)
            if entry.isreg() and entry.sparse is None:
                writer = files.enter_context(content.writer())
                for piece in tar.content():
                    writer.write(piece)
                writer.close()
                members[name] = Member(writer, writer.digest)
            elif entry.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname))
            elif entry.islnk():
                links[name] = posixpath.normpath(entry.linkname)
        tar.drain()
        yield Archive(members, links)
