"""A Dockerfile's text → logical lines: comments and parser directives gone, continuations joined, heredocs attached.

A parser of our own. dockerfile-parse (PyPI, last release 2023) is made to edit files: it knows no heredocs, checks
nothing, and its variables lack ``:?`` and scopes by stage; ``dockerfile`` (PyPI) is BuildKit's parser, and brings a Go
runtime into the daemon. What is needed is four small modules; the rules are those of moby's parser (buildkit
frontend/dockerfile/parser), and so are the texts of errors.

See: Dockerfile reference, "Parser directives", "Here-Documents". Read next: words.py, instructions.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from minidock.build import words
from minidock.wire.errors import InvalidArgument

MAX_BYTES = 4 << 20
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_SPACE = " \t\v\f\r"


class ParseError(InvalidArgument):
    """A Dockerfile that can't be understood, with the number of the line."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}", hint)


@dataclass(frozen=True)
class Heredoc:
    """``<<NAME``: the lines up to NAME. ``expand``: variables count (the name was not quoted); ``mark`` as written."""

    name: str
    content: str
    expand: bool
    mark: str


@dataclass(frozen=True)
class Line:
    """A logical line: where it begins, its text in one piece, and the heredocs that follow it."""

    number: int
    text: str
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class Lines:
    """All of a Dockerfile, and the character that escapes in it: a backslash, or a backquote."""

    lines: tuple[Line, ...]
    escape: str = "\\"


def read(data: bytes) -> Lines:
    """The logical lines of a Dockerfile. Raises InvalidArgument."""
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"the Dockerfile is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the Dockerfile is not UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise InvalidArgument("the Dockerfile holds a NUL", "is this a text file?")
    reader = _Reader([line.removesuffix("\r") for line in text.split("\n")])
    return Lines(tuple(reader.lines()), reader.escape)


@dataclass
class _Reader:
    physical: list[str]
    escape: str = "\\"
    at: int = 0
    _seen: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[Line]:
        self._directives()
        while self.at < len(self.physical):
            if self._skippable(self.physical[self.at]):
                self.at += 1
                continue
            number = self.at + 1
            text = self._joined().strip(_SPACE)
            if text:
                yield Line(number, text, tuple(self._heredocs(text, number)))

    def _directives(self) -> None:
        """``# escape=`` and its kind: at the very top only, before any other comment."""
        while self.at < len(self.physical):
            found = _DIRECTIVE.fullmatch(self.physical[self.at].strip())
            if not found:
                return
            name, value = found[1].lower(), found[2]
            if name in ("escape", "syntax", "check"):
                if name in self._seen:
                    raise ParseError(self.at + 1, f"only one {name} parser directive can be used")
                self._seen.add(name)
            if name == "escape":
                if value not in ("\\", "`"):
                    raise ParseError(self.at + 1, f"invalid escape token '{value}' does not match ` or \\")
                self.escape = value
            self.at += 1

    @staticmethod
    def _skippable(line: str) -> bool:
        bare = line.strip(_SPACE)
        return not bare or bare.startswith("#")

    def _joined(self) -> str:
        """The line at hand, and those that it continues on; comments and empty lines among them do not count."""
        text = ""
        while self.at < len(self.physical):
            line = self.physical[self.at]
            self.at += 1
            if self._skippable(line):
                continue
            piece, more = self._continued(line)
            text += piece
            if not more:
                break
        return text

    def _continued(self, line: str) -> tuple[str, bool]:
        """A line without the escape at its end, and whether there was one; a doubled one stands for itself."""
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], True
        return line, False

    def _heredocs(self, text: str, number: int) -> Iterator[Heredoc]:
        """A heredoc is a word of its own, ``<<NAME``, outside of quotes; NAME itself may be quoted."""
        if text.split(maxsplit=1)[0].upper() not in _WITH_HEREDOCS:
            return
        try:
            found = words.split(text, self.escape)
        except InvalidArgument:  # the shell's business: RUN echo it's
            return
        for word in found:
            if match := _HEREDOC.fullmatch(word):
                name = words.expand(match[2], {}, self.escape)
                yield Heredoc(name, self._until(name, bool(match[1]), number), name == match[2], word)

    def _until(self, name: str, tabs: bool, number: int) -> str:
        """The lines of a heredoc; with ``<<-`` without their leading tabs."""
        content = ""
        while self.at < len(self.physical):
            line = self.physical[self.at]
            self.at += 1
            if tabs:
                line = line.lstrip("\t")
            if line == name:
                return content
            content += line + "\n"
        raise ParseError(number, f"unterminated heredoc: no line {name!r} before the end of the file")
