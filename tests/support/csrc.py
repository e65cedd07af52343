"""Compiling pieces of csrc/ for tests: small C drivers, with the address and undefined-behaviour sanitizers.

For the unit tests of what in csrc/ is pure computation (log lines, detach keys): a driver (tests/support/*_driver.c)
reads a script on stdin and drives the real source file. The whole monitor is built by monitors.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.sources import TOP

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")


def compile_driver(driver: str, sources: Sequence[str], folder: Path) -> Path:
    """Compiles tests/support/DRIVER with these files of csrc/; gives the program."""
    program = folder / Path(driver).stem
    files = [str(TOP / "tests" / "support" / driver), *(str(TOP / "csrc" / name) for name in sources)]
    subprocess.run(
        ["cc", *WARNINGS, *SANITIZE, "-I", str(TOP / "csrc"), "-o", str(program), *files], check=True, timeout=120
    )
    return program
