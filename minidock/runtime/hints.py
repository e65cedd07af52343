"""What to do about a step that failed: an errno says what the kernel thinks, a hint says what a person can try.

One table, by step and errno; ``ANY`` holds what an errno means whatever the step was. No entry is better than a guess.
Serves runtime/monitor.py, which puts the hint into the error. See: the ERRORS section of each step's man page.
"""

from __future__ import annotations

import errno

_HINTS: dict[tuple[str, int], str] = {
    ("overlay", errno.EINVAL): "the data root's file system can't carry an overlay (is it one itself?): give another "
    "--data-root, such as one on ext4 or xfs; minidock doctor tries it",
    ("private", errno.EINVAL): "the daemon is in a chroot, where containers are not closed: use pivot_root(8)",
    ("overlay", errno.ENODEV): "this kernel has no overlayfs: modprobe overlay",
    ("clone3", errno.ENOSPC): "too many namespaces: raise the limits in /proc/sys/user/",
    ("clone3", errno.EINVAL): "the kernel lacks a namespace that was asked for; minidock doctor says which",
    ("clone3", errno.EAGAIN): "too many processes: see pids.max of the cgroups above, and ulimit -u",
    ("devices", errno.EPERM): "the daemon lacks CAP_BPF or CAP_SYS_ADMIN",
    ("bind", errno.ENOENT): "the source has gone since the container was created",
    ("bind", errno.ENOTDIR): "a file can't be mounted on a directory, nor the other way round",
    ("rlimit", errno.EPERM): "the daemon lacks CAP_SYS_RESOURCE: ask for no more than its own hard limit (ulimit -H)",
    ("oom_score_adj", errno.EACCES): "the daemon lacks CAP_SYS_RESOURCE: a score can only be raised",
    ("apparmor", errno.ENOENT): "this kernel has no such profile any more: aa-status lists those that are loaded",
    ("sysctl", errno.ENOENT): "this kernel has no such setting, or not in this namespace",
    ("sysctl", errno.EINVAL): "the kernel refuses that value",
    ("workdir", errno.ENOENT): "the container has no such directory: give another one with -w",
    ("workdir", errno.ENOTDIR): "something that is no directory is in the way: give another one with -w",
    ("workdir", errno.EACCES): "give another directory with -w",
}

ANY: dict[int, str] = {
    errno.ENOSPC: "no room left: see df for the data root",
    errno.EDQUOT: "the disk quota of the data root is used up",
    errno.ENOMEM: "the machine is out of memory",
    errno.EMFILE: "too many open files: raise the daemon's limit (LimitNOFILE= in its unit)",
    errno.ETIMEDOUT: "it did not come to an end: does a network or FUSE file system not answer?",
    errno.ENFILE: "too many open files on this machine: raise fs.file-max",
}


def hint(step: str, number: int) -> str:
    """The hint for a step that failed with an errno, empty where there is none."""
    return _HINTS.get((step, number)) or ANY.get(number, "")
