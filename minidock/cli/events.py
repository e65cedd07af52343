"""`minidock events`: what happens, a line each, as it happens; with --since, what happened.

Ends at --until, or by an interrupt. Read next: wire/times.py for the forms of a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from time import localtime, strftime
from typing import Any

from minidock.cli.output import filter_map
from minidock.cli.verb import client, value, verb
from minidock.client.upkeep import Upkeep
from minidock.wire.times import SECOND


@verb("events")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output, such as event=start")
@value("--format", "layout", help="'json' or a Go template")
@value("--since", help="Show all events created since timestamp", default="")
@value("--until", help="Stream events until this timestamp", default="")
def events_command(filters: Sequence[str], layout: str | None, since: str, until: str) -> None:
    """Get real time events from the server"""
    found = Upkeep(client()).events(filter_map(filters), since, until)
    template = None
    if layout and layout != "json":
        from minidock.cli.gotemplate import Template

        template = Template(layout)
    for event in found:
        if template:
            print(template.render(event))
        else:
            print(json.dumps(event, separators=(",", ":")) if layout else line(event))
        sys.stdout.flush()


def line(event: Mapping[str, Any]) -> str:
    """``2026-11-22T01:02:03.000000004Z container start ID (image=busybox, name=web)``, in the local time."""
    seconds, rest = divmod(int(event["timeNano"]), SECOND)
    zone = strftime("%z", localtime(seconds))
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    actor = event["Actor"]
    shown = ", ".join(f"{key}={text}" for key, text in sorted((actor.get("Attributes") or {}).items()))
    moment = f"{strftime('%Y-%m-%dT%H:%M:%S', localtime(seconds))}.{rest:09d}{zone}"
    return f"{moment} {event['Type']} {event['Action']} {actor['ID']}" + (f" ({shown})" if shown else "")
