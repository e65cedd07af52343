"""Ready sandboxes: a few network namespaces, plugged into the default bridge before anybody asks for one.

To make a sandbox takes the kernel longer than anything else in a start: a namespace, a pair of links, a port of the
bridge, addresses and routes. So some wait here, each with a lease in the name of the sandbox itself; to hand one out
is to write the container's id into that lease. Made while nothing starts (engine/networking/refill.py says when).

Nothing but the daemon's fd holds a ready sandbox, so it goes with the daemon, however that ends; its lease is what a
crash leaves, and since no container of that name runs, the next start sweeps it away like any other.
Blocks; may be called from any thread. Serves the engine. Read next: bridge.py, veth.py.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections import OrderedDict
from contextlib import suppress

from minidock.network.bridge import Bridge
from minidock.network.leases import READY
from minidock.network.sandbox import Sandbox
from minidock.network.veth import port_name
from minidock.wire.errors import Error
from minidock.wire.names import new_id


class Ready:
    """The sandboxes that wait, first made first given. ``size``: how many there are to be; 0 for none ever."""

    def __init__(self, bridge: Bridge | None, size: int) -> None:
        self._bridge = bridge
        self._size = size if bridge else 0
        self._lock = threading.Lock()
        self._making: str | None = None
        self._waiting: OrderedDict[str, Sandbox] = OrderedDict()
        self._stale: set[str] = set()

    @property
    def owners(self) -> set[str]:
        """The names of all leases that are in use here."""
        with self._lock:
            return {*self._waiting, *([self._making] if self._making else [])}

    @property
    def short(self) -> bool:
        """Whether there is something to be made."""
        return len(self._waiting) < self._size

    def take(self, container_id: str) -> Sandbox | None:
        """One of them, from now on the container's; None if there is none. The fd in it is the caller's."""
        while self._bridge and container_id not in self._bridge.leases():
            with self._lock:
                if not self._waiting:
                    return None
                owner, sandbox = self._waiting.popitem(last=False)
            try:
                if _plugged(sandbox) and self._bridge.hand_over(owner, container_id):
                    return sandbox
            except BaseException:
                self._discard(owner, sandbox)
                raise
            self._discard(owner, sandbox)
        return None

    def make_one(self) -> bool:
        """Adds one if there are too few; False where there is nothing to do, or no way to do it."""
        if self._bridge is None or not self.short:
            return False
        self._forget_stale()
        owner = READY + new_id()[: 64 - len(READY)]
        self._making = owner
        try:
            sandbox = self._bridge.claim(owner)
        except Error:  # the subnet is full, or the bridge has gone: who asks for an address is told
            return False
        except BaseException:
            self._stale.add(owner)  # the database failed, perhaps also in giving the lease back
            raise
        else:
            with self._lock:
                self._waiting[owner] = sandbox
            return True
        finally:
            self._making = None

    def clear(self) -> bool:
        """Gives all of them back, for the daemon's end or for who needs their addresses; whether there was one.

        The kernel takes a cable away with its namespace, which is all that the fd held; nobody need wait for that.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, OrderedDict()
        for owner, sandbox in waiting.items():
            self._discard(owner, sandbox)
        return bool(waiting)

    def _discard(self, owner: str, sandbox: Sandbox) -> None:
        os.close(sandbox.netns_fd)
        self._stale.add(owner)
        self._forget_stale()

    def _forget_stale(self) -> None:
        """Gives leases back; one for which that fails (the disk is full, say) is tried again with the next."""
        for owner in tuple(self._stale):
            with suppress(Error, OSError, sqlite3.Error):
                if self._bridge:
                    self._bridge.forget(owner)
                self._stale.discard(owner)


def _plugged(sandbox: Sandbox) -> bool:
    """Whether its cable is still there: somebody may have taken the bridge or the link away."""
    with suppress(OSError):
        return bool(socket.if_nametoindex(port_name(sandbox.endpoint.endpoint_id)))
    return False
