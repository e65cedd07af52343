"""Ready sandboxes when the database fails: no descriptor stays, and each lease is given back in the end.

What they are good for: root/test_bridge.py.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from ipaddress import IPv4Address, IPv4Interface

import pytest

from minidock.network.ready import Ready
from minidock.network.sandbox import Endpoint, Sandbox

ENDPOINT = Endpoint("net", "1" * 64, "eth0", "02:42:0a:00:00:02", IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.0.1"))


class FailingBridge:
    """A bridge whose database fails when it is told to."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.broken = False
        self.fds: list[int] = []

    def _try(self) -> None:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")

    def leases(self) -> dict[str, IPv4Address]:
        return {}

    def claim(self, owner: str) -> Sandbox:
        self.held.add(owner)
        self._try()
        self.fds.append(os.open("/dev/null", os.O_RDONLY))
        return Sandbox(self.fds[-1], ENDPOINT)

    def hand_over(self, owner: str, container_id: str) -> bool:
        self._try()
        return True

    def forget(self, owner: str) -> None:
        self._try()
        self.held.discard(owner)


def test_a_database_that_fails_costs_no_descriptor_and_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where a sandbox that can't be handed over is just dropped."""
    bridge = FailingBridge()
    ready = Ready(bridge, 1)  # type: ignore[arg-type]
    monkeypatch.setattr(socket, "if_nametoindex", lambda _: 1)
    ready.make_one()
    bridge.broken = True
    with pytest.raises(sqlite3.OperationalError):
        ready.take("c")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bridge.fds[0])
    with pytest.raises(sqlite3.OperationalError):
        ready.make_one()
    assert len(bridge.held) == 2
    bridge.broken = False
    assert ready.make_one()
    assert bridge.held == ready.owners and len(ready.owners) == 1
    assert ready.clear() and not bridge.held
