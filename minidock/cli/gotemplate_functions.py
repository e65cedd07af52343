"""The functions of templates, and how Go prints and judges values.

For gotemplate.py. Go's own: and, or, not, len, index, print, println, printf, eq, ne, lt, le, gt, ge. Docker's:
json, split, join, lower, upper, title, pad, truncate. `printf` knows the verbs v, s, q, d, x, X, o, b, c, t, e, f, g,
with width, precision and the flags `-`, `+`, `0` and space.
See: https://pkg.go.dev/text/template#hdr-Functions, https://docs.docker.com/engine/cli/formatting/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from minidock.wire.errors import InvalidArgument

Argument = Callable[[dict[str, Any], Any], Any]
_VERB = re.compile(r"%([-+0 ]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HTML = re.compile("[<>&\u2028\u2029]")


class TemplateError(InvalidArgument):
    """The template is wrong, uses what minidock does not know, or asks for what the data has not."""


class Missing:
    """What a field that does not exist gives. False in conditions; see gotemplate.py for the rest."""

    def __init__(self, name: str) -> None:
        self.name = name


# -- values ------------------------------------------------------------------------------------------------------------


def truth(value: Any) -> bool:
    """Whether Go counts it as true: not false, 0, nil or empty."""
    return not isinstance(value, Missing) and bool(value)


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """What range goes through: a list with its indexes, or an object in the order of its keys."""
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    if value is None or isinstance(value, Missing):
        return []
    raise TemplateError(f"range can't iterate over {text(value)!r}")


def text(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, Missing):
        return _missing(value)
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(text, value))}]"
    if isinstance(value, dict):
        inner = " ".join(f"{key}:{text(item)}" for key, item in sorted(value.items()) if not callable(item))
        return f"map[{inner}]"
    return str(value)


def _missing(value: Missing) -> str:
    if value.name[:1].isupper():
        raise TemplateError(f"no field {value.name!r} in the data", "{{json .}} shows what there is")
    return "<no value>"


def _float(value: float) -> str:
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return f"{value:.17g}" if repr(value) == f"{value:.17g}" else repr(value)


def quoted(value: str) -> str:
    """A string in Go's double quotes (strconv.Quote)."""
    shown = json.dumps(value, ensure_ascii=False)
    return re.sub(r"\\u00([0-9a-f]{2})", r"\\x\1", shown).replace("\x7f", "\\x7f")


def to_json(value: Any) -> str:
    """JSON as Go writes it: no spaces, and <, > and & escaped."""
    if isinstance(value, Missing):
        return "null"
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if not callable(item)}
    shown = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return _HTML.sub(lambda found: _ESCAPES[found[0]], shown)


def literal(kind: str, source: str) -> Any:
    """A constant of the template: ``"…"``, a raw string in back quotes, a number, true, false, nil."""
    if kind == "word":
        return {"true": True, "false": False, "nil": None}[source]
    if kind == "number":
        return float(source) if "." in source else int(source, 0)
    if source.startswith("`"):
        return source[1:-1]
    try:
        return json.loads(re.sub(r"\\x([0-9a-fA-F]{2})", r"\\u00\1", source).replace("\\a", "\\u0007"), strict=False)
    except ValueError:
        raise TemplateError(f"bad string {source} in the template") from None


# -- functions ---------------------------------------------------------------------------------------------------------


def call(name: str, arguments: Sequence[Argument]) -> Argument:
    """The call of a function. `and` and `or` look at no more of their arguments than they must."""
    if name in ("and", "or"):
        return _shortcut(name, arguments)
    if name not in FUNCTIONS:
        raise TemplateError(f"function {name!r} is not known to minidock's templates", f"known: {', '.join(KNOWN)}")
    least, most, function = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        raise TemplateError(f"wrong number of arguments for {name}: {len(arguments)}")

    def expression(scope: dict[str, Any], dot: Any) -> Any:
        values = [argument(scope, dot) for argument in arguments]
        try:
            return function(*values)
        except (TypeError, ValueError, AttributeError):
            shown = ", ".join("nothing" if isinstance(value, Missing) else text(value) for value in values)
            raise TemplateError(f"{name} can't take {shown}") from None

    return expression


