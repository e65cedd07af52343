"""Capabilities: Docker's rules for --cap-add, --cap-drop and --privileged, and masks as the kernel writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minidock.runtime.capabilities import DEFAULT, NUMBERS, from_mask, hex_mask, mask, normalise, own_bounding, tweak
from minidock.wire.errors import InvalidArgument

EVERY = frozenset(NUMBERS)
HEADER = Path("/usr/include/linux/capability.h")


def test_the_default_is_dockers_fourteen() -> None:
    assert len(DEFAULT) == 14
    assert hex_mask(DEFAULT) == "00000000a80425fb"


@pytest.mark.parametrize(
    ("name", "number"),
    [("CAP_CHOWN", 0), ("CAP_KILL", 5), ("CAP_SYS_ADMIN", 21), ("CAP_AUDIT_READ", 37), ("CAP_CHECKPOINT_RESTORE", 40)],
)
def test_numbers_are_the_kernels(name: str, number: int) -> None:
    assert NUMBERS[name] == number


def test_the_whole_table_agrees_with_the_kernels_header() -> None:
    found = (
        re.findall(r"^#define\s+(CAP_[A-Z_]+)\s+(\d+)$", HEADER.read_text(), re.MULTILINE) if HEADER.exists() else []
    )
    assert {name: int(number) for name, number in found}.items() <= NUMBERS.items()


def test_a_mask_and_its_names_are_two_ways_to_say_one_thing() -> None:
    assert mask({"CAP_CHOWN", "CAP_KILL"}) == 0x21
    assert from_mask(0x21) == {"CAP_CHOWN", "CAP_KILL"}
    assert from_mask(mask(EVERY) | 1 << 63) == EVERY
    assert hex_mask(()) == "0" * 16


@pytest.mark.parametrize("name", ["net_admin", "NET_ADMIN", "cap_net_admin", "CAP_NET_ADMIN", " Net_Admin "])
def test_a_name_is_taken_in_any_spelling(name: str) -> None:
    assert normalise(name) == "CAP_NET_ADMIN"


@pytest.mark.parametrize("name", ["", "CAP_", "NET_ADMON", "CAP_CAP_CHOWN", "21", "chown,kill"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="unknown capability"):
        tweak([name], [])
    with pytest.raises(InvalidArgument, match="unknown capability"):
        tweak([], [name])


def test_a_near_miss_gets_a_hint() -> None:
    with pytest.raises(InvalidArgument) as error:
        normalise("NET_ADMON")
    assert error.value.hint == "did you mean CAP_NET_ADMIN?"


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ("", "", DEFAULT),
        ("SYS_TIME", "", DEFAULT | {"CAP_SYS_TIME"}),
        ("", "mknod CAP_KILL", DEFAULT - {"CAP_MKNOD", "CAP_KILL"}),
        ("", "ALL", set()),
        ("chown", "all", {"CAP_CHOWN"}),
        ("ALL", "", EVERY),
        ("all", "sys_admin", EVERY - {"CAP_SYS_ADMIN"}),
        ("ALL", "ALL", EVERY),
        ("kill", "kill", DEFAULT),
        ("", "SYS_TIME", DEFAULT),
    ],
)
def test_add_and_drop_follow_dockers_rules(add: str, drop: str, expected: frozenset[str]) -> None:
    assert tweak(add.split(), drop.split(), bounding=EVERY) == expected


def test_privileged_takes_all_there_is_whatever_is_dropped() -> None:
    have = EVERY - {"CAP_SYS_RESOURCE"}
    assert tweak([], ["ALL"], privileged=True, bounding=have) == have


def test_nothing_is_given_that_the_daemon_has_not() -> None:
    have = EVERY - {"CAP_MKNOD", "CAP_SYS_TIME"}
    assert tweak([], [], bounding=have) == DEFAULT - {"CAP_MKNOD"}
    assert tweak(["ALL"], [], bounding=have) == have
    with pytest.raises(InvalidArgument, match="CAP_SYS_TIME is not available"):
        tweak(["SYS_TIME"], [], bounding=have)


def test_the_own_bounding_set_is_what_the_kernel_says(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapBnd:\t000001fffeffffff\n")
    assert own_bounding(status) == EVERY - {"CAP_SYS_RESOURCE"}
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    assert int(line.split()[1], 16) & mask(EVERY) == mask(own_bounding())


def test_the_kernel_knows_no_capability_that_is_missing_here() -> None:
    assert int(Path("/proc/sys/kernel/cap_last_cap").read_text()) <= max(NUMBERS.values())
