"""`minidock search`: what a registry's index finds, in docker's table. Without a host in TERM it is Docker Hub's.

Read next: image/search.py in the daemon, output.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minidock.cli import credentials, reference
from minidock.cli.output import cut, filter_map, show_rows
from minidock.cli.verb import argument, client, flag, value, verb
from minidock.client.distribution import Distribution

WIDTH = 45  # of DESCRIPTION, as docker cuts it
COLUMNS = ("Name", "Description", "StarCount", "IsOfficial")
HEADINGS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}


@verb("search")
@argument("term", "TERM")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="is-official=BOOL, stars=NUMBER")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@value("--limit", metavar="int", type=int, help="Max number of search results", default=0)
@flag("--no-trunc", help="Don't truncate output")
def search_command(term: str, filters: Sequence[str], layout: str | None, limit: int, no_trunc: bool) -> None:
    """Search Docker Hub, or HOST in HOST/TERM, for images"""
    query = {"term": term, "limit": str(limit) if limit else ""}
    found = Distribution(client()).search(query, filter_map(filters), credentials.header(reference.canonical(term)))
    as_table = not layout or layout.startswith("table")
    show_rows([_row(one, no_trunc, as_table) for one in found], layout, COLUMNS, HEADINGS)


def _row(found: Mapping[str, Any], no_trunc: bool, as_table: bool) -> dict[str, object]:
    text = "".join(letter if letter.isprintable() else " " for letter in str(found.get("description") or ""))
    official = bool(found.get("is_official"))
    return {
        "Name": str(found.get("name") or ""),
        "Description": text if no_trunc else cut(text, WIDTH),
        "StarCount": str(found.get("star_count") or 0),
        "IsOfficial": ("[OK]" if official else "") if as_table else str(official).lower(),
    }
