"""User namespaces: made, recognised, and tried out before anybody relies on them.

A user namespace gives a process other numbers inside than outside: root of a container is, say, 100000 on the host, who
owns nothing there. Its layers are not copied for that: they are mounted with shifted ids (csrc/idmap.c), for which
kernel and file system must do their part.

Serves engine/remap.py, daemon.py and the doctor. See: user_namespaces(7), mount_setattr(2). Read next: idmap.py.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from minidock.linux import mountinfo, shim
from minidock.linux.idmap import IdMap, Range, parse_map
from minidock.linux.reason import reason
from minidock.wire.errors import Unavailable

_EXAMPLE = IdMap((Range(0, 100000, 65536),), (Range(0, 100000, 65536),))


def new(ids: IdMap) -> int:
    """An fd of a new user namespace, which the caller closes. Raises Unavailable where the kernel has none to give."""
    try:
        return shim.userns("".join(map(str, ids.uids)), "".join(map(str, ids.gids)))
    except OSError as error:
        raise Unavailable(f"make a user namespace: {reason(error)}", _hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "raise /proc/sys/user/max_user_namespaces"
    if error.errno == errno.EINVAL:
        return "the kernel needs CONFIG_USER_NS, and the ids must be numbers that the daemon has itself"
    return "the daemon needs all rights of root; in a container of its own it may not have them"


def of(pid: int) -> IdMap | None:
    """The maps of a process in another user namespace than ours; None for one in ours. Raises OSError if it is gone."""
    namespaces = [os.stat(f"/proc/{who}/ns/user") for who in (pid, "self")]
    if namespaces[0].st_ino == namespaces[1].st_ino:
        return None
    process = Path("/proc", str(pid))
    return IdMap(parse_map((process / "uid_map").read_text()), parse_map((process / "gid_map").read_text()))


def try_out(directory: Path, ids: IdMap = _EXAMPLE) -> None:
    """Mounts an overlay with shifted ids on the file system of ``directory``. Raises Unavailable where that fails."""
    namespace = new(ids)
    scratch = Path(tempfile.mkdtemp(prefix="minidock-idmap-", dir=directory))
    try:
        for part in ("layers/lower", "home/upper", "home/work", "home/place"):
            (scratch / part).mkdir(parents=True)
        shim.try_idmap(namespace, scratch)
    except OSError as error:
        mount = mountinfo.containing(mountinfo.read(), directory.resolve())
        where = f"{directory} ({mount.fstype if mount else 'unknown file system'})"
        hint = "Linux 5.19 or newer, and the data root on ext4, xfs or btrfs"
        raise Unavailable(f"layers with shifted ids on {where}: {reason(error)}", hint) from error
    finally:
        os.close(namespace)
        shutil.rmtree(scratch, ignore_errors=True)
