"""/etc/hosts of a container that runs, edited: who is on its networks, or linked to it, has changed.

In place, since the file is mounted into the container. The container may write into it what it likes, of any length and
encoding: its other lines stay as they are, and a file that has become too large for one is left alone.
Serves connections.py and links.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)
_MOST = 1 << 20


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replaces the lines of a file by what ``change`` makes of them."""
    with path.open("r+b") as file:
        data = file.read(_MOST + 1)
        if len(data) > _MOST:
            log.warning("%s: more than %d bytes, left as it is", path, _MOST)
            return
        lines = data.decode(errors="surrogateescape").removesuffix("\n").split("\n") if data else []
        text = "".join(f"{line}\n" for line in change(lines))
        file.seek(0)
        file.write(text.encode(errors="surrogateescape"))
        file.truncate()
