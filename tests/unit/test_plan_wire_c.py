"""The C side of a plan's wire form: what is refused, with which step and which words; and mutations under ASan.

Refusals go through launch_open() in the driver (tests/root/drive.c), so nothing is run and no root is needed. The
Python side, which writes the form, is test_plan.py. Read next: csrc/plan.c.
"""

from __future__ import annotations

import os
import re
import struct

import pytest

from minidock.runtime.plan import MAGIC, Step, encode, step
from tests.support.sources import TOP
from tests.support.walker import PLAN_FD, drive, run_driver, sealed, walk

TAIL = (step("clone3", "", ""), step("execve", 1, "/bin/true"))
GOOD = encode([step("stdio", "pipe", "none", 0, 0), *TAIL])


def record(*fields: bytes) -> bytes:
    return struct.pack("<I", len(fields)) + b"".join(struct.pack("<I", len(f)) + f + b"\0" for f in fields)


def refused(content: bytes) -> tuple[int, str]:
    """(step, reason); the plan must be refused with EINVAL before anything is begun."""
    outcome = walk(content, sanitize=True)
    assert not outcome.started and outcome.error == "EINVAL" and outcome.errors == () and outcome.err == ""
    return outcome.failed_step, outcome.detail


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the plan is empty or larger than 16 MiB"),
        (b"minidock-plan 2\n", "not a minidock plan"),
        (MAGIC[:-1], "not a minidock plan"),
        (MAGIC, "the plan has no steps"),
        (MAGIC + b"\1\0\0", "malformed record: bad field count"),
        (MAGIC + struct.pack("<I", 0), "malformed record: bad field count"),
        (MAGIC + struct.pack("<I", 0xFFFFFFFF), "malformed record: bad field count"),
        (MAGIC + struct.pack("<I", 1), "malformed record: bad field length"),
        (MAGIC + struct.pack("<II", 1, 3) + b"abc", "malformed record: bad field length"),  # no NUL
        (MAGIC + struct.pack("<II", 1, 3) + b"abcd", "malformed record: bad field length"),  # another byte instead
        (MAGIC + struct.pack("<II", 1, 0xFFFFFFFF) + b"abc\0", "malformed record: bad field length"),
        (MAGIC + record(b"nosuch"), "unknown step kind"),
        (MAGIC + record(b""), "unknown step kind"),
        (MAGIC + record(b"stdio\0"), "unknown step kind"),
        (MAGIC + record(b"stdio", b"pipe", b"none", b"0"), "wrong number of fields"),
        (MAGIC + record(b"session", b"x"), "wrong number of fields"),
        (MAGIC + record(b"hostname", b"a\0b"), "a text field holds a NUL"),
        (GOOD + b"\0", "malformed record: bad field count"),
        (encode([step("session")] * 4097), "too many steps"),
    ],
)
def test_malformed_plans(content: bytes, reason: str) -> None:
    assert refused(content)[1] == reason


@pytest.mark.parametrize(
    ("plan", "at", "reason"),
    [
        ([step("session"), *TAIL], 0, "on the wrong side of clone3"),
        ([TAIL[0], step("log", "/x", 0, 1), TAIL[1]], 1, "on the wrong side of clone3"),
        ([TAIL[0], *TAIL], 1, "a second clone3"),
        ([TAIL[0]], 0, "the last step must be execve"),
        ([*TAIL, TAIL[1]], 1, "execve must be the last step"),
        ([step("stdio", "pipe", "none", 0, 0)], 0, "the last step must be execve"),
    ],
)
def test_steps_in_an_impossible_order(plan: list[Step], at: int, reason: str) -> None:
    assert refused(encode(plan)) == (at, reason)


def test_a_good_plan_is_taken() -> None:
    assert walk(GOOD, sanitize=True).started


def test_fields_may_be_empty_and_binary_ones_hold_anything() -> None:
    outcome = walk([TAIL[0], step("seccomp", bytes(8)), TAIL[1]], sanitize=True)
    assert outcome.failed[0] == "seccomp"  # a filter that the kernel refuses, but a plan that is read


def of_every_kind() -> list[Step]:
    """A step of each kind that csrc/ knows, with as many fields as it may have; steps.def has them in a legal order."""
    found = re.findall(r"^STEP\((\w+), \d+, (\w+), \w+, (\d)\)", (TOP / "csrc/steps.def").read_text(), re.MULTILINE)
    assert found[-1][0] == "execve"
    steps = []
    for kind, most, binary in found[:-1]:
        fields: list[str | bytes] = [f"/{kind}/{number}" for number in range(int(most))]
        if binary != "0":
            fields[int(binary) - 1] = bytes(range(64))
        steps.append(step(kind, *fields))
    env = [f"{name}={value}" for name, value in (("A", "x" * 50), ("PATH", "/bin"))]
    return [*steps, step("execve", 2, "/bin/sh", "-c", *env)]


@pytest.mark.parametrize("seed", range(4))
def test_mutations_do_no_harm(seed: int) -> None:
    """100 000 mutated plans; the sanitizers end the driver at the first byte that is read out of place.

    Seen to fail where the length of a field is believed.
    """
    fd = sealed(encode(of_every_kind()))
    out, err = run_driver([str(drive(sanitize=True)), "fuzz", "25000", str(seed)], {PLAN_FD: fd}, b"")
    os.close(fd)
    assert err == "" and 0 < int(out) < 25000  # some mutations hit only text and are still a plan


def test_a_child_can_not_lead_the_monitor_out_of_the_shared_page() -> None:
    """A container with CAP_SYS_PTRACE may write into who joins it, and so into the page that its monitor reads.

    Seen to fail (by a crash) where the step that failed is taken from there as it is.
    """
    fd = sealed(GOOD)
    out, err = run_driver([str(drive(sanitize=True)), "forge"], {PLAN_FD: fd}, b"")
    os.close(fd)
    assert (out.strip(), err) == ("in bounds", "")
