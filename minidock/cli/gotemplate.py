"""Go templates, the part of them that `--format` needs, over JSON data.

For formatting.py, inspect and the other commands with --format; imported only when a template is given. Known: fields
and chains (`.A.B`), `$`, `$x := …`, strings, numbers, true, false, nil, parentheses, pipes, the functions of
gotemplate_functions.py, if / else if / else, range (also with variables), with, trimming `{{-` and `-}}`, comments.
Not known, and refused by name: define, template, block, break, continue, and every other function.

A missing field whose name begins with a capital is an error, since it is a typing mistake or a part that the object
has not; a missing lower-case key is `<no value>`, as with a label. In `if`, `with`, `range`, `and`, `or` and `not` both
count as false. This is what docker shows, whose data has types and ours has none.
See: https://pkg.go.dev/text/template. Read next: gotemplate_functions.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from minidock.cli import gotemplate_functions as functions
from minidock.cli.gotemplate_functions import Missing, TemplateError

__all__ = ["Template", "TemplateError"]

_ACTION = re.compile(r"\{\{(-(?=\s))?((?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|/\*.*?\*/|.)*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)
    | (?P<number>[+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))
    | (?P<field>\.[A-Za-z_]\w*)
    | (?P<variable>\$\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>:=|[.|(),=])
    )""",
    re.VERBOSE,
)
_UNKNOWN = ("define", "template", "block", "break", "continue")

Scope = dict[str, Any]
Node = Callable[["Scope", Any], Iterator[str]]
Expression = Callable[["Scope", Any], Any]


class Token(NamedTuple):
    """A piece of an action; ``tight`` when no space stands before it (`.A.B` is one chain, `.A .B` two operands)."""

    kind: str
    text: str
    tight: bool


class Template:
    """A parsed template. Raises TemplateError, with the place, for what is wrong or not known."""

    def __init__(self, text: str) -> None:
        self._parser = _Parser(text)
        self._nodes, end = self._parser.nodes()
        if end:
            raise TemplateError(f"unexpected {{{{{end}}}}} in the template")

    def render(self, data: Any) -> str:
        """The template's text for ``data``: dicts, lists, strings, numbers, booleans, None; functions as methods."""
        return "".join(_run(self._nodes, {"$": data}, data))


def _run(nodes: Iterable[Node], scope: Scope, dot: Any) -> Iterator[str]:
    for node in nodes:
        yield from node(scope, dot)


class _Parser:
    """Recursive descent over the actions, giving functions that are called with (variables, dot)."""

    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self._tokens: list[Token] = []
        self._action = ""

    # -- actions -------------------------------------------------------------------------------------------------------

    def nodes(self) -> tuple[list[Node], str]:
        """Nodes up to {{end}}, {{else …}} or the end of the text, and which of these it was."""
        found: list[Node] = []
        for is_action, piece in self._pieces:
            if not is_action:
                found.append(_text(piece))
                continue
            self._begin(piece)
            word = self._tokens[0].text if self._tokens and self._tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                self._tokens.pop(0)
                return found, word
            if self._tokens:
                found.append(self._node(word))
                self._finish()
        return found, ""

    def _begin(self, action: str) -> None:
        self._action = action.strip()
        self._tokens = list(_tokens(self._action))

    def _finish(self) -> None:
        if self._tokens:
            raise TemplateError(f"unexpected {self._tokens[0].text!r} in {{{{{self._action}}}}}")

    def _node(self, word: str) -> Node:
        if word in _UNKNOWN:
            raise TemplateError(f"{{{{{word}}}}} is not known to minidock's templates")
        if word in ("if", "with", "range"):
            self._tokens.pop(0)
            return self._range() if word == "range" else self._branch(with_dot=word == "with")
        name, assigned = self._assignment()
        if name:
            return _assign(name, assigned)
        return _print(self._pipeline())

    def _assignment(self) -> tuple[str, Expression]:
        """``$x := pipeline`` or ``$x = pipeline`` at the head of the action; an empty name if it is none."""
        if len(self._tokens) > 1 and self._tokens[0].kind == "variable" and self._tokens[1].text in (":=", "="):
            name = self._tokens.pop(0).text
            self._tokens.pop(0)
            return name, self._pipeline()
        return "", _nothing

    def _branch(self, with_dot: bool) -> Node:
        name, condition = self._assignment()
        condition = condition if name else self._pipeline()
        self._finish()
        yes, no = self._body(with_dot)

        def node(scope: Scope, dot: Any) -> Iterator[str]:
            value = condition(scope, dot)
            inner = {**scope, name: value} if name else scope
            if functions.truth(value):
                yield from _run(yes, inner, value if with_dot else dot)
            else:
                yield from _run(no, scope, dot)

        return node

    def _body(self, with_dot: bool = False) -> tuple[list[Node], list[Node]]:
        """The nodes of a block and those of its else."""
        yes, end = self.nodes()
        no: list[Node] = []
        if end == "else":
            if self._tokens and self._tokens[0].text in ("if", "with"):
                word = self._tokens.pop(0).text
                return yes, [self._branch(with_dot=word == "with")]
            self._finish()
            no, end = self.nodes()
        if end != "end":
            raise TemplateError("a block of the template lacks its {{end}}")
        return yes, no

    def _range(self) -> Node:
        names = self._range_names()
        source = self._pipeline()
        self._finish()
        yes, no = self._body()

        def node(scope: Scope, dot: Any) -> Iterator[str]:
            pairs = functions.pairs(source(scope, dot))
            for key, value in pairs:
                bound = dict(zip(names, (key, value) if len(names) == 2 else (value,), strict=False))
                yield from _run(yes, {**scope, **bound}, value)
            if not pairs:
                yield from _run(no, scope, dot)

        return node

    def _range_names(self) -> list[str]:
        """``$k, $v :=`` or ``$v :=`` after range."""
        texts = [token.text for token in self._tokens[:4]]
        for count in (1, 3):
            if texts[count : count + 1] == [":="]:
                del self._tokens[: count + 1]
                return [text for text in texts[:count] if text != ","]
        return []

    # -- expressions ---------------------------------------------------------------------------------------------------

    def _pipeline(self) -> Expression:
        result = self._command(None)
        while self._tokens and self._tokens[0].text == "|":
            self._tokens.pop(0)
            result = self._command(result)
        return result

    def _command(self, piped: Expression | None) -> Expression:
        if not self._tokens:
            raise TemplateError(f"a value is missing in {{{{{self._action}}}}}")
        first = self._tokens[0]
        is_function = first.kind == "word" and first.text not in ("true", "false", "nil")
        if is_function:
            self._tokens.pop(0)
        head = None if is_function else self._operand()
        arguments = []
        while self._tokens and self._tokens[0].text not in ("|", ")"):
            arguments.append(self._operand())
        if piped:
            arguments.append(piped)
        if head is not None:
            return _call_value(head, arguments, first.text)
        return functions.call(first.text, arguments)

    def _operand(self) -> Expression:
        token = self._tokens.pop(0)
        if token.text == "(":
            inner = self._pipeline()
            if not self._tokens or self._tokens.pop(0).text != ")":
                raise TemplateError(f"a closing parenthesis is missing in {{{{{self._action}}}}}")
            return self._chain(inner)
        if token.kind == "field":
            return self._chain(_field(_dot, token.text[1:]))
        if token.kind == "variable":
            return self._chain(_variable(token.text))
        if token.text == ".":
            return _dot
        if token.kind == "word" and token.text not in ("true", "false", "nil"):
            return functions.call(token.text, [])
        if token.kind not in ("string", "number", "word"):
            raise TemplateError(f"unexpected {token.text!r} in {{{{{self._action}}}}}")
        return _constant(functions.literal(token.kind, token.text))

    def _chain(self, base: Expression) -> Expression:
        while self._tokens and self._tokens[0].kind == "field" and self._tokens[0].tight:
            base = _field(base, self._tokens.pop(0).text[1:])
        return base


