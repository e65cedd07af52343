"""`minidock diff` and `minidock export`: a container's files, seen from outside.

For the user; `cp` is in cp.py. An archive never goes to a terminal.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, value, verb
from minidock.client.files import Files

_KINDS = "CAD"


@verb("diff")
@argument("container", "CONTAINER")
def diff_command(container: str) -> None:
    """Inspect changes to files or directories on a container's filesystem: A added, C changed, D deleted"""
    for change in Files(client()).changes(container):
        sys.stdout.write(f"{_KINDS[change['Kind']]} {change['Path']}\n")


@verb("export")
@argument("container", "CONTAINER")
@value("-o", "--output", help="Write to a file, instead of STDOUT", default="")
def export_command(container: str, output: str) -> None:
    """Export a container's filesystem as a tar archive"""
    if not output and is_terminal(1):
        raise Failed("cowardly refusing to save to a terminal; hint: use the -o flag, or redirect", 1)
    pieces = Files(client()).export(container)
    if not output:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    partial = f"{output}.partial-{os.getpid()}"
    try:
        with open(partial, "wb") as file:
            for piece in pieces:
                file.write(piece)
        os.rename(partial, output)
    except BaseException:
        if os.path.lexists(partial):
            os.unlink(partial)
        raise
