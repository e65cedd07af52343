"""The image store: what the engine asks of images. One verb a method; each blocks, and may be called from any thread.

    images/                      where it is told
    resolve list tag remove …    records.py (rows), removal.py (Docker's rules for rmi)
    pull                         pull.py, registry.py
    load import_rootfs commit    archive.py, imports.py, commit.py
    add_step find_step           commit.py: what a build's steps make
    save push                    package.py, save.py, push.py, upload.py
    login search inspect_at_…    login.py, search.py, inspection.py
    lowers layers_dir            layers.py, unpack.py

An image exists from the moment its row is committed, which is after all its layers are in place; whatever a crash
leaves before that is collected here at the next start.
"""

from __future__ import annotations

import builtins
import json
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from minidock.db import Database, WriteFailed
from minidock.image import archive, commit, config, digest, durable, imports, layers, reference, save
from minidock.image.commit import CommitRequest, StepRequest
from minidock.image.content import CHUNK, Content
from minidock.image.layers import Layers
from minidock.image.model import Auth, Found, Image, RegistryConfig, Removed
from minidock.image.progress import Meter, Progress, ProgressLine
from minidock.image.records import LayerRow, Records
from minidock.image.removal import InUse, Removal
from minidock.wire.errors import InvalidArgument, NotFound
from minidock.wire.names import short_id

if TYPE_CHECKING:
    from minidock.image.inspection import AtRegistry
    from minidock.image.pull import Puller
    from minidock.image.push import Pusher


