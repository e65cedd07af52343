"""Device rules: what the parsers take, what a container's /dev holds, and what the generated program lets pass."""

from __future__ import annotations

import os
import stat
from itertools import product
from pathlib import Path
from random import Random

import pytest

from minidock.runtime.device_bpf import compile_rules
from minidock.runtime.devices import (
    DEFAULT_LINKS,
    DEFAULT_NODES,
    DEFAULT_RULES,
    PRIVILEGED_RULES,
    DeviceRule,
    host_nodes,
    parse_rule,
    rules_for,
)
from minidock.wire.devices import DeviceMapping, check_mapping, parse_device
from minidock.wire.errors import InvalidArgument, NotFound
from tests.support.bpf import may


def test_dev_holds_the_nodes_and_links_that_programs_expect() -> None:
    names = {node.path for node in DEFAULT_NODES} | {path for _, path in DEFAULT_LINKS}
    expected = "fd full null ptmx random stderr stdin stdout tty urandom zero"
    assert names == {f"/dev/{name}" for name in expected.split()}


def test_default_nodes_are_the_ones_of_the_host() -> None:
    for node in DEFAULT_NODES:
        status = os.stat(node.path)
        assert stat.S_ISCHR(status.st_mode)
        assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (node.major, node.minor), node.path


@pytest.mark.parametrize(
    "number", [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 0), (136, 77)]
)
def test_default_rules_allow_the_harmless_devices(number: tuple[int, int]) -> None:
    program = compile_rules(DEFAULT_RULES)
    assert may(program, "c", *number, "rw") and may(program, "c", *number, "rwm")


@pytest.mark.parametrize(
    ("type_", "number"),
    [
        ("c", (10, 229)),  # fuse
        ("c", (10, 200)),  # net/tun
        ("c", (1, 1)),  # mem
        ("c", (1, 11)),  # kmsg
        ("b", (1, 3)),  # a RAM disk with the numbers of /dev/null
        ("b", (8, 0)),  # the first disk
        ("b", (254, 0)),
    ],
)
def test_default_rules_let_other_nodes_be_made_but_not_opened(type_: str, number: tuple[int, int]) -> None:
    program = compile_rules(DEFAULT_RULES)
    assert may(program, type_, *number, "m")
    assert not any(may(program, type_, *number, access) for access in ("r", "w", "rw", "rm"))


def test_no_rules_deny_everything_and_privileged_rules_nothing() -> None:
    for access in ("r", "w", "m", "rwm"):
        assert not may(compile_rules(()), "c", 1, 3, access)
        assert may(compile_rules(PRIVILEGED_RULES), "b", 8, 0, access)


def test_rules_of_one_device_add_up_and_the_last_word_wins() -> None:
    read, write = parse_rule("c 1:3 r"), parse_rule("c 1:3 w")
    assert not may(compile_rules([read]), "c", 1, 3, "rw")
    assert may(compile_rules([read, write]), "c", 1, 3, "rw")
    deny = DeviceRule(False, "a", None, None, "w")
    assert not may(compile_rules([read, write, deny]), "c", 1, 3, "rw")
    assert may(compile_rules([read, write, deny]), "c", 1, 3, "r")
    assert may(compile_rules([read, deny, write]), "c", 1, 3, "rw")


def test_wildcards_stand_for_any_number() -> None:
    program = compile_rules([parse_rule("b *:1 r"), parse_rule("c 188:* rw")])
    assert may(program, "b", 4095, 1, "r") and may(program, "c", 188, 1048575, "rw")
    assert (
        not may(program, "b", 4095, 2, "r")
        and not may(program, "c", 187, 0, "r")
        and not may(program, "b", 188, 0, "r")
    )


