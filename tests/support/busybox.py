"""The static busybox of this machine: the system's, or the one that `make setup` unpacked into .cache/tools.

For tests that put a shell into a root of their own, or run one where only absolute paths count. A dynamic busybox, as
some systems have it, would lack its loader there. Read next: ../../scripts/setup.sh.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.sources import TOP


def _static(path: Path) -> bool:
    return path.is_file() and b"ld-linux" not in path.read_bytes()[:8192]


def _find() -> str:
    found = shutil.which("busybox")
    candidates = [Path(found)] if found else []
    candidates += [TOP / ".cache/tools/bin/busybox"]
    return str(next((path for path in candidates if _static(path)), candidates[0]))


BUSYBOX = _find()
