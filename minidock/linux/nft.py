"""The nft program: rules go into the kernel as one script, of which all or nothing takes effect.

nft and not the netlink protocol below it: the script is what nft(8) documents, and what a reader can try by hand.
Serves network/firewall.py and the doctor. See: nft(8), "RULESET". Read next: ../network/firewall.py.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from typing import Any

PATIENCE = 30  # seconds: it waits for whoever else changes rules


def find() -> str | None:
    """The path of nft, which a user's PATH may not have; None where it is not installed."""
    return shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")


def load(script: str) -> str:
    """Carries a script out in the calling thread's network namespace. Returns "" or the first line of nft's complaint.

    Raises FileNotFoundError without the program, TimeoutError if it does not come to an end.
    """
    done = _run("-f", "-", script=script)
    if done.returncode == 0:
        return ""
    return next((line.strip() for line in done.stderr.splitlines() if line.strip()), f"nft exited {done.returncode}")


def ruleset() -> str:
    """All rules of the calling thread's network namespace, as JSON. Raises OSError with nft's complaint."""
    done = _run("-j", "list", "ruleset")
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or f"nft exited {done.returncode}")
    return done.stdout


def table(name: str) -> list[dict[str, Any]]:
    """What one table holds, by its family and name, as JSON; nothing where there is none. Raises OSError."""
    if name not in _run("list", "tables").stdout.replace("table ", "").splitlines():
        return []
    done = _run("-j", "list", "table", *name.split(" "))
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or f"nft exited {done.returncode}")
    return list(json.loads(done.stdout)["nftables"])


def _run(*arguments: str, script: str = "") -> subprocess.CompletedProcess[str]:
    program = find()
    if program is None:
        raise FileNotFoundError("nft")
    try:
        return subprocess.run(
            [program, *arguments], check=False, input=script, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "nft") from None
