"""What is gone but may still be asked for: the latest few of something, by id.

A client learns of a removal after it has happened; whoever asks then how the container ended, or what its start did,
gets an answer for as long as the memory holds. Serves lifecycle.py.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most ``most`` entries; the oldest gives way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[str, T] = {}

    def put(self, ident: str, entry: T) -> None:
        """Remembers an entry."""
        while len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[ident] = entry

    def get(self, ident: str) -> T | None:
        """The entry, or None if it was never there or has given way."""
        return self._entries.get(ident)