# -- pieces of text ----------------------------------------------------------------------------------------------------


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """(is action, text) pieces, with the white space gone that ``{{-`` and ``-}}`` take away."""
    at, trim = 0, False
    for found in _ACTION.finditer(text):
        plain = text[at : found.start()]
        plain = plain.lstrip() if trim else plain
        yield False, plain.rstrip() if found[1] else plain
        body = found[2].strip()
        if not (body.startswith("/*") and body.endswith("*/")):
            yield True, body
        at, trim = found.end(), bool(found[3])
    rest = text[at:].lstrip() if trim else text[at:]
    if "{{" in rest:
        raise TemplateError("an action of the template lacks its }}")
    yield False, rest


def _tokens(action: str) -> Iterator[Token]:
    at = 0
    while at < len(action):
        found = _TOKEN.match(action, at)
        if not found:
            raise TemplateError(f"unexpected {action[at:].strip()[:10]!r} in {{{{{action}}}}}")
        kind = found.lastgroup or ""
        yield Token(kind, found[kind], found.start(kind) == at)
        at = found.end()


# -- nodes and expressions: what the parser gives ----------------------------------------------------------------------


def _text(piece: str) -> Node:
    return lambda scope, dot: iter((piece,))


def _print(value: Expression) -> Node:
    return lambda scope, dot: iter((functions.text(value(scope, dot)),))


def _assign(name: str, value: Expression) -> Node:
    def node(scope: Scope, dot: Any) -> Iterator[str]:
        scope[name] = value(scope, dot)
        return iter(())

    return node


def _nothing(scope: Scope, dot: Any) -> Any:
    return None


def _dot(scope: Scope, dot: Any) -> Any:
    return dot


def _constant(value: Any) -> Expression:
    return lambda scope, dot: value


def _variable(name: str) -> Expression:
    def expression(scope: Scope, dot: Any) -> Any:
        if name not in scope:
            raise TemplateError(f"undefined variable {name!r}")
        return scope[name]

    return expression


def _field(base: Expression, name: str) -> Expression:
    def expression(scope: Scope, dot: Any) -> Any:
        value = base(scope, dot)
        if isinstance(value, Missing):
            return value
        if value is None:
            return Missing(name)
        if not isinstance(value, dict):
            raise TemplateError(f"can't evaluate field {name}: its parent is no object but {functions.text(value)!r}")
        return value.get(name, Missing(name))

    return expression


def _call_value(value: Expression, arguments: list[Expression], name: str) -> Expression:
    """A value, or a method (a function among the data) with arguments, such as ``.Label "x"``."""

    def expression(scope: Scope, dot: Any) -> Any:
        found = value(scope, dot)
        if callable(found):
            return found(*(argument(scope, dot) for argument in arguments))
        if arguments:
            raise TemplateError(f"{name} is no function and takes no arguments")
        return found

    return expression
