"""AppArmor: whether this kernel has it, which profiles are loaded, and the loading of ours.

A profile is compiled by ``apparmor_parser``, a program of Debian's and Ubuntu's apparmor package, which hands it to the
kernel through /sys/kernel/security/apparmor/.replace. Where it is missing, a profile of the host's can still be asked
for by its name; ours can't be loaded, and the doctor says so. A process gets its profile in C (csrc/steps_proc.c).

Serves engine/rights.py and the doctor. See: apparmor(7), apparmor_parser(8). Read next: minidock-default.apparmor.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from minidock.wire.errors import Unavailable

DEFAULT = "minidock-default"
UNCONFINED = "unconfined"
_TEXT = Path(__file__).with_name(f"{DEFAULT}.apparmor")
_SYS = Path("/sys")


def enabled(sys: Path = _SYS) -> bool:
    """Whether the kernel confines by AppArmor, and lets us see by what."""
    switch = sys / "module/apparmor/parameters/enabled"
    return switch.exists() and switch.read_text().startswith("Y") and _profiles(sys).exists()


def parser() -> str | None:
    """The path of the program that loads profiles, None where it is not installed."""
    return shutil.which("apparmor_parser") or shutil.which("apparmor_parser", path="/usr/sbin:/sbin")


def loaded(sys: Path = _SYS) -> frozenset[str]:
    """The names of the profiles that are in the kernel: lines such as ``man_filter (enforce)``."""
    return frozenset(line.rpartition(" (")[0] for line in _profiles(sys).read_text().splitlines())


def load_default() -> None:
    """Compiles our profile and puts it in the place of what the kernel has under its name. Raises Unavailable."""
    program = parser()
    if program is None:
        raise Unavailable(f"load the AppArmor profile {DEFAULT}: no apparmor_parser", "install the package apparmor")
    command = [program, "--replace", "--skip-cache", "--quiet", str(_TEXT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        told = done.stderr.strip().splitlines() or [f"apparmor_parser exited {done.returncode}"]
        raise Unavailable(f"load the AppArmor profile {DEFAULT}: {told[0]}", "aa-status says what this kernel has")


def _profiles(sys: Path) -> Path:
    return sys / "kernel/security/apparmor/profiles"
