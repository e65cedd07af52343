"""Dataclasses ↔ Docker's JSON, checked.

One mechanism serves three needs: a request's body becomes typed data with a clear error for a wrong type, a record
becomes a row in the database, and ``inspect`` shows a container with Docker's key names. A field's JSON key is its name
in CamelCase (``working_dir`` → ``WorkingDir``) unless ``key()`` gives another.

Unknown keys are ignored and ``null`` means the default, both as Docker's Go decoder does; where it takes a bare string
for a list of one, the field is ``words()``. Raises InvalidArgument.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Hashable
from typing import Any, TypeVar, cast

from minidock.wire.errors import InvalidArgument

T = TypeVar("T")
INT64 = 1 << 63


def key(name: str, **options: Any) -> Any:
    """A dataclass field whose JSON key is ``name``; ``options`` are those of dataclasses.field."""
    return dataclasses.field(metadata={"json": name}, **options)


def words() -> Any:
    """A field for a list of strings, None by default, that may come as one bare string."""
    return dataclasses.field(default=None, metadata={"bare": True})


@functools.cache
def _fields(cls: Hashable) -> tuple[tuple[str, str, Any, bool], ...]:
    """(attribute, JSON key, type, whether it is ``words()``) of each field."""
    assert isinstance(cls, type) and dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        name = field.metadata.get("json") or "".join(part.capitalize() for part in field.name.split("_"))
        found.append((field.name, name, hints[field.name], "bare" in field.metadata))
    return tuple(found)


def decode(cls: type[T], value: Any, where: str = "") -> T:
    """A JSON object → an instance of the dataclass ``cls``. ``where`` names it in errors."""
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid {where or 'body'}: want an object, got {_kind(value)}")
    given = {}
    for attribute, name, hint, bare in _fields(cast(Hashable, cls)):
        if (item := value.get(name)) is not None:
            if bare and isinstance(item, str):
                item = [item]
            given[attribute] = _value(hint, item, f"{where}.{name}" if where else name)
    return cls(**given)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(_not_none(hint), value, where)
    if origin is tuple:
        return _sequence(typing.get_args(hint)[0], value, where)
    if origin is dict:
        return _mapping(typing.get_args(hint)[1], value, where)
    if dataclasses.is_dataclass(hint):
        return decode(cast(type, hint), value, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum(hint, value, where)
    return _scalar(hint, value, where)


def _not_none(hint: Any) -> Any:
    return next(arg for arg in typing.get_args(hint) if arg is not type(None))


def _sequence(item: Any, value: Any, where: str) -> tuple[Any, ...] | None:
    if not isinstance(value, list):
        raise InvalidArgument(f"invalid {where}: want an array, got {_kind(value)}")
    return tuple(_value(item, element, f"{where}[{index}]") for index, element in enumerate(value))


def _mapping(item: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid {where}: want an object, got {_kind(value)}")
    return {
        name: _ZERO.get(item) if element is None else _value(item, element, f"{where}.{name}")
        for name, element in value.items()
    }


def _enum(hint: type[enum.Enum], value: Any, where: str) -> enum.Enum:
    try:
        return hint(value)
    except ValueError:
        raise InvalidArgument(
            f"invalid {where}: {value!r} is none of {', '.join(str(m.value) for m in hint)}"
        ) from None


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        if not -INT64 <= value < INT64:
            raise InvalidArgument(f"invalid {where}: the number does not fit in 64 bits")
        return value
    if hint is str and isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise InvalidArgument(f"invalid {where}: a NUL or a lone surrogate in the text")
        return value
    if hint is bool and isinstance(value, bool):
        return value
    raise InvalidArgument(f"invalid {where}: want {_NAMES[hint]}, got {_kind(value)}")


_ZERO = {int: 0, str: "", bool: False}  # what Go's decoder makes of a null in a map
_NAMES = {int: "an integer", str: "a string", bool: "true or false"}


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def encode(value: Any) -> Any:
    """The opposite: a dataclass (or a tuple, dict, enum, scalar) → what json.dumps takes, with Docker's keys."""
    if value is None or type(value) in _NAMES:
        return value
    if dataclasses.is_dataclass(value):
        return {name: encode(getattr(value, attribute)) for attribute, name, *_ in _fields(cast(Hashable, type(value)))}
    if isinstance(value, tuple):
        return [encode(element) for element in value]
    if isinstance(value, dict):
        return {name: encode(element) for name, element in value.items()}
    return value.value if isinstance(value, enum.Enum) else value
