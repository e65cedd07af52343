"""The rows about images: which there are, what they are called, which layers exist. All SQL of the part is here.

Tables (see db.py): images, tags, digests, manifests, layers. References are kept canonical and shown familiar. An Image
is put together from its rows each time, from a config that is parsed once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.db import Database
from minidock.image import config, digest, reference
from minidock.image.model import Image
from minidock.wire.errors import Ambiguous, Error, InvalidArgument, NotFound

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerRow:
    """A layer that is on disk: named by its chain id, made of ``blob``, on top of ``parent``."""

    chain_id: str
    diff_id: str
    parent: str | None
    size: int
    blob: str


class Records:
    """What the database says about images."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._parsed: dict[str, config.ParsedConfig] = {}

    # Images

    def image(self, ident: str) -> Image | None:
        """By full id. None if there is none, or if its config can't be read (which is logged)."""
        rows = self._db.query("SELECT size FROM images WHERE id = ? AND NOT removed", (ident,))
        return self._image(ident, rows[0]["size"]) if rows else None

    def image_of_container(self, ident: str) -> Image | None:
        """The same, also for one that was removed and is kept for the containers that have it."""
        rows = self._db.query("SELECT size FROM images WHERE id = ?", (ident,))
        return self._image(ident, rows[0]["size"]) if rows else None

    def images(self) -> list[Image]:
        """All, newest first."""
        rows = self._db.query("SELECT id, size FROM images WHERE NOT removed")
        found = [image for row in rows if (image := self._image(row["id"], row["size"]))]
        return sorted(found, key=lambda image: (image.created, image.id), reverse=True)

    def _image(self, ident: str, size: int) -> Image | None:
        try:
            parsed = self.parsed(ident)
        except Error as error:
            log.error("image %s is set aside: %s", ident, error)
            return None
        tags, digests = self.tags(ident), self.digests(ident)
        return Image(
            id=ident,
            tags=tuple(ref.familiar() for ref in tags),
            digests=tuple(ref.familiar() for ref in digests),
            created=parsed.created,
            size=size,
            architecture=parsed.architecture,
            variant=parsed.variant,
            diff_ids=parsed.diff_ids,
            config=parsed.config,
            history=parsed.history,
            author=parsed.author,
            comment=parsed.comment,
            parent=self.parent(ident),
            intermediate=not tags and not digests and bool(self.children(ident)),
        )

    def parsed(self, ident: str) -> config.ParsedConfig:
        """The config of an image. Raises InvalidArgument if it can't be read, NotFound."""
        known = self._parsed.get(ident)
        if known is None:
            data = self.config_bytes(ident)
            if digest.of(data) != ident:
                raise InvalidArgument("read image config: it does not have the digest that names it")
            known = self._parsed[ident] = config.parse(data)
        return known

    def config_bytes(self, ident: str) -> bytes:
        """The config as it was digested."""
        rows = self._db.query("SELECT config FROM images WHERE id = ?", (ident,))
        if not rows:
            raise NotFound(f"No such image: {ident}")
        return bytes(rows[0]["config"])

    def add_image(self, data: bytes, size: int, manifests: Sequence[str] = (), root: str = "") -> str:
        """Writes an image down, if it is new; its id. ``manifests`` go with the digest ``root``, or with the image."""
        ident = digest.of(data)
        with self._db.transaction() as connection:
            insert = "INSERT INTO images VALUES (?,?,?,0) ON CONFLICT (id) DO UPDATE SET removed = 0"
            connection.execute(insert, (ident, data, size))
            for one in manifests:
                connection.execute("INSERT OR IGNORE INTO manifests VALUES (?,?,?)", (one, ident, root))
        return ident

    def add_manifest(self, digest: str, ident: str) -> None:
        """A manifest that an image went by, and may go by again."""
        self._db.execute("INSERT OR IGNORE INTO manifests VALUES (?,?,?)", (digest, ident, digest))

    def manifests(self, ident: str) -> list[str]:
        """The digests of the manifests and indexes that an image came by."""
        rows = self._db.query("SELECT DISTINCT digest FROM manifests WHERE image = ? ORDER BY digest", (ident,))
        return [row["digest"] for row in rows]

    def delete_image(self, ident: str) -> None:
        """Forgets an image with all its names."""
        with self._db.transaction() as connection:
            self.retire(ident)
            connection.execute("DELETE FROM images WHERE id = ?", (ident,))
        self._parsed.pop(ident, None)

    def retire(self, ident: str) -> None:
        """Takes an image's names away and hides it: it is there for the containers that have it only."""
        with self._db.transaction() as connection:
            for table in ("tags", "digests", "manifests", "parents"):
                connection.execute(f"DELETE FROM {table} WHERE image = ?", (ident,))
            connection.execute("UPDATE images SET removed = 1 WHERE id = ?", (ident,))

    def retired(self) -> list[str]:
        """The ids of those that are kept for containers only."""
        return [row["id"] for row in self._db.query("SELECT id FROM images WHERE removed")]

    # Who came of whom

    def set_parent(self, ident: str, parent: str, step: str = "") -> None:
        """An image came of ``parent`` (empty: of nothing) by ``step``, the digest of a build's step."""
        self._db.execute("INSERT OR REPLACE INTO parents VALUES (?,?,?)", (ident, parent, step))

    def parent(self, ident: str) -> str:
        """The image that it came of; empty if there is none."""
        rows = self._db.query("SELECT parent FROM parents WHERE image = ?", (ident,))
        return rows[0]["parent"] if rows else ""

    def children(self, ident: str, step: str = "") -> list[str]:
        """The images that came of it, by ``step`` or by any; the newest last."""
        sql = "SELECT image FROM parents WHERE parent = ? AND ? IN ('', step) ORDER BY rowid"
        return [row["image"] for row in self._db.query(sql, (ident, step))]

    def ids(self, prefix: str = "") -> list[str]:
        """Ids that begin with ``sha256:`` + prefix (hexadecimal digits)."""
        rows = self._db.query("SELECT id FROM images WHERE id GLOB ? AND NOT removed", (f"sha256:{prefix}*",))
        return [row["id"] for row in rows]

    # Names

    def tags(self, ident: str) -> list[reference.Reference]:
        rows = self._db.query("SELECT reference FROM tags WHERE image = ? ORDER BY reference", (ident,))
        return [reference.parse(row["reference"]) for row in rows]

    def digests(self, ident: str) -> list[reference.Reference]:
        rows = self._db.query("SELECT reference FROM digests WHERE image = ? ORDER BY reference", (ident,))
        return [reference.parse(row["reference"]) for row in rows]

    def tagged(self, name: str) -> list[tuple[reference.Reference, str]]:
        """All tags of a (canonical) repository, with the ids of their images."""
        rows = self._db.query(
            "SELECT reference, image FROM tags WHERE substr(reference, 1, ?) = ? ORDER BY reference",
            (len(name) + 1, f"{name}:"),
        )
        return [(reference.parse(row["reference"]), row["image"]) for row in rows]

    def named(self, ref: reference.Reference) -> str | None:
        """The id of the image that a reference names. A digest counts more than a tag beside it, as for Docker."""
        table, key = ("digests", ref.by_digest(ref.digest)) if ref.digest else ("tags", ref)
        rows = self._db.query(f"SELECT image FROM {table} WHERE reference = ?", (str(key),))
        return rows[0]["image"] if rows else None

    def tag(self, ref: reference.Reference, ident: str) -> None:
        """Gives a name to an image; whatever had it loses it."""
        row = (str(ref), ident, time.time_ns())
        self._db.execute("INSERT OR REPLACE INTO tags VALUES (?,?,?)", row)

    def add_digest(self, ref: reference.Reference, ident: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO digests VALUES (?,?)", (str(ref), ident))

    def untag(self, ref: reference.Reference) -> None:
        """Forgets a name; with the last one by a digest also the manifests that the digest led to."""
        with self._db.transaction() as connection:
            if not ref.digest:
                connection.execute("DELETE FROM tags WHERE reference = ?", (str(ref),))
                return
            connection.execute("DELETE FROM digests WHERE reference = ?", (str(ref),))
            if not connection.execute("SELECT 1 FROM digests WHERE reference GLOB ?", (f"*@{ref.digest}",)).fetchone():
                connection.execute("DELETE FROM manifests WHERE root = ?", (ref.digest,))

    def resolve(self, text: str) -> str:
        """The id behind what a user wrote: an id, a reference, or the first digits of an id, tried in this order."""
        prefix = text.removeprefix("sha256:")
        is_hex = prefix != "" and len(prefix) <= 64 and not prefix.strip("0123456789abcdef")
        if len(prefix) == 64 and is_hex:
            if self._db.query("SELECT 1 FROM images WHERE id = ? AND NOT removed", (f"sha256:{prefix}",)):
                return f"sha256:{prefix}"
            raise NotFound(f"No such image: {text}")
        ref = None if text.startswith("sha256:") and is_hex else reference.parse(text).with_default_tag()
        ident = self.named(ref) if ref else None
        if ident is None and is_hex:
            ident = self._by_prefix(prefix, text)
        if ident is None:
            raise NotFound(f"No such image: {ref.familiar() if ref else text}")
        return ident

    def _by_prefix(self, prefix: str, text: str) -> str | None:
        found = self.ids(prefix)
        if len(found) > 1:
            raise Ambiguous(f"multiple IDs found with provided prefix: {text}")
        return found[0] if found else None

    # Layers and blobs

    def layer(self, chain_id: str) -> LayerRow | None:
        rows = self._db.query("SELECT * FROM layers WHERE chain_id = ?", (chain_id,))
        return LayerRow(*rows[0]) if rows else None

    def layers(self) -> list[LayerRow]:
        return [LayerRow(*row) for row in self._db.query("SELECT * FROM layers")]

    def add_layer(self, layer: LayerRow) -> None:
        row = (layer.chain_id, layer.diff_id, layer.parent, layer.size, layer.blob)
        self._db.execute("INSERT OR REPLACE INTO layers VALUES (?,?,?,?,?)", row)

    def delete_layer(self, chain_id: str) -> None:
        self._db.execute("DELETE FROM layers WHERE chain_id = ?", (chain_id,))

    def blobs(self) -> set[str]:
        """The digests of all blobs that something needs."""
        rows = self._db.query("SELECT blob AS digest FROM layers UNION SELECT digest FROM manifests")
        return {row["digest"] for row in rows}

    def chains_in_use(self) -> set[str] | None:
        """The chain ids of all images' layers. None if an image can't be read: then nothing may be called unused."""
        used: set[str] = set()
        for ident in [*self.ids(), *self.retired()]:
            try:
                used.update(digest.chain_ids(self.parsed(ident).diff_ids))
            except Error as error:
                log.error("image %s can't be read (%s): no layer is deleted", ident, error)
                return None
        return used
