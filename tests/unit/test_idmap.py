"""Subordinate ids: which numbers containers get on the host, from docker's forms of --userns-remap and subuid(5)."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from minidock.linux.idmap import NOBODY, IdMap, Range, from_setting, parse_map
from minidock.wire.errors import InvalidArgument

TWO = IdMap((Range(0, 100000, 1000), Range(1000, 300000, 65536)), (Range(0, 200000, 65536),))


def read(tmp_path: Path, setting: str, uids: str, gids: str | None = None) -> IdMap:
    (tmp_path / "subuid").write_text(uids)
    (tmp_path / "subgid").write_text(uids if gids is None else gids)
    return from_setting(setting, tmp_path / "subuid", tmp_path / "subgid")


def test_default_is_the_user_minidock_who_needs_no_account(tmp_path: Path) -> None:
    found = read(tmp_path, "default", "other:1:5\nminidock:100000:65536\n")
    assert found == IdMap((Range(0, 100000, 65536),), (Range(0, 100000, 65536),)) and found.root == (100000, 100000)


def test_a_user_by_name_or_number_whichever_the_file_has(tmp_path: Path) -> None:
    daemon = pwd.getpwnam("daemon")
    for setting in ("daemon", str(daemon.pw_uid)):
        for name in ("daemon", str(daemon.pw_uid)):
            assert read(tmp_path, setting, f"{name}:5000:10\n").uids == (Range(0, 5000, 10),)
    assert read(tmp_path, "4321", "4321:7000:10\n").root == (7000, 7000), "a number needs no account"
    both = read(tmp_path, "4321:1234", "4321:7000:10\n", "1234:8000:10\n4321:9:9\n")
    assert both.root == (7000, 8000)


def test_ranges_follow_each_other_and_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    lines = "minidock:5000:10\n# minidock:1:1\nminidock:x:1\nminidock:9:0\nminidock:1:2:3\n\nminidock:9000:5\n"
    assert read(tmp_path, "default", lines).uids == (Range(0, 5000, 10), Range(10, 9000, 5))
    assert read(tmp_path, "default", "minidock:4294967290:100\nminidock:5:5\n").uids == (Range(0, 5, 5),)


@pytest.mark.parametrize(
    ("setting", "uids", "gids", "words"),
    [
        ("default", "", "", "no subordinate ids for minidock in .*subuid; hint: echo minidock:100000:65536 >>.*d && "),
        ("default", "a:100000:9\n", "b:200000:8\n", "hint: echo minidock:200008:65536 "),
        ("default", "minidock:5:5\n", "", "no subordinate ids for minidock in .*subgid; hint: echo minidock:"),
        ("no-such-user", "", "", "no user no-such-user on this host"),
        ("4321:no-such-group", "", "", "no group no-such-group on this host"),
        ("default", "minidock:0:65536\n", "minidock:9:9\n", "hold 0, the host's root"),
        ("a:b:c", "", "", "USER"),
        ("a:", "", "", "USER"),
        (":", "", "", "USER"),
    ],
)
def test_refusals_say_what_to_do(tmp_path: Path, setting: str, uids: str, gids: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        read(tmp_path, setting, uids, gids)


def test_numbers_go_both_ways() -> None:
    assert TWO.to_host(0, 0) == (100000, 200000) and TWO.to_host(1000, 65535) == (300000, 265535)
    for pair in ((0, 0), (999, 1), (1000, 65535), (66535, 7)):
        assert TWO.to_container(*TWO.to_host(*pair)) == pair
    assert TWO.to_container(0, 0) == (NOBODY, NOBODY), "root of the host is nobody inside"
    with pytest.raises(InvalidArgument, match="user 66536 does not exist .* 0-999, 1000-66535"):
        TWO.to_host(66536, 0)
    with pytest.raises(InvalidArgument, match="group 65536 does not exist"):
        TWO.to_host(0, 65536)


def test_the_kernel_s_form_both_ways() -> None:
    text = "".join(map(str, TWO.uids))
    assert text == "0 100000 1000\n1000 300000 65536\n" and parse_map(text) == TWO.uids
    assert parse_map("         0     100000      65536\n") == (Range(0, 100000, 65536),)


def test_a_file_s_capabilities_both_ways() -> None:
    """struct vfs_cap_data, revision 2 and 3 with the flag "effective" and CAP_NET_BIND_SERVICE."""
    inside, outside = "0100000200040000" + "00" * 12, "0100000300040000" + "00" * 12 + "a0860100"
    assert TWO.capability_to_host(bytes.fromhex(inside)).hex() == outside
    assert TWO.capability_to_container(bytes.fromhex(outside)).hex() == inside
    assert TWO.capability_to_container(other := bytes.fromhex(outside[:-2] + "09")) == other, "another root's"
    assert TWO.capability_to_host(b"garbage") == b"garbage" == TWO.capability_to_container(b"garbage")


def test_access_control_lists_go_out() -> None:
    """struct posix_acl_xattr_header and its entries: the version, then tag, rights, number; -1 where there is none."""
    parts = ("02000000", "01000600ffffffff", "02000400e8030000", "08000400e8030000", "20000000ffffffff")
    inside = bytes.fromhex("".join(parts))
    outside = inside.replace(b"\xe8\x03\0\0", b"\xe0\x93\x04\0", 1).replace(b"\xe8\x03\0\0", b"\x28\x11\x03\0", 1)
    assert TWO.attribute_to_host("system.posix_acl_default", inside) == outside, "user 300000, group 201000"
    assert TWO.attribute_to_host("user.x", inside) == inside
    assert TWO.attribute_to_host("system.posix_acl_access", b"garbage") == b"garbage"
    with pytest.raises(InvalidArgument, match="user 66536 does not exist"):
        TWO.attribute_to_host("system.posix_acl_access", bytes.fromhex("0200000002000400e8030100"))


def test_the_largest_group_before_a_gap() -> None:
    assert TWO.last_gid == 65535
    assert IdMap((), (Range(0, 5, 10), Range(20, 50, 10))).last_gid == 9
