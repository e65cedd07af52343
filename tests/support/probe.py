"""The probe: a static program of ours that says from inside a container what it sees (../probe/main.c).

``program()`` compiles it when its sources have changed; ``rootfs(folder)`` makes an otherwise empty root with it as
/probe, and ``archive(folder)`` the same as a tar that ``minidock import`` and ``docker import`` take. ``run()`` runs it
on the host, for tests of kernel pieces without a container. What it can tell and do: ``probe help``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.sources import TOP

SOURCES = TOP / "tests" / "probe"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-static")
FOLDERS = ("proc", "sys", "dev", "etc", "tmp", "run", "root")


@cache
def program() -> Path:
    """The probe, compiled; kept in .cache/ under the digest of its sources, so that one build serves all runs."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"\0".join((*(file.read_bytes() for file in sources), *map(str.encode, FLAGS))))
    kept = TOP / ".cache" / "probe" / digest.hexdigest()[:16] / "probe"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        files = [str(file) for file in sources if file.suffix == ".c"]
        subprocess.run(["cc", *FLAGS, "-o", str(fresh), *files], check=True, timeout=120)
        fresh.replace(kept)
    return kept


def rootfs(folder: Path) -> Path:
    """An empty root in ``folder``: the probe as /probe, a user file with root and user 1000, and the usual folders."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/probe\nuser:x:1000:1000::/tmp:/probe\n")
    (folder / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    (folder / "tmp").chmod(0o1777)
    shutil.copy2(program(), folder / "probe")
    return folder


def archive(folder: Path) -> bytes:
    """The same root as an uncompressed tar; ``folder`` is scratch space."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(rootfs(folder), ".", filter=_owned_by_root)
    return buffer.getvalue()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def run(*arguments: str, within: Sequence[str] = ()) -> Any:
    """Runs the probe on the host and gives its JSON. ``within`` is a command to run it by, such as unshare's."""
    done = subprocess.run(
        [*within, str(program()), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout:
        raise AssertionError(f"probe {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)