def test_the_program_answers_as_the_rules_do_when_they_are_read_one_by_one() -> None:
    """Random rules that overlap in every way, against the plain meaning of a list in which the last word wins."""
    random = Random(5)
    numbers = [None, 0, 1, 2]

    def any_rule() -> DeviceRule:
        access = random.choice(["r", "w", "m", "rw", "rm", "rwm"])
        major, minor = random.choice(numbers), random.choice(numbers)
        return DeviceRule(random.random() < 0.6, random.choice("abc"), major, minor, access)

    for _ in range(150):
        rules = [any_rule() for _ in range(random.randrange(9))]
        program = compile_rules(rules)
        for type_, major, minor, letter in product("bc", range(3), range(3), "rwm"):
            expected = False
            for rule in rules:
                fits = rule.type in ("a", type_) and rule.major in (None, major) and rule.minor in (None, minor)
                expected = rule.allow if fits and letter in rule.access else expected
            assert may(program, type_, major, minor, letter) == expected, (rules, type_, major, minor, letter)


def test_rules_without_end_are_refused() -> None:
    rules = [rule for i in range(100) for rule in (parse_rule(f"c {i}:* r"), parse_rule(f"c *:{i} w"))]
    with pytest.raises(InvalidArgument, match="too many device rules"):
        compile_rules(rules)


def test_a_rule_reads_as_docker_writes_it() -> None:
    assert parse_rule("c 1:3 rwm") == DeviceRule(True, "c", 1, 3, "rwm")
    assert parse_rule("a *:* m") == DeviceRule(True, "a", None, None, "m")
    assert str(parse_rule("b 8:* r")) == "allow b 8:* r"


@pytest.mark.parametrize(
    "text",
    ["", "c", "c 1:3", "p 1:3 r", "c 1:3 x", "c 1:3 rr", "c 1 r", "c -1:3 r", "c 1:3 r ", "c  1:3 r", "c 1:3 r\n",
     "c ١:3 r", "c 1_0:3 r", "c 4096:0 r", "c 1:1048576 r", "c " + "9" * 5000 + ":3 r"],
)  # fmt: skip
def test_a_bad_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/fuse", DeviceMapping("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/sda:/dev/xvda", DeviceMapping("/dev/sda", "/dev/xvda", "rwm")),
        ("/dev/sda:r", DeviceMapping("/dev/sda", "/dev/sda", "r")),
        ("/dev/sda:/dev/xvda:rw", DeviceMapping("/dev/sda", "/dev/xvda", "rw")),
        ("/dev/sda::m", DeviceMapping("/dev/sda", "/dev/sda", "m")),
    ],
)
def test_a_device_option_reads_as_docker_writes_it(text: str, expected: DeviceMapping) -> None:
    assert parse_device(text) == expected


@pytest.mark.parametrize(
    "text", ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:/dev/b:", "/dev/a:/b:r:w", "/dev/../etc:r", ":/dev/x:r"]
)
def test_a_bad_device_option_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_device(text)


def test_a_mapping_from_the_api_is_checked_too() -> None:
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        check_mapping(DeviceMapping("/dev/null", "/dev/../../x"))


def test_a_host_device_keeps_its_numbers_under_another_name() -> None:
    (node,) = host_nodes(DeviceMapping("/dev/null", "/dev/nothing"))
    assert (node.path, node.type, node.major, node.minor, node.mode) == ("/dev/nothing", "c", 1, 3, 0o666)
    assert [str(rule) for rule in rules_for(DeviceMapping("/dev/null", "/x", "r"), (node,))] == ["allow c 1:3 r"]


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="not a device node"):
        host_nodes(DeviceMapping(str(tmp_path / "file"), "/dev/x"))
    with pytest.raises(NotFound, match="no such file"):
        host_nodes(DeviceMapping(str(tmp_path / "nosuch"), "/dev/x"))


def test_a_directory_gives_the_devices_below_it() -> None:
    nodes = {node.path: node for node in host_nodes(DeviceMapping("/dev", "/dev/host"))}
    assert (nodes["/dev/host/null"].major, nodes["/dev/host/null"].minor) == (1, 3)
    assert "/dev/host/stdin" not in nodes and "/dev/host" not in nodes
