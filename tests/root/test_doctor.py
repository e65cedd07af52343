"""The doctor on this machine: what the tests themselves rely on is found, what is broken on purpose is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.linux import doctor, doctor_network
from minidock.linux.check import Check
from tests.support.netns import Netns

ON_OVERLAY = """
mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m
exec "$0" -c 'from pathlib import Path; from minidock.linux import doctor_storage
print(doctor_storage.overlay(Path("m/root")))'
"""


def run_in_mount_namespace(script: str, directory: Path) -> str:
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, sys.executable], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_name(found: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


@pytest.mark.overlay
@pytest.mark.bridge
def test_what_works_here_is_found_to_work_and_nothing_stays(tmp_path: Path) -> None:
    before = (sorted(os.listdir(tmp_path)), Path("/proc/self/mountinfo").read_text(), os.listdir("/sys/class/net"))
    doctor.checks(tmp_path / "data")  # whatever is opened once and kept is open from here on
    fds = len(os.listdir("/proc/self/fd"))
    found = by_name(doctor.checks(tmp_path / "data", group="root"))
    for name in ("kernel", "system calls", "namespaces", "seccomp", "overlay", "cgroup v2", "bridge", "nft", "group"):
        assert found[name].status == "ok", found[name]
    assert len(os.listdir("/proc/self/fd")) <= fds  # fewer: what an earlier test had left to the garbage collector
    assert before == (
        sorted(os.listdir(tmp_path)),
        Path("/proc/self/mountinfo").read_text(),
        os.listdir("/sys/class/net"),
    )


@pytest.mark.overlay
def test_a_data_root_on_an_overlay_is_named(tmp_path: Path) -> None:
    said = run_in_mount_namespace(ON_OVERLAY, tmp_path)
    assert "status='fail'" in said
    assert "(overlay)" in said
    assert "--data-root on a local ext4" in said


@pytest.mark.bridge
def test_a_dropping_forward_chain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Netns()
    try:
        look = [*host.enter, sys.executable, "-c"]
        look += ["from minidock.linux import doctor_network as d; print(d.forward_policy('minidock0').status)"]
        assert subprocess.check_output(look, text=True) == "ok\n"
        host.run(
            "nft",
            "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        )
        assert subprocess.check_output(look, text=True) == "warn\n"
        host.run("nft", "add rule ip filter FORWARD iifname minidock0 accept")
        assert subprocess.check_output(look, text=True) == "ok\n"
    finally:
        host.close()


def test_without_nft_the_network_checks_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidock.linux.nft.find", lambda: None)
    found = by_name(doctor_network.checks("minidock0"))
    assert found["nft"].status == "fail"
    assert "apt install nftables" in found["nft"].hint
    assert found["forward policy"].status == "warn"


def test_an_unknown_group_comes_with_the_commands_that_make_it(tmp_path: Path) -> None:
    check = by_name(doctor.checks(tmp_path, group="no-such-group"))["group"]
    assert check.status == "warn"
    assert "groupadd --system no-such-group" in check.hint
