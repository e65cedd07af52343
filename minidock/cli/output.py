"""Tables as docker prints them, and `--format` and `--filter` of commands that list things.

For ps, images and every command that prints columns. Columns are as wide as their longest cell and three spaces more,
ten at least; the last has no width. `--format` takes `table`, `json`, a template for each row, or `table TEMPLATE`.
Read next: gotemplate.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from time import localtime, strftime

from minidock.cli.verb import BadFlag

Row = dict[str, object]
GAP = 3
LEAST = 10


def table(rows: Iterable[Sequence[str]], least: int = LEAST) -> str:
    """Lines with aligned columns, each ended by a newline."""
    lines = [list(row) for row in rows]
    columns = zip_longest(*(line[:-1] for line in lines), fillvalue="")
    widths = [max(least, GAP + max(map(len, column))) for column in columns]
    text = ""
    for line in lines:
        padded = [_shown(cell) + " " * (width - len(cell)) for cell, width in zip(line[:-1], widths, strict=False)]
        text += "".join([*padded, *map(_shown, line[-1:])]) + "\n"
    return text


def _shown(cell: str) -> str:
    """A cell with its colour, if it has one (colour.py)."""
    code = getattr(cell, "code", "")
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell


def show_rows(rows: Sequence[Row], layout: str | None, columns: Sequence[str], headings: Mapping[str, str]) -> None:
    """Prints rows: the table of ``columns``, or what the user's ``layout`` (the value of --format) says.

    A row maps field names to texts; ``headings`` maps them to column heads.
    """
    layout = (layout or "table").strip()
    if layout == "table":
        lines = [[headings[column] for column in columns]]
        sys.stdout.write(table(lines + [[_text(row[column]) for column in columns] for row in rows]))
    elif layout == "json":
        show_template(rows, "{{json .}}")
    elif layout.startswith("table "):
        _show_table(rows, _tabs(layout[len("table ") :]), headings)
    else:
        show_template(rows, _tabs(layout))


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _tabs(layout: str) -> str:
    """Shells make no tabs, so docker takes a backslash and a t for one."""
    return layout.strip().replace("\\t", "\t").replace("\\n", "\n")


def show_template(objects: Iterable[object], layout: str) -> None:
    """Prints each object through a Go template, a line each."""
    from minidock.cli.gotemplate import Template

    template = Template(layout)
    for thing in objects:
        sys.stdout.write(template.render(thing) + "\n")


def _show_table(rows: Sequence[Row], layout: str, headings: Mapping[str, str]) -> None:
    from minidock.cli.gotemplate import Template

    template = Template(layout)
    heads: dict[str, object] = {**headings, "Label": lambda name: name}
    lines = [template.render(data).split("\t") for data in (heads, *rows)]
    sys.stdout.write(table(lines))


def cut(text: str, width: int) -> str:
    """The text, with an ellipsis where it had to be cut."""
    return text if len(text) <= width else text[: width - 1] + "…"


def local_time(seconds: int) -> str:
    """A time as Go prints it: ``2026-11-21 22:09:37 +0000 UTC``."""
    return strftime("%Y-%m-%d %H:%M:%S %z %Z", localtime(seconds))


def filter_map(filters: Sequence[str]) -> dict[str, list[str]]:
    """``--filter name=web --filter label=a=b`` as the API wants them."""
    found: dict[str, list[str]] = {}
    for text in filters:
        key, equals, wanted = text.partition("=")
        if not equals:
            raise BadFlag(
                f'invalid argument "{text}" for "-f, --filter" flag: bad format of filter (expected name=value)'
            )
        found.setdefault(key.strip().lower(), []).append(wanted.strip())
    return found
