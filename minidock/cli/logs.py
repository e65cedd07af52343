"""`minidock logs`: what a container has written, and with -f what it goes on to write.

The daemon sends frames for a container without a terminal, so that stdout and stderr come out where they belong.
"""

from __future__ import annotations

import sys

from minidock.cli.verb import BadFlag, argument, client, flag, parsed, value, verb
from minidock.wire.frames import STDERR, FrameParser
from minidock.wire.times import SECOND, parse_query_time


@verb("logs")
@argument("container", "CONTAINER")
@flag("-f", "--follow", help="Follow log output")
@value("-n", "--tail", default="all", help='Number of lines to show from the end of the logs (default "all")')
@value("--since", help="Show logs since a time (2026-01-02T13:23:37Z) or a duration back (42m)")
@value("--until", help="Show logs before a time (2026-01-02T13:23:37Z) or a duration back (42m)")
@flag("-t", "--timestamps", help="Show timestamps")
def logs_command(
    container: str, follow: bool, tail: str, since: str | None, until: str | None, timestamps: bool
) -> None:
    """Fetch the logs of a container"""
    query = {
        "stdout": True,
        "stderr": True,
        "follow": follow,
        "timestamps": timestamps,
        "tail": _tail(tail),
        "since": _moment("--since", since),
        "until": _moment("--until", until),
    }
    response, framed = client().logs(container, query)
    frames = FrameParser()
    for piece in response:
        for number, payload in frames.feed(piece) if framed else [(1, piece)]:
            (sys.stderr if number >= STDERR else sys.stdout).buffer.write(payload)
        sys.stdout.flush()
        sys.stderr.flush()


def _tail(text: str) -> str:
    """A number of lines, or `all`; docker takes everything below 0 for all."""
    if text == "all":
        return text
    try:
        return str(int(text)) if int(text) >= 0 else "all"
    except ValueError:
        raise BadFlag(f'invalid argument "{text}" for "-n, --tail" flag', "give a number of lines, or all") from None


def _moment(name: str, text: str | None) -> str:
    if not text:
        return ""
    seconds, fraction = divmod(parsed(name, text, parse_query_time), SECOND)
    return f"{seconds}.{fraction:09d}"
