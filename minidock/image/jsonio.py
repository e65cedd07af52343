"""JSON from strangers: manifests, image configs, indexes, answers of token servers.

Python's own parser has traps (a nesting that ends in RecursionError, NaN, integers of thousands of digits), and a value
of the wrong type would surface as a TypeError far away. Here all of it is one InvalidArgument that names the document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from minidock.wire.errors import InvalidArgument


def parse_object(data: bytes, what: str, limit: int) -> dict[str, Any]:
    """A JSON object of at most ``limit`` bytes."""
    value = parse(data, what, limit)
    if not isinstance(value, dict):
        raise InvalidArgument(f"read {what}: not a JSON object")
    return value


def parse(data: bytes, what: str, limit: int) -> Any:
    """Any JSON value of at most ``limit`` bytes."""
    if len(data) > limit:
        raise InvalidArgument(f"read {what}: larger than {limit} bytes")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"read {what}: not JSON ({type(error).__name__})") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _is_text(value: object) -> bool:
    """A string that can be an argument of execve(2): no NUL, and no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


class Fields:
    """A JSON object whose fields are asked for by type. A missing field and null are the type's empty value."""

    def __init__(self, value: object, what: str) -> None:
        if value is not None and not isinstance(value, dict):
            raise InvalidArgument(f"read {what}: not an object")
        self._value: Mapping[str, Any] = value or {}
        self._what = what

    def text(self, key: str) -> str:
        """A string."""
        value = self._value.get(key)
        if value is None:
            return ""
        if not _is_text(value):
            raise self.wrong(key)
        return str(value)

    def flag(self, key: str) -> bool:
        value = self._value.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key)
        return bool(value)

    def size(self, key: str) -> int:
        """A number of bytes."""
        value = self._value.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            raise self.wrong(key)
        return value

    def items(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if value is not None and not isinstance(value, list):
            raise self.wrong(key)
        return value or []

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key)
        if not all(_is_text(value) for value in values):
            raise self.wrong(key)
        return tuple(values)

    def command(self, key: str) -> tuple[str, ...]:
        """A list of strings, or one string (which Docker takes for a list of one)."""
        value = self._value.get(key)
        return (self.text(key),) if isinstance(value, str) else self.texts(key)

    def inner(self, key: str) -> Fields:
        return Fields(self._value.get(key), f"{self._what}: {key}")

    def mapping(self, key: str) -> dict[str, Any]:
        value = dict(self.inner(key)._value)
        if not all(_is_text(name) for name in value):
            raise self.wrong(key)
        return value

    def labels(self, key: str) -> dict[str, str]:
        """A map of strings."""
        value = self.mapping(key)
        if not all(_is_text(one) for one in value.values()):
            raise self.wrong(key)
        return value

    def has(self, key: str) -> bool:
        return key in self._value

    def wrong(self, key: str) -> InvalidArgument:
        """The error for a field of the wrong type or with a forbidden value."""
        return InvalidArgument(f"read {self._what}: field {key} is not valid")
