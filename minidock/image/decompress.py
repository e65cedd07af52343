"""Layers and archives as plain tar bytes: gzip, zstd, xz or bzip2 undone, hashed and bounded, in a thread of its own.

zlib and hashlib let go of Python's lock while they work, so that inflating and hashing run on one core while the
unpacking runs on another. What comes out is bounded: a gzip of zeros can be a thousand times its size
(CVE-2017-14992), so a stream may grow past ``FREE_BYTES`` only in proportion to what went in, and never past MAX_BYTES.
No helper program is started: which `gzip` runs would be for the environment to say (CVE-2019-14271 is of that family).
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import zlib
from collections.abc import Iterator
from typing import Any, Protocol, cast

from minidock.wire.errors import InvalidArgument

CHUNK = 512 << 10
DEPTH = 8  # chunks between the two threads
MAX_BYTES = 64 << 30
FREE_BYTES = 1 << 30
MAX_RATIO = 100

MAX_WINDOW = 128 << 20  # of zstd: what its own tool takes without being asked

_ZSTD = b"\x28\xb5\x2f\xfd"
_BZIP2, _XZ = b"BZh", b"\xfd7zXZ"


class Reader(Protocol):
    """What can be read from, front to back."""

    def read(self, size: int = -1, /) -> bytes: ...


def plain(file: Reader) -> Iterator[bytes]:
    """The bytes of a stream, inflated if they are compressed (told by the first bytes, as Docker does)."""
    head = _read(file, 6)
    chunks = _chunks(head, file)
    if head.startswith(_ZSTD):
        return _bounded(_unzstd(chunks))
    if head.startswith((_BZIP2, _XZ)):
        return _bounded(_decoded(chunks, head.startswith(_XZ)))
    return _bounded(_inflate(chunks)) if head.startswith(b"\x1f\x8b") else chunks


def _read(file: Reader, size: int) -> bytes:
    """Up to ``size`` bytes, fewer only at the end."""
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _chunks(head: bytes, file: Reader) -> Iterator[bytes]:
    if head:
        yield head
    while chunk := file.read(CHUNK):
        yield chunk


def _bounded(pieces: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Passes inflated pieces on, as long as they are in proportion to what was read for them."""
    total = 0
    for consumed, piece in pieces:
        total += len(piece)
        if total > min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * consumed)):
            raise InvalidArgument(f"inflate archive: {consumed} bytes became more than {total}; refused as a bomb")
        yield piece


def _inflate(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """(bytes read so far, a piece of the result). A gzip file may hold several members, with zeros after each."""
    member, consumed, between = zlib.decompressobj(wbits=31), 0, True
    for chunk in chunks:
        consumed += len(chunk)
        while chunk:
            if between and not (chunk := chunk.lstrip(b"\0")):
                break
            try:
                piece = member.decompress(chunk, CHUNK)
            except zlib.error as error:
                raise InvalidArgument(f"inflate archive: corrupt gzip data ({error})") from None
            chunk, between = member.unconsumed_tail, member.eof
            if piece:
                yield consumed, piece
            if between:
                chunk, member = member.unused_data, zlib.decompressobj(wbits=31)
    if not between:
        raise InvalidArgument("inflate archive: unexpected end of gzip data")


class _Fed:
    """A file to read from that is fed by an iterator, and knows how much was taken."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest, self.consumed = chunks, b"", 0

    def read(self, size: int = -1) -> bytes:
        self._rest = self._rest or next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        self.consumed += len(data)
        return data


def _unzstd(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """As _inflate, for zstd: several frames, a bounded window, and never more than a chunk of output at a time."""
    import zstandard  # 15 ms that only who meets zstd pays

    fed = _Fed(chunks)
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(
        cast(Any, fed), read_size=CHUNK, read_across_frames=True
    )
    try:
        while piece := reader.read(CHUNK):
            yield fed.consumed, piece
    except zstandard.ZstdError as error:
        raise InvalidArgument(f"inflate archive: corrupt zstd data ({error})") from None


class _Decoder(Protocol):
    """What the standard library's decoders of bzip2 and xz have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _decoder(xz: bool) -> _Decoder:
    if xz:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * MAX_WINDOW)
    import bz2

    return bz2.BZ2Decompressor()


def _decoded(chunks: Iterator[bytes], xz: bool) -> Iterator[tuple[int, bytes]]:
    """As _inflate, for xz and bzip2: several streams one after the other, with zeros between those of xz."""
    decoder, consumed, between = _decoder(xz), 0, True
    for chunk in chunks:
        consumed += len(chunk)
        while chunk or not (between or decoder.needs_input):
            if between and not (chunk := chunk.lstrip(b"\0")):
                break
            try:
                piece = decoder.decompress(chunk, CHUNK)
            except Exception as error:  # lzma's own error, or the OSError, EOFError and ValueError of bz2
                raise InvalidArgument(f"inflate archive: corrupt {'xz' if xz else 'bzip2'} data ({error})") from None
            chunk, between = b"", decoder.eof
            if piece:
                yield consumed, piece
            if between:
                chunk, decoder = decoder.unused_data, _decoder(xz)
    if not between:
        raise InvalidArgument(f"inflate archive: unexpected end of {'xz' if xz else 'bzip2'} data")


class Pump:
    """Runs an iterator of bytes in a thread, hashing what passes; iterate it for the bytes, then ask for ``digest``."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(DEPTH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inflate", daemon=True)

    def __enter__(self) -> Pump:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may be waiting for room
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        self._thread.join()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    @property
    def digest(self) -> str:
        """Of all bytes; to be asked for after the last one came out."""
        return "sha256:" + self._hash.hexdigest()

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                self._hash.update(chunk)
                self._queue.put(chunk)
                if self._stopped.is_set():
                    return
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)
