"""Words of an instruction: split at blanks outside of quotes, and variables put in.

``$name``, ``${name}``, ``${name:-word}``, ``${name:+word}``, ``${name:?message}``, and the same without the colon,
which then asks whether it is set, not whether it is empty. Single quotes keep all as it is, double quotes keep blanks;
the escape character takes the meaning off the next one. A variable that nobody set is empty.

See: Dockerfile reference, "Environment replacement"; moby's frontend/dockerfile/shell. Read next: instructions.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from minidock.wire.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")
_BRACED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_BLANKS = " \t\v\f\r\n"
_DEPTH = 32


def split(text: str, escape: str = "\\") -> list[str]:
    """Words as they stand, quotes and escapes included. Raises InvalidArgument for a quote that does not end."""
    words, word, quote, at = [], "", "", 0
    while at < len(text):
        character = text[at]
        if character == escape and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _BLANKS:
            words += [word] if word else []
            word, at = "", at + 1
            continue
        word += character
        at += 1
    if quote:
        raise InvalidArgument(f"unexpected end of statement while looking for matching {_name_of(quote)}")
    return words + [word] if word else words


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """One word with its variables put in and its quotes taken off. Raises InvalidArgument."""
    return _Expansion(text, variables, escape).until("")


def expand_text(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """A heredoc's text with its variables put in: quotes mean nothing there. Raises InvalidArgument."""
    return _Expansion(text, variables, escape).text()


def expand_all(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """As ``expand``, and then split: an unquoted variable may hold several words."""
    found = []
    for word in split(text, escape):
        value = expand(word, variables, escape)
        found += [value] if word[0] in "\"'" else value.split()
    return found


def _name_of(quote: str) -> str:
    return "single-quote" if quote == "'" else "double-quote"


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text, self._variables, self._escape = text, variables, escape
        self._at = self._depth = 0

    def _next(self) -> str:
        character = self._text[self._at : self._at + 1]
        self._at += 1
        return character

    def until(self, end: str) -> str:
        """What comes up to the character ``end``, which is taken; up to the end of the text if it is empty."""
        found = ""
        while self._at < len(self._text):
            character = self._next()
            if end and character == end:
                return found
            if character == "'":
                found += self._literal()
            elif character == '"':
                found += self._double()
            elif character == "$":
                found += self._variable()
            elif character == self._escape:
                found += self._next()
            else:
                found += character
        if end:
            raise InvalidArgument(f"syntax error: missing '{end}' in {self._text[:100]!r}")
        return found

    def text(self) -> str:
        """All of it, as between double quotes; a double quote itself is a character like any other."""
        found = ""
        while self._at < len(self._text):
            found += self._plain(self._next())
        return found

    def _plain(self, character: str) -> str:
        """A character where only variables and the escape mean something."""
        if character == "$":
            return self._variable()
        if character != self._escape:
            return character
        after = self._next()
        return after if after in ('"', "$", self._escape) else character + after

    def _literal(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise InvalidArgument(f"unexpected end of statement while looking for matching {_name_of(chr(39))}")
        found, self._at = self._text[self._at : end], end + 1
        return found

    def _double(self) -> str:
        found = ""
        while self._at < len(self._text):
            character = self._next()
            if character == '"':
                return found
            found += self._plain(character)
        raise InvalidArgument(f"unexpected end of statement while looking for matching {_name_of(chr(34))}")

    def _variable(self) -> str:
        if self._text[self._at : self._at + 1] == "{":
            self._at += 1
            return self._braced()
        found = _NAME.match(self._text, self._at)
        if not found:
            return "$"
        self._at = found.end()
        return self._variables.get(found[0], "")

    def _braced(self) -> str:
        found = _BRACED.match(self._text, self._at)
        if not found:
            raise InvalidArgument(f"syntax error: bad substitution in {self._text[:100]!r}")
        self._at, name = found.end(), found[0]
        value, modifier = self._variables.get(name), self._next()
        if modifier == "}":
            return value or ""
        unless_empty = modifier == ":"
        if unless_empty:
            modifier = self._next()
        if modifier not in ("-", "+", "?"):
            raise InvalidArgument(f"unsupported modifier ({modifier}) in substitution: {self._text[:100]!r}")
        self._depth += 1
        if self._depth > _DEPTH:
            raise InvalidArgument("syntax error: substitutions are nested too deeply")
        word = self.until("}")
        self._depth -= 1
        given = bool(value) if unless_empty else value is not None
        if modifier == "+":
            return word if given else ""
        if modifier == "?" and not given:
            raise InvalidArgument(f"{name}: {word or 'not allowed to be unset'}")
        return (value or "") if given else word
