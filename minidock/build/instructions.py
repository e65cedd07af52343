"""One logical line → an instruction, checked: its flags, its arguments as a JSON list or as words.

What depends on variables is left as it is written; ``stages.py`` gathers the instructions, the builder expands them
when their turn comes. Messages are moby's (frontend/dockerfile/instructions).

See: Dockerfile reference. Read next: stages.py, settings.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from minidock.build import words
from minidock.build.lines import Heredoc, Line, ParseError
from minidock.wire.errors import InvalidArgument
from minidock.wire.names import nearest

_FLAGS: dict[str, tuple[str, ...]] = {
    "FROM": ("platform",),
    "COPY": ("from", "chown", "chmod"),
    "ADD": ("chown", "chmod"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
_BUILDKIT_FLAGS: dict[str, tuple[str, ...]] = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("link", "parents", "exclude"),
    "ADD": ("checksum", "keep-git-dir", "link", "exclude", "unpack"),
}
_NOT_IN_ONBUILD = ("FROM", "MAINTAINER", "ONBUILD")


@dataclass(frozen=True)
class Instruction:
    """``source`` is how "Step 1/3 :" shows it; ``text`` what follows the flags; ``words`` the same in pieces."""

    name: str
    line: int
    source: str
    text: str = ""
    words: tuple[str, ...] = ()
    is_exec: bool = False  # the exec form, a JSON list
    flags: dict[str, str] = field(default_factory=dict)
    heredocs: tuple[Heredoc, ...] = ()

    def error(self, message: str, hint: str = "") -> ParseError:
        """An error about this line."""
        return ParseError(self.line, message, hint)


def parse(line: Line, escape: str = "\\") -> Instruction:
    """An instruction. Raises ParseError."""
    name, _, rest = line.text.replace("\t", " ", 1).partition(" ") if "\t" in line.text else line.text.partition(" ")
    name = name.upper()
    try:
        reader = _READERS[name]
    except KeyError:
        raise ParseError(line.number, f"unknown instruction: {name[:80]}", nearest(name, _READERS)) from None
    try:
        flags, text = _take_flags(name, rest.strip(), escape)
        if not text:
            raise InvalidArgument(f"{name} requires {_WANTED.get(name, 'at least one argument')}")
        found, is_exec = reader(text, escape)
    except InvalidArgument as error:
        raise ParseError(line.number, error.message, error.hint) from None
    instruction = Instruction(name, line.number, line.text, text, tuple(found), is_exec, flags, line.heredocs)
    _check(instruction)
    return instruction


def parse_text(text: str, escape: str = "\\") -> Instruction:
    """An instruction that is a line of its own: ``--change``, a trigger of ONBUILD."""
    return parse(Line(1, text.strip()), escape)


def _take_flags(name: str, text: str, escape: str) -> tuple[dict[str, str], str]:
    flags: dict[str, str] = {}
    while text.startswith("--"):
        word = words.split(text.split(None, 1)[0], escape)[0] if '"' not in text else words.split(text, escape)[0]
        text = text[len(word) :].lstrip()
        if word == "--":
            break
        flag, equals, value = word[2:].partition("=")
        if flag in _BUILDKIT_FLAGS.get(name, ()):
            raise InvalidArgument(f"the --{flag} option of {name} requires BuildKit", "this is the classic builder")
        if flag not in _FLAGS.get(name, ()):
            raise InvalidArgument(f"unknown flag: --{flag} ({name})")
        if flag in flags:
            raise InvalidArgument(f"duplicate flag specified: {flag}")
        if not equals or not value:
            raise InvalidArgument(f"missing a value on flag: {flag}")
        flags[flag] = value
    return flags, text


# Ways to read arguments

Reader = Callable[[str, str], tuple[list[str], bool]]


def _blank_separated(text: str, escape: str) -> tuple[list[str], bool]:
    return text.split(), False


def _quoted_words(text: str, escape: str) -> tuple[list[str], bool]:
    return words.split(text, escape), False


def _whole(text: str, escape: str) -> tuple[list[str], bool]:
    return [text], False


def _maybe_json(otherwise: Reader) -> Reader:
    def read(text: str, escape: str) -> tuple[list[str], bool]:
        found = json_list(text)
        return (found, True) if found is not None else otherwise(text, escape)

    return read


def json_list(text: str) -> list[str] | None:
    """The exec form's words; None for what is no JSON list. Raises InvalidArgument for a list of other things."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")
    if any("\0" in item or any("\ud800" <= c <= "\udfff" for c in item) for item in value):
        raise InvalidArgument("a NUL or a lone surrogate in a string")
    return value


