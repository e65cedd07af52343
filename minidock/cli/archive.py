"""A tar on its way to the user: into a file, or to standard output.

For `save` and `export`. A file appears under its name when it is whole, since half an archive must not look like one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed


def write(path: str, ask: Callable[[], Iterable[bytes]]) -> None:
    """Asks for the archive and writes it to ``path``, or to stdout where that is empty."""
    if not path and is_terminal(1):
        raise Failed("cowardly refusing to save to a terminal; hint: use the -o flag or redirect", 1)
    pieces = ask()
    if not path:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
    elif os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a pipe
        with open(path, "wb") as file:
            file.writelines(pieces)
    else:
        _write_whole(path, pieces)


def _write_whole(path: str, pieces: Iterable[bytes]) -> None:
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.writelines(pieces)
        os.rename(partial, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(partial)
        if isinstance(error, OSError) and error.filename == partial:
            error.filename = path  # the name that the user gave
        raise
