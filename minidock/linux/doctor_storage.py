"""The doctor's questions about the data root: can overlays have their upper directory there, and is there room?

Not every filesystem will do: an overlay can't have its upper on another overlay (a container's own root), on NFS, or on
Windows' drives in WSL2 (/mnt/c), and the kernel says so only when asked to mount. So one is mounted, with an unlink
of a lower file for the whiteout, in a mount namespace that ends with the probe.

Serves doctor.py. See: Documentation/filesystems/overlayfs.rst, "Upper and Lower". Read next: check.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from minidock.linux import mountinfo, shim, userns
from minidock.linux.check import Check
from minidock.linux.reason import reason
from minidock.wire.errors import Unavailable

_GIB = 1 << 30
_PATIENCE = 30  # seconds

_PROBE = """
mkdir lower upper work merged && echo x >lower/file
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
rm merged/file && test -c upper/file
"""


def overlay(data_root: Path) -> Check:
    """Mounts one on the data root's filesystem and deletes a file of the lower layer through it."""
    directory = nearest(data_root)
    mount = mountinfo.containing(mountinfo.read(), directory.resolve())
    where = f"{directory} ({mount.fstype if mount else 'unknown filesystem'})"
    if os.geteuid() != 0:
        return Check("overlay", "warn", f"not tried on {where}: that takes root", "run it as root")
    scratch = tempfile.mkdtemp(prefix="minidock-doctor-", dir=directory)
    try:
        complaint = _mounted(scratch) or _detached(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if complaint:
        hint = "--data-root on a local ext4, xfs or btrfs; modprobe overlay"
        return Check("overlay", "fail", f"does not work on {where}: {complaint}", hint)
    return Check("overlay", "ok", f"works on {where}")


def _mounted(scratch: str) -> str:
    """What went wrong with a mount as a container gets it; "" if nothing did."""
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _PROBE],
            check=False, cwd=scratch, capture_output=True, text=True, timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {_PATIENCE} s"
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or "no whiteout was made"


def _detached(scratch: str) -> str:
    """The same for mounts that are only an fd (fsopen, fsmount, open_tree, mount_setattr): cp and diff read by them."""
    for lowers in ("upper:lower", "lower"):
        try:
            os.close(shim.overlay_view(scratch, lowers))
        except OSError as error:
            return f"detached mount: {reason(error)}"
    return ""


def shifted(data_root: Path) -> Check:
    """The same with shifted ids, for containers whose root is nobody outside."""
    directory, name = nearest(data_root), "userns-remap"
    if os.geteuid() != 0:
        return Check(name, "warn", "layers with shifted ids: not tried, that takes root", "run it as root")
    try:
        userns.try_out(directory)
    except Unavailable as error:
        return Check(name, "warn", f"minidockd --userns-remap can't be used: {error.message}", error.hint)
    return Check(name, "ok", f"layers can be mounted with shifted ids on {directory}")


def space(data_root: Path) -> Check:
    """Bytes and inodes that are left."""
    directory = nearest(data_root)
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    text = f"{free / _GIB:.1f} GiB free at {directory}"
    if free < _GIB // 16 or (found.f_files and found.f_favail < 1000):
        return Check("disk space", "fail", f"{text}, {found.f_favail} inodes", "make room, or another --data-root")
    if free < _GIB:
        return Check("disk space", "warn", text, "images take some 100 MiB each")
    return Check("disk space", "ok", text)


def nearest(path: Path) -> Path:
    """The path itself, or the first of its parents that exists: the data root may not have been made yet."""
    return next(directory for directory in (path, *path.parents) if directory.exists())