def _shortcut(name: str, arguments: Sequence[Argument]) -> Argument:
    if not arguments:
        raise TemplateError(f"wrong number of arguments for {name}: 0")

    def expression(scope: dict[str, Any], dot: Any) -> Any:
        value = None
        for argument in arguments:
            value = argument(scope, dot)
            if truth(value) == (name == "or"):
                break
        return value

    return expression


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, (list, tuple, str)):
            if not isinstance(key, int) or not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {text(key)}")
            value = value[key]
        elif isinstance(value, dict):
            value = value.get(key, "")
        elif value is None or isinstance(value, Missing):
            value = ""
        else:
            raise TypeError
    return value


def _len(value: Any) -> int:
    return 0 if value is None or isinstance(value, Missing) else len(value)


def _equal(first: Any, *others: Any) -> bool:
    for other in others:
        if isinstance(first, (int, float)) != isinstance(other, (int, float)) and None not in (first, other):
            raise TypeError
    return any(first == other for other in others)


def _print(*values: Any) -> str:
    """Go puts a space between two values of which neither is a string."""
    shown = ""
    for at, value in enumerate(values):
        both_plain = at and not isinstance(value, str) and not isinstance(values[at - 1], str)
        shown += (" " if both_plain else "") + text(value)
    return shown


def _printf(template: str, *values: Any) -> str:
    rest = list(values)

    def verb(found: re.Match[str]) -> str:
        flags, width, precision, letter = found.groups()
        if letter == "%":
            return "%"
        if not rest:
            return f"%!{letter}(MISSING)"
        return _one_verb(f"%{flags}{width}", precision, letter, rest.pop(0))

    shown = _VERB.sub(verb, template)
    return shown + "".join(f"%!(EXTRA {text(value)})" for value in rest)


def _one_verb(head: str, precision: str | None, letter: str, value: Any) -> str:
    dot = "" if precision is None else f".{precision}"
    if letter in "vs":
        return f"{head}{dot if letter == 's' else ''}s" % text(value)
    if letter == "q":
        return f"{head}s" % quoted(text(value))
    if letter == "t":
        return f"{head}s" % text(bool(value))
    if letter == "b":
        return f"{head}s" % f"{value:b}"
    if letter in "xX" and isinstance(value, str):
        shown = value.encode().hex()
        return f"{head}s" % (shown.upper() if letter == "X" else shown)
    if letter in "dxXocefg":
        return str(f"{head}{dot if letter in 'efg' else ''}{letter}" % value)
    return f"%!{letter}({text(value)})"


def _title(value: str) -> str:
    return re.sub(r"\b\w", lambda found: found[0].upper(), value)


def _pad(value: str, before: int, after: int) -> str:
    return " " * before + value + " " * after if value else value


def _join(values: Any, separator: str) -> str:
    return separator.join(text(value) for value in values or ())


_ANY = 1000
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "eq": (2, _ANY, _equal),
    "ne": (2, 2, lambda a, b: not _equal(a, b)),
    "lt": (2, 2, lambda a, b: a < b),
    "le": (2, 2, lambda a, b: a <= b),
    "gt": (2, 2, lambda a, b: a > b),
    "ge": (2, 2, lambda a, b: a >= b),
    "not": (1, 1, lambda value: not truth(value)),
    "len": (1, 1, _len),
    "index": (1, _ANY, _index),
    "print": (0, _ANY, _print),
    "println": (0, _ANY, lambda *values: " ".join(map(text, values)) + "\n"),
    "printf": (1, _ANY, _printf),
    "json": (1, 1, to_json),
    "split": (2, 2, lambda value, separator: value.split(separator)),
    "join": (2, 2, _join),
    "lower": (1, 1, lambda value: value.lower()),
    "upper": (1, 1, lambda value: value.upper()),
    "title": (1, 1, _title),
    "pad": (3, 3, _pad),
    "truncate": (2, 2, lambda value, length: value[:length]),
}
KNOWN = sorted([*FUNCTIONS, "and", "or"])
