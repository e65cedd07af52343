"""Netlink: a dump that the kernel calls inconsistent. Requests and what they make: tests/root/test_bridge.py."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from minidock.linux import netlink
from minidock.linux.netlink import HEADER, Netlink, Request

INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
RTM_NEWLINK = 16


class Kernel:
    """A socket whose other end answers each dump with the next of these lists of datagrams."""

    def __init__(self, *dumps: list[bytes]) -> None:
        self._dumps = list(dumps)
        self._answers: list[bytes] = []

    def bind(self, address: tuple[int, int]) -> None: ...

    def close(self) -> None: ...

    def send(self, data: bytes) -> None:
        assert not self._answers, "the dump before was not read to its end"
        self._answers = list(self._dumps.pop(0) if len(self._dumps) > 1 else self._dumps[0])

    def recv(self, size: int) -> bytes:
        return self._answers.pop(0)


def link(name: str, flags: int = 0) -> bytes:
    return Request(RTM_NEWLINK, ifinfmsg, {}, [("IFLA_IFNAME", name)]).encode(flags, 1)


def done(flags: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + 4, 3, 2 | flags, 1, 0) + bytes(4)


def names(monkeypatch: pytest.MonkeyPatch, *dumps: list[bytes]) -> list[Any]:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", lambda *_: Kernel(*dumps))
        with Netlink() as kernel:
            return [one.name for one in netlink.links(kernel)]


@pytest.mark.parametrize("torn", [[link("a"), link("c", INTERRUPTED), done()], [link("a"), done(INTERRUPTED)]])
def test_a_dump_that_missed_something_is_asked_for_again(torn: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Older kernels keep their place in a dump of links by counting, which a link that goes makes wrong."""
    assert names(monkeypatch, torn, torn, [link("a") + link("b"), link("c"), done()]) == ["a", "b", "c"]


def test_it_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(monkeypatch, [link("a"), done(INTERRUPTED)]) == ["a"]
