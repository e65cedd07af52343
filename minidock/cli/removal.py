"""What takes things away, whatever they are: `rm` goes through names, `prune` asks first.

Serves the commands of network.py, volume.py and upkeep.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from minidock.cli.verb import Failed, tell
from minidock.wire.errors import Error


def remove_each(names: Sequence[str], remove: Callable[[str], object], forgiven: tuple[type[Error], ...] = ()) -> int:
    """Prints the name of each that is gone and tells of each that is not; the exit code. ``forgiven``: no failures."""
    code = 0
    for name in names:
        try:
            remove(name)
        except forgiven:
            continue
        except Error as error:
            tell(error)
            code = 1
        else:
            print(name)
    return code


def agree(warning: str, what: str) -> None:
    """Asks whether what ``warning`` says shall go; raises Failed for anything but yes."""
    print(f"WARNING! This will remove{warning}")
    print("Are you sure you want to continue? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed(f"{what} has been cancelled", 1)
