"""``filters=``: which objects a list or an event stream shows.

Clients write it in two shapes: ``{"label": {"a=b": true}}`` (Go) and ``{"label": ["a=b"]}`` (Python); an empty string
is none. An unknown key is refused, since a filter that is passed over shows, or prunes, what was not meant.

Several values of one key mean "any of them", except for labels, which must all fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minidock.api.body import parse_json
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

_QUANTIFIER = re.compile(r"(?<!\\)[*+?{]")
_MAX_QUANTIFIERS = 3
_BOOLEANS = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}


class Filters:
    """The parsed filter: key → values."""

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> tuple[str, ...]:
        """The values of a key; none if it was not given."""
        return self._values.get(key, ())

    def exact(self, key: str, *candidates: str) -> bool:
        """True if the key was not given, or one of its values equals a candidate."""
        return key not in self._values or any(value in candidates for value in self._values[key])

    def prefix(self, key: str, *candidates: str) -> bool:
        """True if the key was not given, or a candidate begins with one of its values."""
        return key not in self._values or any(c.startswith(v) for c in candidates for v in self._values[key])

    def pattern(self, key: str, *candidates: str) -> bool:
        """True if the key was not given, or one of its values, a regular expression, is found in a candidate."""
        if key not in self._values:
            return True
        patterns = [_compile(key, value) for value in self._values[key]]
        return any(pattern.search(candidate) for pattern in patterns for candidate in candidates)

    def labels(self, labels: Mapping[str, str], key: str = "label") -> bool:
        """True if each ``name`` or ``name=value`` given is among the labels."""
        for wanted in self.get(key):
            name, valued, value = wanted.partition("=")
            if name not in labels or (valued and labels[name] != value):
                return False
        return True

    def prunes(self, labels: Mapping[str, str]) -> bool:
        """True if a prune means what has these labels: all of ``label``, and not all of ``label!``, as with docker."""
        return self.labels(labels) and not ("label!" in self and self.labels(labels, "label!"))

    def until(self) -> int | None:
        """The time before which things must have been made; None if it was not given."""
        values = self.get("until")
        if len(values) > 1:
            raise InvalidArgument("more than one until filter specified")
        return times.parse_query_time(values[0]) if values else None

    def flag(self, key: str) -> bool | None:
        """A yes-or-no filter; None if it was not given."""
        values = {_BOOLEANS.get(value.lower()) for value in self.get(key)}
        if not values:
            return None
        if len(values) > 1 or None in values:
            raise InvalidArgument(f"invalid filter '{key}={list(self.get(key))}'", "true or false")
        return values.pop()


def parse(text: str, allowed: frozenset[str]) -> Filters:
    """The value of the query parameter. Raises InvalidArgument, with Docker's text for an unknown key."""
    if not text:
        return Filters({})
    value = parse_json(text.encode("utf-8", "surrogatepass"))
    if value is None:
        return Filters({})
    if not isinstance(value, dict):
        raise InvalidArgument("invalid filter: want a JSON object")
    for key in value:
        if key not in allowed:
            raise InvalidArgument(f"invalid filter '{key}'", f"known here: {', '.join(sorted(allowed))}")
    return Filters({key: _values(key, given) for key, given in value.items()})


def _values(key: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, dict | list) or not all(isinstance(value, str) for value in given):
        raise InvalidArgument(f"invalid filter '{key}': want strings, as an array or as the keys of an object")
    return tuple(given)


def _compile(key: str, value: str) -> re.Pattern[str]:
    """Docker's patterns run in linear time, Python's need not: what could take for ever is refused."""
    if "(" in value or len(_QUANTIFIER.findall(value)) > _MAX_QUANTIFIERS or len(value) > 256:
        raise InvalidArgument(f"invalid filter '{key}={value}'", "no groups, and at most three of * + ? {")
    try:
        return re.compile(value, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"invalid filter '{key}={value}': {error}") from None
