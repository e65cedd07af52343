"""Connection tracking: making the kernel forget flows, by ctnetlink, without a program or a library.

For a UDP flow, which has no end that the kernel could see, what its first packet met holds for as long as packets keep
coming: a client that asked before a port was published, or while another container had it, would go on to be sent
where it was sent then. So the flow is forgotten, and the next packet is looked at anew.

A dump has one message a flow; of it the attribute CTA_TUPLE_ORIG (from where to where) is all that is read, and sent
back as it is to name the flow that shall go. Serves network/ports.py.
See: netlink(7), linux/netfilter/nfnetlink_conntrack.h. Look: conntrack -L -p udp. Read next: ../network/ports.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_FAMILY = struct.Struct("=BBH")  # nfgenmsg
_NESTED = 0x8000
_ORIG = _IP = _PROTOCOL_NUMBER = 1
_PROTOCOL = 2
_DESTINATION_PORT = 3
_DESTINATION: dict[int, int] = {socket.AF_INET: 2, socket.AF_INET6: 4}


def forget_udp(ports: Collection[int]) -> int:
    """Forgets the UDP flows to these ports of this host. Returns how many. Raises OSError."""
    forgotten = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        for family in _DESTINATION:
            flows = [flow for flow in _flows(kernel, family) if _concerns(flow, family, ports)]
            for flow in flows:
                _forget(kernel, family, flow)
            forgotten += len(flows)
    return forgotten


def _forget(kernel: socket.socket, family: int, flow: bytes) -> None:
    _send(kernel, family, _DELETE, _ACK, _ATTRIBUTE.pack(len(flow) + 4, _ORIG | _NESTED) + flow)
    for _, _, body in _messages(kernel):
        code = -struct.unpack_from("=i", body)[0]
        if code not in (0, errno.ENOENT):  # it may have ended by itself
            raise OSError(code, os.strerror(code))


def _flows(kernel: socket.socket, family: int) -> list[bytes]:
    """CTA_TUPLE_ORIG of every flow of a family."""
    _send(kernel, family, _GET, _DUMP)
    found: list[bytes] = []
    while True:
        for kind, _, body in _messages(kernel):
            if kind == _DONE:
                return found
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code))
            found.append(_attributes(body[_FAMILY.size :])[_ORIG])


def _concerns(flow: bytes, family: int, ports: Collection[int]) -> bool:
    outer = _attributes(flow)
    protocol, address = _attributes(outer[_PROTOCOL]), _attributes(outer[_IP]).get(_DESTINATION[family])
    if protocol[_PROTOCOL_NUMBER][0] != socket.IPPROTO_UDP or address is None:
        return False
    (port,) = struct.unpack("!H", protocol[_DESTINATION_PORT])
    return port in ports and _is_local(family, socket.inet_ntop(family, address))


def _is_local(family: int, address: str) -> bool:
    """Only an address of this host can be bound."""
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _send(kernel: socket.socket, family: int, kind: int, flags: int, attributes: bytes = b"") -> None:
    length = _HEADER.size + _FAMILY.size + len(attributes)
    kernel.send(_HEADER.pack(length, kind, _REQUEST | flags, 1, 0) + _FAMILY.pack(family, 0, 0) + attributes)


def _messages(kernel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, body) of each message in one read."""
    data = kernel.recv(1 << 17)
    while data:
        length, kind, flags, _, _ = _HEADER.unpack_from(data)
        yield kind, flags, data[_HEADER.size : length]
        data = data[length + -length % 4 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind & 0x3FFF] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found
