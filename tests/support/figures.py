"""What the fault tests have reached, as a table at the end of the run: the fault, what is demanded, what was reached.

A test says `figure("200 containers at once", "all gone in 30 s", "gone in 12.1 s")` when it has come through; a test
that fails says nothing here. With `make test-slow` the counts are the full ones. Serves ../conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Row = tuple[str, str, str]
Figure = Callable[[str, str, str], None]
HEAD: Row = ("fault", "demanded", "reached")


def table(rows: list[Row]) -> Iterator[str]:
    """The lines of the table, columns as wide as what is in them."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in (HEAD, *rows)) for column in range(3)]
    for row in (HEAD, tuple("-" * width for width in widths), *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
