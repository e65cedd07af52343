"""DNS messages: what is read of a query, what an answer looks like, and that nothing mangled gets through."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from minidock.network import dns

OPTION = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)


def query(name: str = "Web", kind: int = dns.A, option: bytes = b"") -> bytes:
    header = struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, bool(option))
    return header + dns.encode_name(name) + struct.pack(">HH", kind, 1) + option


def parsed(data: bytes) -> dns.Query:
    found = dns.parse(data)
    assert found is not None
    return found


def test_a_query_is_read() -> None:
    found = parsed(query("Web.N1"))
    assert (found.ident, found.name, found.kind, found.room) == (0x1234, "web.n1", dns.A, 512)
    assert parsed(query(option=OPTION)).room == 1232


def test_an_answer_has_the_question_and_a_record_for_each_address() -> None:
    reply = dns.answer(parsed(query()), dns.A, [IPv4Address("10.0.0.2").packed, IPv4Address("10.0.0.3").packed], 512)
    ident, flags, questions, answers, _, additional = struct.unpack_from(">HHHHHH", reply)
    assert (ident, questions, answers, additional) == (0x1234, 1, 2, 0)
    assert flags == 0x8180, "a response, recursion wanted and here, no error"
    assert reply[12:21] == b"\x03Web\0\0\1\0\1", "the question as it was asked"
    assert reply[21:37] == b"\xc0\x0c\0\1\0\1\0\0\x02\x58\0\4\x0a\0\0\2"


def test_what_is_there_without_an_address_of_that_kind_is_no_error() -> None:
    reply = dns.answer(parsed(query(kind=dns.AAAA)), dns.A, [], 512)
    assert struct.unpack_from(">HHHH", reply)[1:] == (0x8180, 1, 0)


def test_too_many_addresses_for_a_datagram_are_cut_and_said_to_be() -> None:
    addresses = [IPv4Address(number).packed for number in range(200)]
    reply = dns.answer(parsed(query()), dns.A, addresses, 512)
    assert len(reply) <= 512 and struct.unpack_from(">H", reply, 2)[0] & 0x0200
    whole = dns.answer(parsed(query()), dns.A, addresses, 65535)
    assert struct.unpack_from(">HHHH", whole)[3] == 200 and not struct.unpack_from(">H", whole, 2)[0] & 0x0200


def test_edns_is_answered_with_edns() -> None:
    reply = dns.answer(parsed(query(option=OPTION)), dns.A, [], 1232)
    assert reply.endswith(OPTION) and struct.unpack_from(">HHHHHH", reply)[5] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        query()[:-1],
        query()[:15],
        struct.pack(">HHHHHH", 1, 0x8000, 1, 0, 0, 0) + query()[12:],  # a response
        struct.pack(">HHHHHH", 1, 0x2800, 1, 0, 0, 0) + query()[12:],  # an update
        struct.pack(">HHHHHH", 1, 0, 2, 0, 0, 0) + query()[12:] * 2,  # two questions
        query()[:12] + b"\xc0\x0c\0\1\0\1",  # a name that points to itself
        query()[:12] + b"\x7fabc\0\0\1\0\1",
        query()[:-2] + b"\0\3",  # class CHAOS
    ],
)
def test_what_is_no_plain_query_is_none(data: bytes) -> None:
    assert dns.parse(data) is None


def test_no_bytes_break_the_parser() -> None:
    rng = random.Random(7)
    for _ in range(3000):
        data = bytearray(query("a.long.name.of.several.labels", option=OPTION))
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        found = dns.parse(bytes(data[: rng.randrange(len(data) + 1)]))
        if found:
            dns.answer(found, dns.A, [b"\x7f\0\0\1"], found.room)


def test_a_reply_must_fit_its_query() -> None:
    asked = parsed(query())
    reply = dns.answer(asked, dns.A, [b"\x7f\0\0\1"], 512)
    assert dns.fits(asked, reply)
    assert not dns.fits(asked, b"\0\0" + reply[2:]), "another id"
    assert not dns.fits(asked, query()), "a query is no reply"
    assert not dns.fits(asked, reply.replace(b"Web", b"Wob")), "another name"


def test_reverse_names() -> None:
    assert dns.reversed_address("2.0.31.172.in-addr.arpa") == IPv4Address("172.31.0.2")
    six = IPv6Address("fd00:5::77")
    assert dns.reversed_address(six.reverse_pointer) == six
    assert dns.reversed_address("1." + six.reverse_pointer) is None and dns.reversed_address("0.ip6.arpa") is None
    assert dns.reversed_address("web") is None and dns.reversed_address("x.in-addr.arpa") is None
