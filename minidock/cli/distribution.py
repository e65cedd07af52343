"""Verbs that send images away: save.

Read next: image.py, for the verbs that bring images in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, value, verb


@verb("save")
@argument("images", "IMAGE [IMAGE...]", nargs=-1, required=True)
@value("-o", "--output", "path", help="Write to a file, instead of STDOUT", default="")
def save_command(images: Sequence[str], path: str) -> None:
    """Save one or more images to a tar archive (streamed to STDOUT by default)"""
    if not path and is_terminal(1):
        raise Failed("cowardly refusing to save to a terminal; hint: use the -o flag or redirect", 1)
    archive = client().save(images)
    if path:
        write_file(path, archive)
        return
    for piece in archive:
        sys.stdout.buffer.write(piece)


def write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file beside ``path`` and renames it when it is whole: half an archive must not look like one."""
    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a pipe
        with open(path, "wb") as file:
            file.writelines(pieces)
        return
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.writelines(pieces)
        os.rename(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
