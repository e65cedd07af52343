"""JSON bodies, held to limits before anything believes them.

Whatever a client can do with JSON is answered 400: more than 4 MiB, depth that overflows the parser, integers of
thousands of digits, NaN and infinities, a key twice, a byte order mark, bytes that are not UTF-8, lone surrogates,
NULs. Python's parser takes several of these gladly, so they are refused here, once for all handlers.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

from minidock.wire.errors import InvalidArgument

LIMIT = 4 << 20


def parse_json(data: bytes) -> Any:
    """The value of a body. Raises InvalidArgument."""
    if len(data) > LIMIT:
        raise InvalidArgument(f"invalid JSON: the body is larger than {LIMIT} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
        if b"\\u" in data:
            _check_text(value)
    except RecursionError:
        raise InvalidArgument("invalid JSON: nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidArgument("invalid JSON: not UTF-8") from None
    except ValueError as error:
        raise InvalidArgument(f"invalid JSON: {str(error).lower()}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _check_text(value: Any) -> None:
    """Escapes can spell what UTF-8 can't: half a surrogate pair; and a NUL, which would end a path early."""
    if isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise ValueError("a NUL or a lone surrogate in a string")
    elif isinstance(value, dict):
        for name, element in value.items():
            _check_text(name)
            _check_text(element)
    elif isinstance(value, list):
        for element in value:
            _check_text(element)
