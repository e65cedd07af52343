"""The patterns of a .dockerignore file, and those of COPY and of names of images: what they mean.

The client leaves out what they exclude; the daemon asks them about the Dockerfile alone. The last pattern that fits
decides, ``!`` takes a path back, what is said of a directory goes for all in it, ``**`` is any number of directories.

See: Dockerfile reference, ".dockerignore file"; moby's patternmatcher, whose rules these are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from minidock.wire.errors import InvalidArgument


@dataclass(frozen=True)
class Pattern:
    """One line: its text without "!", as an expression."""

    text: str
    expression: re.Pattern[str]
    back: bool

    def fits(self, path: str) -> bool:
        """Whether it means the path itself, or a directory that it is in."""
        parts = path.split("/")
        return any(self.expression.fullmatch("/".join(parts[:n])) for n in range(len(parts), 0, -1))


class Ignore:
    """All lines of a file, or none."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._patterns = [found for line in lines if (found := _pattern(line))]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def excludes(self, path: str) -> bool:
        """Whether a path, relative to the context, is left out."""
        out = False
        for pattern in self._patterns:
            if pattern.back == out and pattern.fits(path):
                out = not pattern.back
        return out

    def may_take_back(self, directory: str) -> bool:
        """Whether a "!" pattern may mean something in a directory that is left out: then it must be looked into."""
        return any(pattern.back and _meets(pattern.text, directory) for pattern in self._patterns)


def _meets(text: str, directory: str) -> bool:
    """Whether a pattern can fit below a directory; where it has wildcards, up to them."""
    before = re.split(r"[*?\[\\]", text, maxsplit=1)[0]
    return f"{text}/".startswith(f"{directory}/") or (before != text and f"{directory}/".startswith(before))


def parse(text: str) -> list[str]:
    """The lines of a file that are patterns. Raises InvalidArgument for one that is none."""
    lines = [line for line in text.removeprefix("\ufeff").splitlines() if not line.startswith("#")]
    Ignore(lines)
    return lines


def _pattern(line: str) -> Pattern | None:
    text = line.strip()
    back = text.startswith("!")
    text = text[1:].strip() if back else text
    if not text:
        if back:
            raise InvalidArgument('illegal exclusion pattern: "!"')
        return None
    clean = posixpath.normpath(text.replace("\\/", "/"))
    clean = clean[1:] if len(clean) > 1 and clean.startswith("/") else clean
    return Pattern(clean, compiled(clean, deep=True), back)


def compiled(pattern: str, deep: bool) -> re.Pattern[str]:
    """``*``, ``?``, ``[a-z]``, ``\\x``, and with ``deep`` also ``**``. Raises InvalidArgument."""
    groups, at = [[""]], 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and deep and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            groups.append([""])
        elif character == "*":
            groups[-1].append("")
        elif character == "?":
            groups[-1][-1] += "[^/]"
        elif character == "[":
            expression, at = _bracket(pattern, at)
            groups[-1][-1] += expression
        elif character == "\\":
            one, at = _character(pattern, at - 1)
            groups[-1][-1] += re.escape(one)
        else:
            groups[-1][-1] += re.escape(character)
    return re.compile(_expression(groups, pattern), re.DOTALL)


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    """What stands behind "[", up to "]", as an expression; and where the rest begins. As Go's path.Match reads it."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _bound(pattern, at)
        high, at = _bound(pattern, at + 1) if pattern.startswith("-", at) else (low, at)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    found = "".join(ranges)
    return (f"[{'^' * negated}{found}]" if found else "." if negated else "(?!)"), at + 1


def _bound(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] in ("-", "]"):
        raise _malformed(pattern)
    return _character(pattern, at)


def _character(pattern: str, at: int) -> tuple[str, int]:
    """A character, or the one that a backslash takes its meaning from, and the place behind it."""
    at += pattern.startswith("\\", at)
    if at >= len(pattern):
        raise _malformed(pattern)
    return pattern[at], at + 1


def _malformed(pattern: str) -> InvalidArgument:
    return InvalidArgument(f"syntax error in pattern {pattern[:200]!r}")


def _expression(groups: list[list[str]], pattern: str) -> str:
    """``groups`` is what stands between ``**``, in each what stands between ``*``.

    An expression with many wildcards takes time without end on a text made for it, and the whole daemon stands still
    meanwhile. So what a wildcard takes is settled (an atomic group) wherever the first place that fits does as well as
    any: before another ``*``, and before a ``**`` that follows a "/". Of the others a pattern may have two.
    """
    *firsts, last = groups
    found, free, lead = "", 0, ("", "")
    for group in firsts:
        whole = group[-1].endswith("/") or group == [""]
        body = _between(group, settled=whole)
        found += f"(?>{lead[0]}{body})" if whole else lead[1] + body
        free += 0 if whole else (len(group) > 1) + bool(lead[1])
        lead = ("(?:.*?/)??", "(?:.*/)?")
    if firsts and last == [""]:
        return found + ".*"
    free += bool(firsts) + (len(last) > 1)
    if free > 2:
        raise InvalidArgument(f"too many wildcards in pattern {pattern[:200]!r}", "write ** as a directory: a/**/b")
    return found + lead[1] + _between(last, settled=False)


def _between(parts: list[str], settled: bool) -> str:
    """Parts with a ``*`` between each two; the last one is free to try further places unless it is settled, too."""
    first, *rest = parts
    free = [] if settled else rest[-1:]
    return "".join(
        [first, *(f"(?>[^/]*?{part})" for part in rest[: len(rest) - len(free)]), *(f"[^/]*{p}" for p in free)]
    )


def has_wildcards(pattern: str) -> bool:
    """Whether it means more than one path."""
    return any(character in pattern for character in "*?[")
