"""The project's own sources as data: Python modules with their imports and functions, C files with their functions.

For the law tests (../unit/test_laws.py). The C side needs no parser: clang-format's style puts the brace that opens a
function, and the one that ends it, in column one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
ENGINE_ROOMS = ("minidock", "csrc")


@dataclass(frozen=True)
class Function:
    """Where a function stands and how many lines it has, decorators and docstring not counted."""

    where: str
    name: str
    length: int


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (TOP / folder).rglob("*.py"))


def c_files() -> list[Path]:
    return sorted(path for pattern in ("*.c", "*.h") for path in (TOP / "csrc").glob(pattern))


def place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(TOP)}:{line}" if line else str(path.relative_to(TOP))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, also inside functions and under TYPE_CHECKING; `from a import b` as a.b."""
    package = path.relative_to(TOP).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            yield from ((node.lineno, f"{above}{node.module or ''}.{alias.name}") for alias in node.names)


def python_functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            first = body[0].lineno if body else node.lineno
            yield Function(place(path, node.lineno), node.name, (node.end_lineno or first) - first + 2)


def c_functions(path: Path) -> Iterator[Function]:
    lines = path.read_text().splitlines()
    start, name = 0, ""
    for number, line in enumerate(lines, 1):
        if found := re.match(r"[a-z].*?\b(\w+)\(", line):
            name = found[1]
        elif line == "{":
            start = number
        elif line == "}" and start:
            yield Function(place(path, start), name, number - start + 1)
            start = 0