class ImageStore:
    """The images below a data root. ``discard`` moves a path away at once, and deletes it when there is time."""

    def __init__(
        self,
        root: Path,
        db: Database,
        registry: RegistryConfig,
        discard: Callable[[Path], None],
    ) -> None:
        (root / "tmp").mkdir(mode=0o700, exist_ok=True)
        self._records = Records(db)
        self._db = db
        self._content = Content(root)
        self._layers = Layers(root, self._records, self._content, discard)
        self._registries, self._lock = registry, threading.Lock()
        self._puller: Puller | None = None
        self._pusher: Pusher | None = None
        self._layers.collect()

    # What there is

    def resolve(self, ref: str) -> Image:
        """By reference, id or the first digits of an id. Raises NotFound, Ambiguous, InvalidArgument."""
        image = self._records.image(self._records.resolve(ref))
        if image is None:
            raise NotFound(f"No such image: {ref}")
        return image

    def of_container(self, ident: str) -> Image:
        """What a container was made from: there for it, also if `rmi -f` took the image since. Raises NotFound."""
        image = self._records.image_of_container(ident)
        if image is None:
            raise NotFound(f"No such image: {ident}")
        return image

    def list(self) -> builtins.list[Image]:
        """All images, newest first."""
        return self._records.images()

    @property
    def layers_dir(self) -> Path:
        """What ``lowers`` is relative to."""
        return self._layers.directory

    def lowers(self, image: Image) -> builtins.list[str]:
        """What overlayfs is to mount for the image, the top first, relative to ``layers_dir``; always one at least."""
        return self._layers.lowers(image.diff_ids)

    def layer_sizes(self, image: Image) -> builtins.list[int]:
        """The bytes of each layer's files, lowest first."""
        rows = [self._layers.present(name) for name in layers.names(image.diff_ids)]
        return [row.size if row else 0 for row in rows]

    # Names

    def tag(self, ref: str, target: str) -> None:
        """Gives an image another name."""
        name = reference.parse(target).with_default_tag()
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        if name.familiar_name == "sha256":
            raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")
        with self._db.transaction():
            self._records.tag(name, self.resolve(ref).id)

    def remove(self, ref: str, force: bool, in_use: InUse, prune: bool = True) -> builtins.list[Removed]:
        """Takes a name away, or deletes an image; with ``prune`` also those below that had no other purpose.

        ``in_use`` gives the containers of an image id. Raises Conflict.
        """
        with self._db.transaction():
            image = self.resolve(ref)
            removed = Removal(self._records, image.id, force, in_use, prune).run(ref)
        gone = set(self._layers.collect())
        chains = [chain for chain in reversed(digest.chain_ids(image.diff_ids)) if chain in gone]
        return [*removed, *(Removed(deleted=chain) for chain in chains)]

    def release(self, in_use: InUse) -> None:
        """Deletes what was removed while containers had it, once none has it any more; on a full disk, another time."""
        if not self._records.retired():
            return
        with suppress(WriteFailed), self._db.transaction():
            for ident in self._records.retired():
                if not in_use(ident):
                    self._records.delete_image(ident)
        self._layers.collect()

    # How they come

    def pull(self, ref: str, auth: Auth | None, progress: Progress) -> Image:
        """From a registry. Pulls of one image at the same time are one pull."""
        return self.resolve(self.puller().pull(reference.parse(ref).with_default_tag(), auth, progress))

    def pull_all(self, ref: str, auth: Auth | None, progress: Progress) -> builtins.list[Image]:
        """All tags of a repository."""
        name = reference.parse(ref)
        return [self.resolve(ident) for ident in self.puller().pull_all(name, auth, progress)]

    def puller(self) -> Puller:
        """What pulls; made by the first pull, because urllib3 is 6 MB that a daemon which never pulls need not hold."""
        from minidock.image.pull import Puller

        with self._lock:
            if self._puller is None:
                self._puller = Puller(self._registries, self._records, self._content, self._layers, self._db)
            return self._puller

    def load(self, stream: BinaryIO, progress: Progress) -> builtins.list[Image]:
        """From an archive of `docker save` or an OCI layout, all its images or none."""
        with archive.opened(stream, self._content) as opened:
            images = opened.images()
            with self._layers.holding(_needed(images)):
                for image in images:
                    self._take(image, progress)
                durable.settle(self.layers_dir)
                with self._db.transaction():
                    for image in images:
                        self._write_down(image, progress)
        return [self.resolve(image.parsed.id) for image in images]

    def _take(self, image: archive.Found, progress: Progress) -> None:
        """Puts the layers and manifests of an archive's image in their places."""
        for name, member in zip(layers.names(image.parsed.diff_ids), image.layers, strict=True):

            def make(everyone: Progress, name: layers.LayerName = name, member: archive.Member = member) -> LayerRow:
                self._content.keep(member.writer, member.digest)
                meter = Meter(everyone, "Loading layer", short_id(name.diff_id), member.writer.size)
                return self._layers.unpack(name, member.digest, meter.add)

            self._layers.add(name, progress, make)
        for one in image.manifests:
            self._content.keep(one.writer, one.digest)

    def _write_down(self, image: archive.Found, progress: Progress) -> None:
        ident = self._add(image.config, image.parsed, [one.digest for one in image.manifests])
        for name in image.names:
            old = self._records.named(name)
            if old and old != ident:
                text = (
                    f"The image {name.familiar()} already exists, renaming the old one with ID {old} to empty string\n"
                )
                progress(ProgressLine(stream=text))
            self._records.tag(name, ident)
            progress(ProgressLine(stream=f"Loaded image: {name.familiar()}\n"))
        if not image.names:
            progress(ProgressLine(stream=f"Loaded image ID: {ident}\n"))

    def import_rootfs(self, stream: BinaryIO, ref: str | None, message: str, changes: Sequence[str]) -> Image:
        """From a tar of a root directory, as an image of one layer."""
        name = reference.parse(ref).with_default_tag() if ref else None
        imports.new_config(digest.of(b""), message, changes)  # bad instructions are told before a long upload
        with self._content.writer() as writer, ExitStack() as held:
            while data := stream.read(CHUNK):
                writer.write(data)
            held.enter_context(self._layers.holding([writer.digest, layers.UNNAMED]))
            self._content.keep(writer, writer.digest)
            row = self._layers.unpack_base(writer.digest)
            data = imports.new_config(row.diff_id, message, changes)
            durable.settle(self.layers_dir)
            with self._db.transaction():
                ident = self._add(data, config.parse(data))
                if name:
                    self._records.tag(name, ident)
        return self.resolve(ident)

    def commit(self, base: Image, upper: Path, ref: str | None, wish: CommitRequest) -> Image:
        """From a container's upper directory, as one more layer on the container's image."""
        name = reference.parse(ref).with_default_tag() if ref else None
        old = self._records.config_bytes(base.id)
        commit.new_config(old, len(base.diff_ids), digest.of(b""), wish)  # bad changes are told before the work
        with self._layers.holding([*digest.chain_ids(base.diff_ids), layers.UNNAMED]):
            diff_id = self._add_layer(base.diff_ids, upper)
            data = commit.new_config(old, len(base.diff_ids), diff_id, wish)
            with self._db.transaction():
                ident = self._add(data, config.parse(data))
                self._records.set_parent(ident, base.id)
                if name:
                    self._records.tag(name, ident)
        return self.resolve(ident)

    def _add_layer(self, below: Sequence[str], upper: Path) -> str:
        """An upper directory as one more layer on those of the diff ids ``below``; its diff id."""
        with self._content.writer() as writer:
            diff_id = commit.write_layer(upper, writer)
            blob = writer.digest
            self._content.keep(writer, blob)
        top = layers.names([*below, diff_id])[-1]
        self._layers.add(top, _nobody, lambda _: self._layers.unpack(top, blob, lambda _: None))
        durable.settle(self.layers_dir)
        return diff_id

    # How they are built

    def settings(self, image: Image) -> dict[str, Any]:
        """The ``config`` object of an image's config, for a build to go on from."""
        found = json.loads(self._records.config_bytes(image.id)).get("config") or {}
        return found | {"Env": list(image.config.env)}

    def add_step(self, base: Image | None, layer: Path | str, wish: StepRequest) -> Image:
        """The image of a build's step on ``base``. ``layer``: an upper directory, or the diff id of a layer that is
        here already; empty for a step that changed no file.
        """
        below = base.diff_ids if base else ()
        old = self._records.config_bytes(base.id) if base else None
        with self._layers.holding([*digest.chain_ids(below), layers.UNNAMED]):
            diff_id = self._add_layer(below, layer) if isinstance(layer, Path) else layer
            data = commit.step_config(old, len(below), diff_id, wish)
            parsed = config.parse(data)
            with self._db.transaction():
                ident = self._add(data, parsed)
                self._records.set_parent(ident, base.id if base else "", wish.key)
        return self.resolve(ident)

    def find_step(self, base: Image | None, key: str) -> Image | None:
        """The newest image that a step with this key made of ``base``: the build cache."""
        found = self._records.children(base.id if base else "", key)
        return self._records.image(found[-1]) if found else None

    def adopt(self, ident: str, base: Image | None, key: str) -> None:
        """From here on the cache knows an image, of a registry say, as the result of a step."""
        self._records.set_parent(ident, base.id if base else "", key)

    def parent(self, ident: str) -> str:
        """The id of the image that one came of; empty if there is none."""
        return self._records.parent(ident)

    def line(self, image: Image) -> builtins.list[str]:
        """The ids of an image and those that it came of, the image first."""
        found, ident = [], image.id
        while ident and ident not in found:
            found.append(ident)
            ident = self._records.parent(ident)
        return found

    # How they go

    def save(self, refs: Sequence[str]) -> Generator[bytes, None, None]:
        """A tar of images as ``docker save`` writes it, made as it is read; close it if it isn't read to its end."""
        return save.write(self._records, self._content, self._layers, save.choose(self._records, refs))

    def push(self, ref: str, auth: Auth | None, progress: Progress) -> None:
        """To a registry: a tag, or without one all tags of the repository."""
        self.pusher().push(reference.parse(ref), auth, progress)

    def pusher(self) -> Pusher:
        """What pushes; made by the first push, as the puller is by the first pull."""
        from minidock.image.push import Pusher

        with self._lock:
            if self._pusher is None:
                self._pusher = Pusher(self._registries, self._records, self._content, self._layers, self._db)
            return self._pusher

    def login(self, server: str, auth: Auth) -> str:
        """Whether a registry takes the credentials; an identity token, if it gives one. Raises Unauthorized."""
        from minidock.image import http, login

        return login.check(server, auth, self._registries, http.Timing())

    def inspect_at_registry(self, ref: str, auth: Auth | None) -> AtRegistry:
        """What a name stands for at its registry. Raises Unauthorized, Forbidden, NotFound, ServerError."""
        from minidock.image import http, inspection

        return inspection.inspect(reference.parse(ref).with_default_tag(), self._registries, auth, http.Timing())

    def search(self, term: str, limit: int, auth: Auth | None) -> builtins.list[Found]:
        """Repositories that a registry finds for a term."""
        from minidock.image import http, search

        return search.search(term, limit, auth, self._registries, http.Timing())

    def _add(self, data: bytes, parsed: config.ParsedConfig, manifests: Sequence[str] = ()) -> str:
        rows = [self._layers.present(name) for name in layers.names(parsed.diff_ids)]
        return self._records.add_image(data, sum(row.size for row in rows if row), manifests)


def _nobody(_: ProgressLine) -> None:
    """Takes progress that nobody watches."""


def _needed(images: Sequence[archive.Found]) -> set[str]:
    """The chain ids and blobs that the images of an archive are made of."""
    chains = {chain for image in images for chain in digest.chain_ids(image.parsed.diff_ids)}
    return chains | {member.digest for image in images for member in (*image.layers, *image.manifests)}
