"""Which AppArmor profile a container gets, by its options and by what the host has; the doctor is in test_doctor.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.engine import rights
from minidock.engine.config import HostConfig
from minidock.linux import apparmor
from minidock.wire.errors import InvalidArgument, Unavailable


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A host that has AppArmor, its program, and one profile."""
    monkeypatch.setattr(apparmor, "enabled", lambda: True)
    monkeypatch.setattr(apparmor, "parser", lambda: "/sbin/apparmor_parser")
    monkeypatch.setattr(apparmor, "loaded", lambda: frozenset({"mine", "minidock-default"}))
    return monkeypatch


def asks(*options: str, privileged: bool = False) -> HostConfig:
    return HostConfig(security_opt=tuple(f"apparmor={option}" for option in options), privileged=privileged)


@pytest.mark.parametrize(
    ("wish", "shown", "asked"),
    [
        (asks(), "minidock-default", "minidock-default"),
        (asks(privileged=True), "unconfined", ""),
        (asks("unconfined"), "unconfined", ""),
        (asks("mine"), "mine", "mine"),
        (asks("mine", privileged=True), "mine", "mine"),
        (asks("unconfined", "mine"), "mine", "mine"),
        (HostConfig(security_opt=("apparmor:mine",)), "mine", "mine"),
    ],
)
def test_by_the_options(host: pytest.MonkeyPatch, wish: HostConfig, shown: str, asked: str) -> None:
    rights.check(wish)
    assert (rights.apparmor_profile(wish), rights.confinement(wish)) == (shown, asked)


def test_without_apparmor_only_a_profile_that_was_asked_for_is_refused(host: pytest.MonkeyPatch) -> None:
    host.setattr(apparmor, "enabled", lambda: False)
    for wish in (asks(), asks("unconfined"), asks(privileged=True)):
        rights.check(wish)
        assert (rights.apparmor_profile(wish), rights.confinement(wish)) == ("", "")
    for check in (rights.check, rights.confinement):
        with pytest.raises(InvalidArgument, match="this kernel has no AppArmor"):
            check(asks("mine"))


def test_a_profile_that_is_not_loaded_is_refused(host: pytest.MonkeyPatch) -> None:
    for check in (rights.check, rights.confinement):
        with pytest.raises(InvalidArgument, match="no such profile is loaded"):
            check(asks("other"))


def test_our_own_is_loaded_when_it_has_gone(host: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    host.setattr(apparmor, "loaded", lambda: frozenset())
    host.setattr(apparmor, "load_default", lambda: calls.append("load"))
    assert rights.confinement(asks()) == "minidock-default" and calls == ["load"]
    host.setattr(apparmor, "parser", lambda: None)
    assert rights.confinement(asks()) == "", "as docker: without the program there is no profile"
    with pytest.raises(InvalidArgument, match="no such profile"):
        rights.check(asks("minidock-default"))


def test_what_the_kernel_lists_and_what_the_parser_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kernel/security/apparmor/profiles"
    file.parent.mkdir(parents=True)
    file.write_text("minidock-default (enforce)\n/usr/bin/man (complain)\nwith a (bracket) (enforce)\n")
    assert apparmor.loaded(tmp_path) == {"minidock-default", "/usr/bin/man", "with a (bracket)"}
    assert not apparmor.enabled(tmp_path), "profiles alone don't tell; the switch does"
    program = tmp_path / "apparmor_parser"
    program.write_text("#!/bin/sh\necho first reason >&2; echo more >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(apparmor, "parser", lambda: str(program))
    with pytest.raises(Unavailable, match="first reason"):
        apparmor.load_default()


def test_the_profile_s_name_is_the_one_that_is_asked_for() -> None:
    text = Path(apparmor.__file__).with_name("minidock-default.apparmor").read_text()
    assert f"profile {apparmor.DEFAULT} flags=" in text
