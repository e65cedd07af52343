"""`docker push`: an image of the store → a registry, with HEAD first, so that what is there is not sent again.

    package → for each layer: there? taken from a neighbour? uploaded → config → manifest, by its tag

Three layers are sent at a time. The manifest goes last, so a push that breaks off names nothing; its digest becomes one
of the image's names. Read next: package.py, upload.py.
"""

from __future__ import annotations

import io
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from minidock.db import Database
from minidock.image import layers, registry
from minidock.image.content import Content
from minidock.image.http import Timing, Unreachable
from minidock.image.layers import Layers
from minidock.image.manifest import Descriptor
from minidock.image.model import Auth, RegistryConfig
from minidock.image.package import Package, pack
from minidock.image.progress import Meter, Progress, ProgressLine
from minidock.image.records import Records
from minidock.image.reference import Reference
from minidock.image.upload import OCTETS, Destination
from minidock.wire.errors import Error, InvalidArgument, NotFound, ServerError
from minidock.wire.names import short_id

AT_ONCE = 3
MAX_SOURCES = 8  # repositories that a token is asked for


@dataclass(frozen=True)
class _Layer:
    """A layer to be sent: its blob, the name that lines about it have, and where it may be mounted from."""

    blob: Descriptor
    short: str
    source: str


class Pusher:
    """Pushes, each in the thread that asks for it."""

    def __init__(
        self, registries: RegistryConfig, records: Records, content: Content, store: Layers, db: Database
    ) -> None:
        self._registries, self._records, self._content, self._layers = registries, records, content, store
        self._db = db
        self.timing = Timing()

    def push(self, ref: Reference, auth: Auth | None, progress: Progress) -> None:
        """Pushes a tag, or all tags of a repository if ``ref`` has none. Raises NotFound, ServerError, Unauthorized."""
        if ref.digest:
            raise InvalidArgument("cannot push a digest reference")
        progress(ProgressLine(f"The push refers to repository [{ref.name}]"))
        for name, ident in self._chosen(ref):
            package = pack(self._records, self._content, ident)
            with self._layers.holding(package.parts() | {package.descriptor.digest}):
                self._push(name, package, auth, progress)

    def _chosen(self, ref: Reference) -> list[tuple[Reference, str]]:
        found = [(name, ident) for name, ident in self._records.tagged(ref.name) if ref.tag in ("", name.tag)]
        if not found:
            said = f"with the tag: {ref.familiar_name}" if not ref.tag else f"with the name: {ref.familiar()}"
            raise NotFound(f"An image does not exist locally {said}")
        return found

    def _push(self, ref: Reference, package: Package, auth: Auth | None, progress: Progress) -> None:
        sources = self._neighbours(ref, package)
        wanted = [
            _Layer(blob, short_id(diff_id), sources.get(blob.digest, ""))
            for blob, diff_id in zip(package.layers, package.diff_ids, strict=True)
        ]
        paths = list(dict.fromkeys(one.source for one in wanted if one.source))[:MAX_SOURCES]
        destination = self._destination(ref, auth, paths)
        try:
            for layer in wanted:
                progress(ProgressLine("Preparing", layer.short))
            self._send_all(destination, wanted, progress)
            self._send_config(destination, package)
            destination.put_manifest(ref.tag, package.document, package.media_type)
        finally:
            destination.close()
        self._write_down(ref, package)
        told = package.descriptor
        progress(ProgressLine(f"{ref.tag}: digest: {told.digest} size: {told.size}"))
        progress(ProgressLine(aux={"Tag": ref.tag, "Digest": told.digest, "Size": told.size}))

    def _destination(self, ref: Reference, auth: Auth | None, sources: list[str]) -> Destination:
        """The first endpoint of the registry itself that answers; mirrors are for pulling."""
        failure: Error | None = None
        for endpoint in registry.endpoints(ref.domain, self._registries):
            if endpoint.mirror:
                continue
            destination = Destination(endpoint, ref, auth, self.timing, sources)
            try:
                destination.ping()
                return destination
            except Unreachable as error:
                failure = registry.more_telling(failure, error)
                destination.close()
            except BaseException:
                destination.close()
                raise
        raise ServerError(failure.message if failure else f"reach {ref.domain}: no way to it")

    def _send_all(self, destination: Destination, wanted: list[_Layer], progress: Progress) -> None:
        blobs = {layer.blob.digest: layer for layer in wanted}.values()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="push") as pool:
            futures = [pool.submit(self._send, destination, layer, progress) for layer in blobs]
            wait(futures, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _send(self, destination: Destination, layer: _Layer, progress: Progress) -> None:
        if destination.has(layer.blob.digest):
            progress(ProgressLine("Layer already exists", layer.short))
            return
        meter = Meter(progress, "Pushing", layer.short, layer.blob.size)
        mounted = destination.send(layer.blob, layer.source, lambda: self._content.open(layer.blob.digest), meter)
        progress(ProgressLine(f"Mounted from {layer.source}" if mounted else "Pushed", layer.short))

    def _send_config(self, destination: Destination, package: Package) -> None:
        blob = Descriptor(OCTETS, package.image, len(package.config))
        if not destination.has(blob.digest):
            meter = Meter(lambda _: None, "", "", 0)
            destination.send(blob, "", lambda: io.BytesIO(package.config), meter)

    def _neighbours(self, ref: Reference, package: Package) -> dict[str, str]:
        """Blob → another repository of the same registry that must have it, since we had an image from or in it."""
        wanted, found = {layer.digest for layer in package.layers}, dict[str, str]()
        for ident in self._records.ids():
            paths = [name.path for name in self._records.digests(ident) if name.domain == ref.domain]
            paths = [path for path in paths if path != ref.path]
            image = self._records.image(ident) if paths else None
            for name in layers.names(image.diff_ids) if image else ():
                row = self._records.layer(name.chain_id)
                if row and row.blob in wanted:
                    found.setdefault(row.blob, paths[0])
        return found

    def _write_down(self, ref: Reference, package: Package) -> None:
        digest = self._content.put(package.document)
        with self._db.transaction():
            if self._records.image(package.image):  # it may have been removed meanwhile
                self._records.add_manifest(digest, package.image)
                self._records.add_digest(ref.by_digest(digest), package.image)
