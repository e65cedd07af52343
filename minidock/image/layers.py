"""Layers on disk: layers/<chain id>/diff, made once from a blob, never changed, shared by all images that have them.

A layer is unpacked below tmp/, its diff id is checked against the tar that was read, and only then it is renamed into
place and written into the database. What is in layers/ or content/ and in no row is a leftover, of a failed pull or of
a crash. ``collect`` takes it away, and with it what belonged to images that are gone; work under way holds what it has
put there already by ``holding``. Read next: unpack.py.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minidock.image import decompress
from minidock.image.content import Content
from minidock.image.digest import chain_ids, hex_of
from minidock.image.flights import Flights
from minidock.image.progress import Progress
from minidock.image.records import LayerRow, Records
from minidock.image.tarstream import TarStream
from minidock.image.unpack import Unpacker
from minidock.wire.errors import InvalidArgument

NOTHING = "nothing"  # an empty directory beside the layers', for images that have none
UNNAMED = "a layer whose name is not known yet"  # to be held while one is unpacked: nothing is collected then
Discard = Callable[[Path], None]


@dataclass(frozen=True)
class LayerName:
    """Which layer: its place in the chain, and the tar that it is made of."""

    chain_id: str
    diff_id: str
    parent: str | None


def names(diff_ids: Iterable[str]) -> list[LayerName]:
    """The layers of an image, lowest first."""
    diffs = list(diff_ids)
    chain = chain_ids(diffs)
    return [LayerName(*triple) for triple in zip(chain, diffs, [None, *chain], strict=False)]


class _Counted:
    """A file that reports how many bytes were read of it: what "Extracting" shows."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        self._file, self._count = file, count

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count(len(data))
        return data


class Layers:
    """The layers and blobs of a data root. ``discard`` takes a directory or file away for good, off the path."""

    def __init__(self, root: Path, records: Records, content: Content, discard: Discard) -> None:
        self.directory, self._tmp = root / "layers", root / "tmp"
        self._records, self._content, self._discard = records, content, discard
        self._flights = Flights()
        self._lock = threading.RLock()
        self._held: Counter[str] = Counter()
        self.directory.mkdir(mode=0o700, exist_ok=True)
        (root / NOTHING).mkdir(mode=0o755, exist_ok=True)

    @contextmanager
    def holding(self, wanted: Iterable[str]) -> Iterator[None]:
        """Keeps layers (chain ids) and blobs (digests) while an image is made of them; collects afterwards."""
        held = list(wanted)
        with self._lock:
            self._held.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(held)
                self._held = +self._held
            self.collect()

    @staticmethod
    def lowers(diff_ids: Iterable[str]) -> list[str]:
        """The layers as overlayfs takes them, the top first, relative to ``directory``; it takes no less than one."""
        return [f"{hex_of(chain)}/diff" for chain in reversed(chain_ids(diff_ids))] or [f"../{NOTHING}"]

    def present(self, layer: LayerName) -> LayerRow | None:
        """The layer's row, if it is on disk."""
        return self._records.layer(layer.chain_id)

    def add(self, layer: LayerName, progress: Progress, make: Callable[[Progress], LayerRow]) -> LayerRow:
        """The layer, made by ``make`` unless it is there, or somebody is just making it."""
        return self.present(layer) or self._flights.share(
            layer.chain_id, progress, lambda everyone: self.present(layer) or make(everyone)
        )

    def unpack(self, layer: LayerName, blob: str, count: Callable[[int], None]) -> LayerRow:
        """Unpacks a blob of the content store into the layer's place. ``count`` is told of bytes as they are read."""
        with self._staged() as stage, self._content.open(blob) as file:
            size, diff_id = _unpack(_Counted(file, count), stage)
            if diff_id != layer.diff_id:
                raise InvalidArgument(f"unpack layer: its diff id is {diff_id}, the image config says {layer.diff_id}")
            return self._publish(stage, LayerRow(layer.chain_id, layer.diff_id, layer.parent, size, blob))

    def unpack_base(self, blob: str) -> LayerRow:
        """Unpacks a blob as a lowest layer whose diff id nobody has said: an imported root directory."""
        with self._staged() as stage, self._content.open(blob) as file:
            size, diff_id = _unpack(file, stage)
            present = self._records.layer(diff_id)
            return present or self._publish(stage, LayerRow(diff_id, diff_id, None, size, blob))

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A directory to unpack in, with diff/ and aside/; what is left of it at the end goes to the trash."""
        stage = Path(tempfile.mkdtemp(prefix="layer-", dir=self._tmp))
        try:
            for name in ("diff", "aside"):
                (stage / name).mkdir()
            (stage / "diff").chmod(0o755)
            yield stage
        finally:
            self._clear(stage)

    def _clear(self, stage: Path) -> None:
        try:
            for path in (stage / "aside", stage):
                path.rmdir()
        except OSError:
            self._discard(stage)

    def _publish(self, stage: Path, row: LayerRow) -> LayerRow:
        target = self.directory / hex_of(row.chain_id)
        with self._lock:
            if target.exists():  # left by a crash between the rename and the row
                self._discard(target)
            target.mkdir(mode=0o700)
            os.rename(stage / "diff", target / "diff")
            self._records.add_layer(row)
        return row

    def collect(self) -> list[str]:
        """Discards the layers and blobs that neither an image nor work under way has; none, if that can't be told.

        The chain ids of the layers that went.
        """
        gone: list[str] = []
        with self._lock:
            used = self._records.chains_in_use()
            if used is None or UNNAMED in self._held:
                return gone
            for row in self._records.layers():
                if row.chain_id not in used and row.chain_id not in self._held:
                    self._records.delete_layer(row.chain_id)
                    gone.append(row.chain_id)
            rows = {hex_of(row.chain_id) for row in self._records.layers()}
            for name in os.listdir(self.directory):
                if name not in rows:
                    self._discard(self.directory / name)
            blobs = {hex_of(blob) for blob in [*self._records.blobs(), *self._held]}
            for name in self._content.hexes():
                if name not in blobs:
                    self._discard(self._content.directory / name)
        return gone


def _unpack(file: decompress.Reader, stage: Path) -> tuple[int, str]:
    """(bytes of the files, diff id). One thread inflates and hashes, this one makes the files."""
    with decompress.Pump(decompress.plain(file)) as pump:
        stream = TarStream(iter(pump))
        unpacker = Unpacker(stage / "diff", stage / "aside")
        try:
            size = unpacker.unpack(stream)
        finally:
            unpacker.close()
        stream.drain()
        return size, pump.digest
