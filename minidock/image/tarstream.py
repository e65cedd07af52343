"""Tar archives, header by header, from a stream that cannot be trusted and is read once.

`tarfile` parses the headers (ustar, pax, GNU long names, sparse maps) and nothing more: it is given a file object that
only goes forward and that counts what a header takes, so that a pax header of a gigabyte, a sparse map without end
(CVE-2025-58183) or a negative size (CVE-2025-8194) is an error after at most MAX_HEADER bytes. File contents never pass
through tarfile; the caller takes them from ``content`` or ``sparse_content``. Read next: unpack.py.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, cast

from minidock.wire.errors import InvalidArgument

MAX_ENTRIES = 1_000_000
MAX_HEADER = 1 << 20  # of one entry, pax records and sparse map included
MAX_GLOBALS = 256  # pax global records
BLOCK = 512

Entry = tarfile.TarInfo


class TarStream:
    """Iterate for the entries, in order; read an entry's content before asking for the next."""

    def __init__(self, chunks: Iterator[bytes], max_entries: int = MAX_ENTRIES) -> None:
        self._source = _Forward(chunks)
        self._max_entries = max_entries
        self._left = 0

    def __iter__(self) -> Iterator[Entry]:
        if self._source.is_empty():
            return  # no archive at all holds nothing, as with Go's reader
        try:
            tar = tarfile.TarFile(fileobj=cast(Any, self._source), encoding="utf-8", errors="surrogateescape")
            for count in range(self._max_entries + 1):
                self._source.budget = MAX_HEADER
                entry = tar.next()
                if entry is None:
                    self._source.expect_end()
                    return
                tar.members = []  # type: ignore[attr-defined]  # tarfile remembers every entry; a million of them is a gigabyte
                if len(tar.pax_headers) > MAX_GLOBALS or count == self._max_entries:
                    raise InvalidArgument(
                        f"read archive: more than {self._max_entries} entries or {MAX_GLOBALS} globals"
                    )
                self._left = entry.size
                yield entry
        except (tarfile.TarError, RecursionError, ValueError, OverflowError) as error:
            raise InvalidArgument(f"read archive: corrupt tar header ({error or type(error).__name__})") from None

    def content(self) -> Iterator[memoryview]:
        """The bytes of the present entry (a regular file that is not sparse), in pieces."""
        return self._source.take(self._left)

    def sparse_content(self, entry: Entry) -> Iterator[tuple[int, memoryview]]:
        """(offset, piece) of a sparse file; between them are holes."""
        for offset, size in sparse_map(entry):
            if not (0 <= offset and 0 <= size and offset + size <= entry.size):
                raise InvalidArgument(f"read archive: sparse map of {entry.name[:200]!r} does not fit the file")
            for piece in self._source.take(size):
                yield offset, piece
                offset += len(piece)

    def drain(self) -> None:
        """Reads on to the end of the stream, for the sake of its digest."""
        self._source.skip_all()


def sparse_map(entry: Entry) -> list[tuple[int, int]]:
    """(offset, size) of each stretch of data in a sparse file; none for any other entry."""
    return cast(list[tuple[int, int]], entry.sparse or [])


class _Forward:
    """The file object for tarfile: forward only. ``budget`` is what may still be *read*; what is skipped is free."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._position = 0
        self._last = b""
        self.budget = MAX_HEADER
        self.name = None
        self.mode = "rb"

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.budget:
            raise InvalidArgument(f"read archive: a tar header of more than {MAX_HEADER} bytes")
        self.budget -= size
        self._last = b"".join(self._pieces(size))
        return self._last

    def seek(self, position: int) -> None:
        if position < self._position:
            raise InvalidArgument("read archive: corrupt tar header (it points backwards)")
        for _ in self._pieces(position - self._position):
            pass

    def take(self, size: int) -> Iterator[memoryview]:
        """``size`` bytes of file content in pieces. Raises InvalidArgument if the stream ends before."""
        for piece in self._pieces(size):
            size -= len(piece)
            yield piece
        if size:
            raise InvalidArgument("read archive: unexpected end of the archive")

    def is_empty(self) -> bool:
        """Asked at the start: whether there is nothing to come."""
        while not self._chunk and (chunk := next(self._chunks, None)) is not None:
            self._chunk = memoryview(chunk)
        return not self._chunk

    def expect_end(self) -> None:
        """tarfile takes a damaged header for the end: the end is a block of zeros, or the end of the stream."""
        if self._last.strip(b"\0"):
            raise InvalidArgument("read archive: corrupt tar header")

    def skip_all(self) -> None:
        self._chunk = memoryview(b"")
        for _ in self._chunks:
            pass

    def _pieces(self, size: int) -> Iterator[memoryview]:
        """Up to ``size`` bytes, as views into the chunks."""
        while size > 0:
            if not self._chunk:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._chunk = memoryview(chunk)
            piece = self._chunk[:size]
            self._chunk = self._chunk[len(piece) :]
            self._position += len(piece)
            size -= len(piece)
            yield piece
