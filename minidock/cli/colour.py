"""Colour, where it helps to find one line among many: states, results, errors, the help pages. On terminals only.

For the commands that print tables, tell() and the help; imported where a terminal is. A pipe, a file, TERM=dumb and
NO_COLOR get plain text, and so does every `--format`. See: https://no-color.org
"""

from __future__ import annotations

import os
import re
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Painted(str):
    """A text that output.table() writes in colour; as long as it looks, and plain everywhere else."""

    code = ""


def wanted(stream: TextIO) -> bool:
    """Whether the stream's reader sees colours and wants them."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str, stream: TextIO) -> str:
    """The text as a cell of a table."""
    if not colour or not wanted(stream):
        return text
    cell = Painted(text)
    cell.code = _CODES[colour]
    return cell


def paint(text: str, colour: str) -> str:
    """The text with the codes around it."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def of_status(status: str) -> str:
    """The colour of a container's status, as `ps` shows it."""
    if "(unhealthy)" in status or re.match(r"Exited \([^0]|Dead", status):
        return "red"
    if "(Paused)" in status or status.startswith(("Restarting", "Removal")):
        return "yellow"
    return "green" if status.startswith("Up") else "dim"


def error(text: str) -> str:
    """A message on stderr: who speaks, and where the hint begins."""
    name, colon, rest = text.partition(":")
    return paint(name + colon, "red") + rest.replace("; hint:", f"; {paint('hint:', 'bold')}", 1)


def help_page(text: str) -> str:
    """A help page: headings bold, what can be typed in a colour of its own."""
    text = re.sub(r"^([A-Z][A-Za-z ]*:)(?=$|  )", lambda found: paint(found[1], "bold"), text, flags=re.MULTILINE)
    typed = r"^( {2,6})((?:-\w, )?--?\S+|[a-z][a-z-]*(?= {2,}))"
    return re.sub(typed, lambda found: found[1] + paint(found[2], "cyan"), text, flags=re.MULTILINE)
