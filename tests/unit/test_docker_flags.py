"""Each command of docker's CLI and ours, flag by flag: what is missing stands in docs/docker-differences.md."""

from __future__ import annotations

import re
import subprocess

import click
import pytest

from minidock.cli.main import cli
from tests.support.needs import program_of
from tests.support.sources import TOP

CONTAINERS = (
    "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run start stats "
    "stop top unpause update wait"
)
COMMANDS = [
    *(("container", verb) for verb in CONTAINERS.split()),
    *(("image", verb) for verb in "build history import inspect load ls prune pull push rm save tag".split()),
    *(("network", verb) for verb in "connect create disconnect inspect ls prune rm".split()),
    *(("volume", verb) for verb in "create inspect ls prune rm".split()),
    *(("system", verb) for verb in "df events info prune".split()),
    *((verb,) for verb in "build version login logout search".split()),
]
# the table names commands as people call them
SHORT = {"image ls": "images", "image rm": "rmi", "container ls": "ps"}


def admitted() -> dict[str, set[str]]:
    """Command → flags that the page says are not there."""
    found: dict[str, set[str]] = {}
    section = (TOP / "docs/docker-differences.md").read_text().partition("## Flags")[2]
    for commands, flags in re.findall(r"^\| ([a-z, ]+) \| ((?:`--[a-z0-9-]+` ?)+)\|", section, re.MULTILINE):
        for command in commands.split(", "):
            found.setdefault(command, set()).update(re.findall(r"--[a-z0-9-]+", flags))
    return found


def docker_flags(command: tuple[str, ...]) -> dict[str, str]:
    """Long flag → its letter, or nothing."""
    program = program_of("docker", "28")
    assert program
    text = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Usage:" in text
    return {long: short for short, long in re.findall(r"^ +(?:(-\w), )? *(--[a-z0-9-]+)", text, re.MULTILINE)}


def our_flags(command: tuple[str, ...]) -> list[str]:
    found: click.Command = cli
    context = click.Context(cli)
    for word in command:
        assert isinstance(found, click.Group)
        below = found.get_command(context, word)
        assert below, f"there is no {word}"
        found = below
    return [name for parameter in found.params for name in parameter.opts]


@pytest.mark.docker_cli_28
def test_the_helps_are_understood() -> None:
    assert {"--detach": "-d", "--rm": "", "--volume": "-v"}.items() <= docker_flags(("run",)).items()
    assert {"-d", "--detach"} <= set(our_flags(("container", "run"))) and "--gpus" in admitted()["run"]


@pytest.mark.docker_cli_28
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_flags_of(command: tuple[str, ...]) -> None:
    name = " ".join(command)
    rows = admitted()
    known = rows.get(SHORT.get(name, name), set()) | rows.get(
        name.removeprefix("container ").removeprefix("image "), set()
    )
    theirs, ours = docker_flags(command), our_flags(command)
    assert [flag for flag in theirs if flag not in ours and flag not in known] == []
    assert [flag for flag in known if flag in ours] == [], "the page says that it is not there"
    assert [letter for flag, letter in theirs.items() if letter and letter not in ours and flag in ours] == []