def pairs(text: str, escape: str = "\\", bare: bool = False) -> tuple[list[str], bool]:
    """``a=b c="d e"`` → ["a", "b", "c", '"d e"'], or the old form ``a b c`` → ["a", "b c"]."""
    found = words.split(text, escape)
    if "=" not in found[0]:
        if bare or len(found) < 2:
            raise InvalidArgument(f"can't find = in {found[0]!r}, must be of the form: name=value")
        name, rest = text.split(None, 1)
        return [name, rest.strip()], False
    result: list[str] = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"can't find = in {word!r}, must be of the form: name=value")
        if not name.strip("\"'"):
            raise InvalidArgument(f"names can not be blank: {word!r}")
        result += [name, value]
    return result, False


_READERS: dict[str, Reader] = {
    "ADD": _maybe_json(_quoted_words),
    "ARG": _quoted_words,
    "CMD": _maybe_json(_whole),
    "COPY": _maybe_json(_quoted_words),
    "ENTRYPOINT": _maybe_json(_whole),
    "ENV": pairs,
    "EXPOSE": _blank_separated,
    "FROM": _blank_separated,
    "HEALTHCHECK": _whole,
    "LABEL": pairs,
    "MAINTAINER": _whole,
    "ONBUILD": _whole,
    "RUN": _maybe_json(_whole),
    "SHELL": _maybe_json(_whole),
    "STOPSIGNAL": _whole,
    "USER": _whole,
    "VOLUME": _maybe_json(_blank_separated),
    "WORKDIR": _whole,
}
_WANTED = dict.fromkeys(("USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER"), "exactly one argument")
_WANTED |= dict.fromkeys(("COPY", "ADD"), "at least two arguments") | {"FROM": "either one or three arguments"}


# What is wrong whatever the variables are


def _check(instruction: Instruction) -> None:
    check = _CHECKS.get(instruction.name)
    if check:
        check(instruction)


def _check_from(one: Instruction) -> None:
    given = one.words
    if len(given) != 1 and not (len(given) == 3 and given[1].upper() == "AS"):
        raise one.error("FROM requires either one or three arguments", "write FROM IMAGE [AS NAME]")


def _check_copy(one: Instruction) -> None:
    if len(one.words) < 2:
        raise one.error(f"{one.name} requires at least two arguments, but only one was provided", "SOURCE… TARGET")
    if one.heredocs and "from" in one.flags:
        raise one.error(f"{one.name} can't take a heredoc --from another stage")


def _check_shell(one: Instruction) -> None:
    if not one.is_exec or not one.words:
        raise one.error("SHELL requires the arguments to be in JSON form")


def _check_volume(one: Instruction) -> None:
    if not all(path.strip() for path in one.words):
        raise one.error("VOLUME specified can not be an empty string")


def _check_arg(one: Instruction) -> None:
    for word in one.words:
        if not word.partition("=")[0].strip("\"'"):
            raise one.error(f"ARG names can not be blank: {word!r}")


def _check_onbuild(one: Instruction) -> None:
    trigger = one.text.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise one.error("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in _NOT_IN_ONBUILD:
        raise one.error(f"{trigger} isn't allowed as an ONBUILD trigger")
    if trigger not in _READERS:
        raise one.error(f"unknown instruction: {trigger[:80]}")


def _check_healthcheck(one: Instruction) -> None:
    kind, _, rest = one.text.partition(" ")
    if kind.upper() == "NONE":
        if rest.strip() or one.flags:
            raise one.error("HEALTHCHECK NONE takes no arguments")
    elif kind.upper() != "CMD":
        raise one.error(f"unknown type {kind[:40]!r} in HEALTHCHECK (try CMD)")
    elif not rest.strip():
        raise one.error("missing command after HEALTHCHECK CMD")


_CHECKS: dict[str, Callable[[Instruction], None]] = {
    "FROM": _check_from,
    "COPY": _check_copy,
    "ADD": _check_copy,
    "SHELL": _check_shell,
    "VOLUME": _check_volume,
    "ARG": _check_arg,
    "ONBUILD": _check_onbuild,
    "HEALTHCHECK": _check_healthcheck,
}
