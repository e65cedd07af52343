"""System calls that Python lacks, each as a function that raises OSError with the path or what was asked for.

The C side is csrc/shim.c (by cffi, which lets go of the interpreter lock during a call). ``setns`` and ``unshare``
change the calling *thread*: call them in a thread that ends with the work, never in the event loop's.

Paths that an image or a user names are opened by ``openat2`` only. The kernel then treats the directory fd as "/" for
absolute links and "..", and follows no magic link, so nothing outside can be reached and nothing can be swapped between
a check and its use. See: openat2(2), security.md rows on CVE-2021-30465 and CVE-2018-15664.

Serves engine/, network/ and runtime/monitor.py. Read next: csrc/shim.c; csrc/path.c does the same within a start.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from minidock._shim import ffi, lib

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
"""How every path of a container is resolved."""


def monitor_path() -> Path:
    """The monitor's binary as installed. It is copied into a sealed memfd once and run from there."""
    return Path(__file__).with_name("minidock-monitor")


def spawn(exe_fd: int, fds: Sequence[int], argv: Sequence[str]) -> int:
    """Starts the program behind ``exe_fd`` (a sealed memfd) and returns its pid, which the caller waits for.

    ``fds[i]`` becomes fd ``3 + i`` there, 0 to 2 are /dev/null; a session of its own, default signals, no environment.
    The daemon is not copied for it (posix_spawn).
    """
    arguments = [ffi.new("char[]", os.fsencode(one)) for one in argv]
    result = lib.md_spawn(exe_fd, list(fds), len(fds), [*arguments, ffi.NULL])
    return _checked(result, argv[0] if argv else None)


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = IN_ROOT) -> int:
    """An fd, close-on-exec, of ``path`` as a process whose "/" is ``dirfd`` would find it, or as ``resolve`` says.

    ``mode`` counts with O_CREAT or O_TMPFILE and must be 0 otherwise.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return _checked(lib.md_openat2(dirfd, encoded, flags | os.O_CLOEXEC, mode, resolve), path)


def open_regular(root: int, path: str) -> int:
    """An fd to read a file by that a stranger may have made. Raises OSError, EINVAL for what is no regular file.

    That is not opened even for a moment: a FIFO waits for its other end, and a device node, which a container can make
    and not open, is the host's device to us (to open a watchdog is to start it).
    """
    place = openat2(root, path, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def setns(fd: int, nstype: int) -> None:
    """Moves the calling thread into a namespace: ``fd`` of /proc/PID/ns/…, or a pidfd with several CLONE_NEW* flags."""
    _checked(lib.md_setns(fd, nstype), f"setns fd {fd}")


def unshare(flags: int) -> None:
    """Gives the calling thread new namespaces (CLONE_NEW*)."""
    _checked(lib.md_unshare(flags), f"unshare {flags:#x}")


def overlay_view(base: str, lowers: str) -> int:
    """An O_PATH fd of the layers seen as one tree, read-only and mounted nowhere; it ends when the fd is closed.

    ``lowers`` is joined by ':', top first, relative to ``base``. To list the root, open "." below the fd.
    """
    return _checked(lib.md_overlay_view(os.fsencode(base), os.fsencode(lowers)), base)


def container_tree(
    layers: tuple[str, str],
    place: str,
    writable: tuple[str, str] | None,
    binds: Sequence[tuple[str, str, str, bool]] = (),
    readonly: tuple[bool, bool] = (False, False),
) -> int:
    """An fd of a container's root as it would be if it ran, mounted nowhere; it ends when the fd is closed.

    ``layers``: base and lowers as for ``overlay_view``; ``place``: an empty directory to mount on for a moment;
    ``writable``: the upper and the work directory, or None; ``binds``: source, what of it (""
    for all), target, whether read-only; ``readonly``: the root, and everything.
    """
    keep = [ffi.new("char[]", os.fsencode(text)) for text in (*layers, *(writable or ("", "")), place)]
    texts = [[ffi.new("char[]", os.fsencode(text)) for text in bind[:3]] for bind in binds]
    lists = [ffi.new("char *[]", [text[field] for text in texts]) for field in range(3)]
    locked = ffi.new("int[]", [int(bind[3]) for bind in binds])
    tree = ffi.new("struct md_tree *", (*keep, *map(int, readonly), len(binds), *lists, locked))
    return _checked(lib.md_container_tree(tree), place)


def userns(uid_map: str, gid_map: str) -> int:
    """An fd of a new user namespace, which lives as long as the fd; the maps are lines of "INSIDE OUTSIDE COUNT"."""
    return _checked(lib.md_userns(uid_map.encode(), gid_map.encode()), f"user namespace {uid_map.split()}")


def netns_in(userns: int) -> int:
    """An fd of a new network namespace that belongs to a user namespace (an fd of it)."""
    return _checked(lib.md_netns_in(userns), "network namespace in a user namespace")


def try_idmap(userns: int, base: Path) -> None:
    """Mounts an overlay with shifted ids below ``base`` (csrc/userns.h: what must be there); nothing stays of it."""
    _checked(lib.md_try_idmap(userns, os.fsencode(base)), str(base))


def act_as(uid: int, gid: int) -> None:
    """The calling *thread* makes files as this owner from now on, and keeps its rights. 0, 0 takes it back."""
    _checked(lib.md_act_as(uid, gid), f"act as {uid}:{gid}")


def one_heap() -> None:
    """All threads allocate from one heap. glibc gives each its own, of which a megabyte stays with a thread that idles.

    Little waits for it: Python has one thread at work at a time. See: mallopt(3), M_ARENA_MAX.
    """
    lib.mallopt(lib.M_ARENA_MAX, 1)


def _checked(result: int, what: str | None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
    return result
