"""Capabilities: root's powers in 41 pieces, and which of them a container keeps.

Since Linux 2.2 "is it root?" is 41 questions (capabilities(7)). A container's root process keeps the 14 powers that
package managers and servers use, and loses those that reach beyond it: CAP_SYS_ADMIN (mount, and half of the kernel),
CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_TIME … The 14 are Docker's, so that images behave as their authors saw them.

A set travels as a frozenset of names in OCI spelling (``CAP_CHOWN``) up to the plan, and from there as the bit mask of
capset(2), written in hexadecimal as /proc/PID/status writes it.

Serves runtime/plan.py (steps ``bounding`` and ``capabilities``), runtime/seccomp.py (rules that depend on
capabilities) and the engine (--cap-add, --cap-drop, --privileged). Read next: docs/steps/bounding.md, seccomp.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from minidock.wire.errors import InvalidArgument
from minidock.wire.names import nearest

_IN_ORDER = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
    SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
    AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
    CHECKPOINT_RESTORE
"""
# By number, as in include/uapi/linux/capability.h: CAP_CHOWN is 0, CAP_CHECKPOINT_RESTORE 40.

_KEPT = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
    AUDIT_WRITE
"""

NUMBERS: dict[str, int] = {f"CAP_{name}": number for number, name in enumerate(_IN_ORDER.split())}
"""Capability name → number, the bit in every mask."""

DEFAULT: frozenset[str] = frozenset(f"CAP_{name}" for name in _KEPT.split())
"""What a container keeps unless it asks otherwise: mask 00000000a80425fb."""

_ALL = "ALL"


def mask(names: Iterable[str]) -> int:
    """``{"CAP_CHOWN", "CAP_KILL"}`` → 0x21. The names must be known (see ``normalise``)."""
    return sum(1 << NUMBERS[name] for name in set(names))


def hex_mask(names: Iterable[str]) -> str:
    """The same as 16 hexadecimal digits, as in the Cap lines of /proc/PID/status."""
    return f"{mask(names):016x}"


def from_mask(bits: int) -> frozenset[str]:
    """0x21 → ``{"CAP_CHOWN", "CAP_KILL"}``. Bits of capabilities younger than this table are dropped."""
    return frozenset(name for name, number in NUMBERS.items() if bits >> number & 1)


def normalise(name: str) -> str:
    """One name as a user may write it (``net_admin``, ``CAP_NET_ADMIN``, ``all``) → ``CAP_NET_ADMIN`` or ``ALL``.

    Raises InvalidArgument for a name that is none, with the nearest one as hint.
    """
    upper = name.strip().upper()
    if upper in (_ALL, "CAP_ALL"):
        return _ALL
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full in NUMBERS:
        return full
    hint = nearest(full, NUMBERS) or "see capabilities(7) for the names"
    raise InvalidArgument(f"unknown capability: {name!r}", hint)


def tweak(
    add: Iterable[str],
    drop: Iterable[str],
    privileged: bool = False,
    bounding: frozenset[str] | None = None,
) -> frozenset[str]:
    """The capabilities of a container that asks for ``--cap-add``, ``--cap-drop`` or ``--privileged``.

    Docker's rules, in their order: privileged takes all there is; ``--cap-add ALL`` takes all but what is dropped;
    ``--cap-drop ALL`` leaves just what is added; otherwise the default set less the dropped, plus the added (a name in
    both is in). "All there is" is ``bounding``, by default the daemon's own: nobody can hand on what it hasn't got.
    A default capability outside of it is left out; one that was asked for by name is refused.
    """
    available = own_bounding() if bounding is None else bounding
    added, dropped = (
        {normalise(name) for name in add},
        {normalise(name) for name in drop},
    )
    if missing := added - {_ALL} - available:
        raise InvalidArgument(
            f"capability {min(missing)} is not available: the daemon does not have it in its own bounding set",
            "start the daemon with it (systemd: CapabilityBoundingSet=), or do without --cap-add",
        )
    if privileged:
        return available
    if _ALL in added:
        return available - dropped
    if _ALL in dropped:
        return frozenset(added)
    return (DEFAULT & (available - dropped)) | added


def own_bounding(status: Path = Path("/proc/self/status")) -> frozenset[str]:
    """This process's bounding set: the most that any descendant can ever have.

    Read from the kernel's own account and not by PR_CAPBSET_READ of each number, since it is one read and since a
    kernel's newest capability may be younger than the numbers that python-prctl was built with.
    """
    for line in status.read_text().splitlines():
        if line.startswith("CapBnd:"):
            return from_mask(int(line.split()[1], 16))
    return frozenset()
