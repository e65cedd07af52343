"""`minidock history`: the steps that an image came by, newest first.

Read next: images.py, output.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidock.cli.output import cut, local_time, show_rows
from minidock.cli.verb import argument, client, flag, value, verb
from minidock.client.distribution import Distribution
from minidock.wire.names import short_id
from minidock.wire.times import SECOND, ago
from minidock.wire.units import decimal_size

MISSING = "<missing>"
WIDTH = 45  # of CREATED BY, as docker cuts it
HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


@verb("history")
@argument("image", "IMAGE")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("-H", "--human", help="Print sizes and dates in human readable format", default=True)
@flag("--no-trunc", help="Don't truncate output")
@flag("-q", "--quiet", help="Only show image IDs")
def history_command(image: str, layout: str | None, human: bool, no_trunc: bool, quiet: bool) -> None:
    """Show the history of an image"""
    rows = [history_row(step, human, no_trunc) for step in Distribution(client()).history(image)]
    if quiet and not layout:
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return
    when = "CreatedSince" if human else "CreatedAt"
    show_rows(rows, layout, ["ID", when, "CreatedBy", "Size", "Comment"], HEADINGS)


def history_row(step: Mapping[str, Any], human: bool, no_trunc: bool) -> dict[str, object]:
    """A step's cells by docker's field names."""
    ident, created, by = str(step["Id"]), int(step.get("Created") or 0), str(step.get("CreatedBy") or "")
    by = by.replace("\t", " ")
    if not no_trunc:
        ident = ident if ident == MISSING else short_id(ident)
        by = cut(by, WIDTH)
    return {
        "ID": ident,
        "CreatedSince": ago(created * SECOND) if created > 0 else "N/A",
        "CreatedAt": local_time(created),
        "CreatedBy": by,
        "Size": decimal_size(step.get("Size") or 0) if human else str(step.get("Size") or 0),
        "Comment": str(step.get("Comment") or ""),
    }
