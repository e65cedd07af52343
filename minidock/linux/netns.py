"""Network namespaces: how to make one, and how to work in one without taking the daemon along.

unshare(2) moves one thread, not the process. So a short-lived thread makes the namespace, does there what is to be
done from inside, and ends; what stays is an fd, which keeps the namespace alive without a mount.

Serves network/sandbox.py (the containers' networks) and doctor_network.py (a place to try things in).
See: network_namespaces(7). Read next: ../network/sandbox.py.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from minidock.linux import shim

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sh22x")


def in_thread(work: Callable[[], T]) -> T:
    """Runs ``work`` in a thread that ends with it, and returns or raises what it did."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns") as thread:
        return thread.submit(work).result()


def enter_new_netns(userns: int | None = None) -> int:
    """unshare(CLONE_NEWNET): gives the calling thread a network of its own, with lo up, and returns an fd of it.

    It belongs to the user namespace ``userns`` (an fd) if there is one: CAP_NET_ADMIN there is a right over it.

    Why:   a namespace is made by moving into it; there is no call that makes one at a distance.
    Order: in a thread that ends afterwards (in_thread), once it has opened what it needs of the old network.
    See:   unshare(2), network_namespaces(7).   Look: ls -l /proc/PID/ns/net
    """
    if userns is None:
        shim.unshare(CLONE_NEWNET)
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = shim.netns_in(userns)
    try:
        if userns is not None:
            shim.setns(fd, CLONE_NEWNET)
        _raise_loopback()
    except BaseException:
        os.close(fd)
        raise
    return fd


def _raise_loopback() -> None:
    """Sets lo up, with which the kernel gives it 127.0.0.1 and ::1 (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        _, flags = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
