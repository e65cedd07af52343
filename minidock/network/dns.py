"""DNS messages, as far as a resolver needs them that answers for a few names and hands the rest on. Pure.

    header 12 bytes: id, flags, numbers of questions, answers, authorities, additional records
    question: name (length byte and label, repeated, ended by 0), type, class
    record:   name, type, class, time to live, length, data; a name may be a pointer: 0xC00C is that of the question

Nothing here is a library's because this is all there is to it. Serves resolver.py. See: RFC 1035 section 4, RFC 6891.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

A, PTR, AAAA, ANY = 1, 12, 28, 255
SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED = 2, 4, 5
PLAIN_UDP = 512
"""What a client without EDNS can take in one datagram."""

_OPT, _IN = 41, 1
_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _RECURSION_WANTED, _RECURSION_HERE, _TRUNCATED, _OPCODE = 0x8000, 0x0100, 0x0080, 0x0200, 0x7800
_TTL = 600  # Docker's
_OUR_SIZE = 1232


@dataclass(frozen=True)
class Query:
    """A question: its name in lower case without the last dot. ``room``: the bytes that its answer may have by UDP."""

    ident: int
    flags: int
    name: str
    kind: int
    question: bytes
    room: int
    extended: bool


def parse(data: bytes) -> Query | None:
    """A standard query of class IN with one question; None for anything else, however it is mangled."""
    if len(data) < _HEADER.size:
        return None
    ident, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & (_RESPONSE | _OPCODE) or questions != 1 or answers or authorities:
        return None
    named = _name(data, _HEADER.size)
    if named is None or len(data) < named[1] + 4:
        return None
    name, end = named
    kind, family = struct.unpack_from(">HH", data, end)
    if family != _IN:
        return None
    room, rest = PLAIN_UDP, data[end + 4 :]
    extended = additional == 1 and len(rest) >= 11 and rest[:3] == b"\0\0\x29"
    if extended:
        room = max(PLAIN_UDP, struct.unpack_from(">H", rest, 3)[0])
    return Query(ident, flags, name, kind, data[_HEADER.size : end + 4], room, extended)


def _name(data: bytes, at: int) -> tuple[str, int] | None:
    """The name at an offset, and the offset behind it. A question's has no pointers."""
    labels: list[str] = []
    while at < len(data):
        length = data[at]
        if length == 0:
            return ".".join(labels).lower(), at + 1
        if length > 63 or at + 1 + length > len(data) or len(labels) > 127:
            return None
        labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return None


def encode_name(name: str) -> bytes:
    """A name on the wire."""
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label) + b"\0"


def answer(query: Query, kind: int, values: Sequence[bytes], room: int) -> bytes:
    """A response with a record of ``kind`` for each value; none says "the name is there, but has nothing of that kind".

    What does not fit into ``room`` is left out, and the response says so, upon which a client asks again by TCP.
    """
    room -= _HEADER.size + len(query.question) + (11 if query.extended else 0)
    records: list[bytes] = []
    for value in values:
        record = struct.pack(">HHHIH", 0xC00C, kind, _IN, _TTL, len(value)) + value
        if len(record) > room:
            return _response(query, records, _TRUNCATED)
        room -= len(record)
        records.append(record)
    return _response(query, records, 0)


def failure(query: Query, code: int = SERVER_FAILURE) -> bytes:
    """A response without an answer."""
    return _response(query, [], code)


def _response(query: Query, records: Sequence[bytes], more: int) -> bytes:
    flags = _RESPONSE | _RECURSION_HERE | (query.flags & _RECURSION_WANTED) | more
    header = _HEADER.pack(query.ident, flags, 1, len(records), 0, int(query.extended))
    option = b"\0" + struct.pack(">HHIH", _OPT, _OUR_SIZE, 0, 0) if query.extended else b""
    return header + query.question + b"".join(records) + option


def fits(query: Query, reply: bytes) -> bool:
    """Whether a reply of another server is one to this query: its id, and its question but for the case of letters."""
    if len(reply) < _HEADER.size or reply[:2] != query.ident.to_bytes(2, "big") or not reply[2] & 0x80:
        return False
    echoed = reply[_HEADER.size : _HEADER.size + len(query.question)]
    return reply[4:6] == b"\0\0" or echoed.lower() == query.question.lower()


def refuses(reply: bytes) -> bool:
    """Whether a reply says that this server can't or won't tell, upon which another one may."""
    return reply[3] & 0xF in (SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED)


def reversed_address(name: str) -> IPv4Address | IPv6Address | None:
    """``2.0.31.172.in-addr.arpa`` → 172.31.0.2, and so 32 digits before ``ip6.arpa``; None for other names."""
    labels = name.split(".")
    backwards = labels[-3::-1]
    try:
        if labels[-2:] == ["in-addr", "arpa"]:
            return IPv4Address(".".join(backwards))
        if labels[-2:] == ["ip6", "arpa"] and len(backwards) == 32 and all(len(label) == 1 for label in backwards):
            return IPv6Address(int("".join(backwards), 16))
    except ValueError:
        pass
    return None
