"""`minidock diff` and `minidock export`: a container's files, seen from outside.

For the user; `cp` is in cp.py. An archive never goes to a terminal.
"""

from __future__ import annotations

import sys

from minidock.cli import archive
from minidock.cli.verb import argument, client, value, verb
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
    archive.write(output, lambda: Files(client()).export(container))
