"""`docker pull`: a reference → an image in the store, every byte checked on the way.

    manifest (or index → manifest for this machine) → config → for each layer: download, unpack → rows

Layers that are here already are not fetched again. Three layers are worked on at a time; each is unpacked as soon as
it has come, in whatever order that is, because a layer's directory does not depend on the ones below it. An image is
written down at the end, in one transaction; what a failed pull leaves is collected. Read next: registry.py, layers.py.
"""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from minidock.db import Database
from minidock.image import config as configs
from minidock.image import digest as digests
from minidock.image import durable, layers, manifest, registry
from minidock.image.content import Content
from minidock.image.flights import Flights
from minidock.image.http import Timing
from minidock.image.layers import LayerName, Layers
from minidock.image.manifest import Descriptor, Manifest
from minidock.image.model import Auth, RegistryConfig
from minidock.image.progress import Meter, Progress, ProgressLine
from minidock.image.records import LayerRow, Records
from minidock.image.reference import Reference, is_tag
from minidock.image.registry import Document, Repository
from minidock.wire.errors import InvalidArgument, NotFound

AT_ONCE = 3
MAX_NESTED = 3


@dataclass(frozen=True)
class _Wanted:
    """What a reference turned out to be: the documents on the way (index, manifest), and the image's parts."""

    documents: tuple[Document, ...]
    manifest: Manifest
    config: bytes
    parsed: configs.ParsedConfig

    @property
    def layers(self) -> list[tuple[LayerName, Descriptor]]:
        return list(zip(layers.names(self.parsed.diff_ids), self.manifest.layers, strict=True))

    def parts(self) -> set[str]:
        """Everything that must not be collected meanwhile."""
        names = {name.chain_id for name, _ in self.layers} | {layer.digest for _, layer in self.layers}
        return names | {document.digest for document in self.documents}


class Puller:
    """Pulls, each in the thread that asks for it."""

    def __init__(
        self, registries: RegistryConfig, records: Records, content: Content, store: Layers, db: Database
    ) -> None:
        self._registries, self._records, self._content, self._layers = registries, records, content, store
        self._db = db
        self._flights = Flights()
        self.timing = Timing()

    def pull(self, ref: Reference, auth: Auth | None, progress: Progress) -> str:
        """Pulls what ``ref`` names; returns the image's id. Pulls of one reference at the same time are one."""
        ident, news = self._shared(ref, auth, progress)
        _tell(ref, news, progress)
        return ident

    def pull_all(self, ref: Reference, auth: Auth | None, progress: Progress) -> list[str]:
        """Pulls all tags of a repository, one after another; returns the images' ids."""
        tags = [replace(ref, tag=tag) for tag in registry.tags(ref, self._registries, auth, self.timing) if is_tag(tag)]
        if not tags:
            raise NotFound(f"repository {ref.familiar_name} not found: it has no tags")
        found = [self._shared(tagged, auth, progress) for tagged in tags]
        _tell(ref, any(news for _, news in found), progress)
        return [ident for ident, _ in found]

    def _shared(self, ref: Reference, auth: Auth | None, progress: Progress) -> tuple[str, bool]:
        return self._flights.share((str(ref), auth), progress, lambda everyone: self._pull(ref, auth, everyone))

    def _pull(self, ref: Reference, auth: Auth | None, progress: Progress) -> tuple[str, bool]:
        """The image's id, and whether the reference stands for another one since."""
        repository, document = registry.open_manifest(ref, self._registries, auth, self.timing)
        try:
            progress(ProgressLine(f"Pulling from {ref.path}", ref.digest or ref.tag))
            wanted = self._examine(repository, document)
            before = self._records.named(ref)
            with self._layers.holding(wanted.parts()):
                if not self._complete(wanted):
                    self._fetch_layers(repository, wanted, progress)
                ident = self._write_down(ref, wanted)
        finally:
            repository.close()
        progress(ProgressLine(f"Digest: {document.digest}"))
        return ident, before != ident

    def _examine(self, repository: Repository, document: Document) -> _Wanted:
        """Follows an index to the manifest for this machine, and gets the config."""
        documents = [document]
        for _ in range(MAX_NESTED):
            found = manifest.parse(documents[-1].data, documents[-1].media_type)
            if isinstance(found, Manifest):
                data = self._config(repository, found.config)
                parsed = configs.parse(data)
                if len(parsed.diff_ids) != len(found.layers):
                    raise InvalidArgument("read manifest: it does not list the layers that the image config lists")
                return _Wanted(tuple(documents), found, data, parsed)
            entry = manifest.choose(found, manifest.host_platform())
            documents.append(repository.manifest(entry.descriptor.digest))
        raise InvalidArgument("read manifest: indexes are nested too deep")

    def _config(self, repository: Repository, descriptor: Descriptor) -> bytes:
        if self._records.image(descriptor.digest):
            return self._records.config_bytes(descriptor.digest)
        return repository.small_blob(descriptor, configs.MAX_CONFIG, "image config")

    def _complete(self, wanted: _Wanted) -> bool:
        known = self._records.image(digests.of(wanted.config))
        return known is not None and all(self._layers.present(name) for name, _ in wanted.layers)

    def _fetch_layers(self, repository: Repository, wanted: _Wanted, progress: Progress) -> None:
        missing = []
        for name, layer in wanted.layers:
            there = self._layers.present(name)
            progress(ProgressLine("Already exists" if there else "Pulling fs layer", layer.short))
            missing += [] if there else [(name, layer)]
        for _, layer in missing[AT_ONCE:]:
            progress(ProgressLine("Waiting", layer.short))
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull") as pool:
            futures = [pool.submit(self._fetch_layer, repository, *pair, progress) for pair in missing]
            wait(futures, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _fetch_layer(self, repository: Repository, name: LayerName, layer: Descriptor, progress: Progress) -> None:
        def make(everyone: Progress) -> LayerRow:
            if not self._content.has(layer.digest):
                self._flights.share(layer.digest, everyone, lambda all_: self._download(repository, layer, all_))
            return self._layers.unpack(name, layer.digest, Meter(everyone, "Extracting", layer.short, layer.size).add)

        self._layers.add(name, progress, make)
        progress(ProgressLine("Pull complete", layer.short))

    def _download(self, repository: Repository, layer: Descriptor, progress: Progress) -> None:
        with self._content.writer() as writer:
            repository.blob(layer, writer, Meter(progress, "Downloading", layer.short, layer.size))
            progress(ProgressLine("Verifying Checksum", layer.short))
            self._content.keep(writer, layer.digest)
        progress(ProgressLine("Download complete", layer.short))

    def _write_down(self, ref: Reference, wanted: _Wanted) -> str:
        for document in wanted.documents:
            self._content.put(document.data)
        rows = [self._layers.present(name) for name, _ in wanted.layers]
        size = sum(row.size for row in rows if row)
        durable.settle(self._layers.directory)
        with self._db.transaction():
            documents = [document.digest for document in wanted.documents]
            ident = self._records.add_image(wanted.config, size, documents, root=documents[0])
            self._records.add_digest(ref.by_digest(documents[0]), ident)
            if not ref.digest:
                self._records.tag(ref, ident)
        return ident


def _tell(ref: Reference, news: bool, progress: Progress) -> None:
    said = "Downloaded newer image" if news else "Image is up to date"
    progress(ProgressLine(f"Status: {said} for {ref.familiar()}"))
