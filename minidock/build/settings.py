"""What an instruction makes of an image's config, where nothing has to run for it: ENV, LABEL, CMD and their kind.

``Metadata`` holds the ``config`` object of an image config, and changes it as a stage of a Dockerfile goes on. Each
change has a comment such as ``ENV A=1``, which goes into the image's history and is what the build cache compares.
Serves the builder, and ``--change`` of import and commit.

See: Dockerfile reference; moby builder/dockerfile/dispatchers.go, whose comments these are.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minidock.build import words
from minidock.build.instructions import Instruction, json_list
from minidock.wire import signals, times
from minidock.wire.errors import InvalidArgument

Settings = dict[str, Any]  # the "config" object of an image config
DEFAULT_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(
    r"(?:(?:[0-9.]*:)?[0-9]*(?:-[0-9]+)?:)?"  # as --publish has it, which many write: it means nothing here
    r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?",
    re.ASCII | re.IGNORECASE,
)


class Metadata:
    """``settings``, changed in place by ``apply``; ``author`` if a MAINTAINER told it."""

    def __init__(self, settings: Settings, escape: str = "\\") -> None:
        self.settings, self._escape = settings, escape
        self.author = ""
        self._command_given = False

    def apply(self, one: Instruction, variables: Mapping[str, str]) -> str:
        """Carries one instruction out and returns its comment. Raises InvalidArgument."""
        change = _CHANGES.get(one.name)
        if change is None:
            raise InvalidArgument(f"{one.name!r} is not a valid change command", f"give one of {', '.join(_CHANGES)}")
        return change(self, one, variables)

    @property
    def shell(self) -> list[str]:
        """What the shell forms are run by."""
        return list(self.settings.get("Shell") or DEFAULT_SHELL)

    def environment(self) -> dict[str, str]:
        """The image's own variables."""
        return dict(entry.split("=", 1) for entry in self.settings.get("Env") or () if "=" in entry)

    def directory(self, path: str) -> str:
        """A path as WORKDIR would understand it: a relative one goes on from the present directory."""
        return posixpath.normpath(posixpath.join("/", self.settings.get("WorkingDir") or "/", path))

    # One method an instruction

    def _expanded(self, text: str, variables: Mapping[str, str]) -> str:
        return words.expand(text, variables, self._escape)

    def _pairs(self, one: Instruction, variables: Mapping[str, str]) -> list[tuple[str, str]]:
        flat = [self._expanded(word, variables) for word in one.words]
        if not all(flat[::2]):
            raise InvalidArgument(f"{one.name} names can not be blank")
        return list(zip(flat[::2], flat[1::2], strict=True))

    def _env(self, one: Instruction, variables: Mapping[str, str]) -> str:
        pairs = self._pairs(one, variables)
        self.settings["Env"] = [f"{name}={value}" for name, value in (self.environment() | dict(pairs)).items()]
        return "ENV " + " ".join(f"{name}={value}" for name, value in pairs)

    def _label(self, one: Instruction, variables: Mapping[str, str]) -> str:
        pairs = self._pairs(one, variables)
        self.settings["Labels"] = {**(self.settings.get("Labels") or {}), **dict(pairs)}
        return "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)

    def command(self, one: Instruction) -> list[str]:
        """The words that a RUN, CMD or ENTRYPOINT stands for."""
        return list(one.words) if one.is_exec else [*self.shell, one.text]

    def _cmd(self, one: Instruction, variables: Mapping[str, str]) -> str:
        self.settings["Cmd"] = self.command(one)
        self._command_given = True
        return f"CMD {_quoted(self.settings['Cmd'])}"

    def _entrypoint(self, one: Instruction, variables: Mapping[str, str]) -> str:
        """Also takes the base image's CMD away, which was meant for another entrypoint."""
        self.settings["Entrypoint"] = self.command(one) or None
        if not self._command_given:
            self.settings.pop("Cmd", None)
        return f"ENTRYPOINT {_quoted(self.settings['Entrypoint'] or [])}"

    def _expose(self, one: Instruction, variables: Mapping[str, str]) -> str:
        given = sorted(port for word in one.words for port in words.expand_all(word, variables, self._escape))
        found: Settings = {port: {} for text in given for port in _ports(text)}
        self.settings["ExposedPorts"] = {**(self.settings.get("ExposedPorts") or {}), **found}
        return "EXPOSE " + " ".join(given)

    def _volume(self, one: Instruction, variables: Mapping[str, str]) -> str:
        paths = [self._expanded(word, variables) for word in one.words]
        if not all(path.strip() for path in paths):
            raise InvalidArgument("VOLUME specified can not be an empty string")
        for path in paths:
            if not path.startswith("/"):  # docker builds such images, but no container can be made of them
                raise InvalidArgument(f"VOLUME {path[:200]}: mount path must be absolute")
        self.settings["Volumes"] = {**(self.settings.get("Volumes") or {}), **{path: {} for path in paths}}
        return f"VOLUME [{' '.join(paths)}]"

    def _user(self, one: Instruction, variables: Mapping[str, str]) -> str:
        self.settings["User"] = self._expanded(one.text, variables)
        return f"USER {self.settings['User']}"

    def _workdir(self, one: Instruction, variables: Mapping[str, str]) -> str:
        path = self._expanded(one.text, variables)
        if not path:
            raise InvalidArgument("WORKDIR can not be an empty string")
        self.settings["WorkingDir"] = self.directory(path)
        return f"WORKDIR {self.settings['WorkingDir']}"

    def _stop_signal(self, one: Instruction, variables: Mapping[str, str]) -> str:
        found = self._expanded(one.text, variables)
        signals.number(found)
        self.settings["StopSignal"] = found
        return f"STOPSIGNAL {found}"

    def _shell(self, one: Instruction, variables: Mapping[str, str]) -> str:
        self.settings["Shell"] = list(one.words)
        return f"SHELL [{' '.join(one.words)}]"

    def _on_build(self, one: Instruction, variables: Mapping[str, str]) -> str:
        self.settings["OnBuild"] = [*(self.settings.get("OnBuild") or ()), one.text]
        return f"ONBUILD {one.text}"

    def _maintainer(self, one: Instruction, variables: Mapping[str, str]) -> str:
        self.author = one.text
        return f"MAINTAINER {one.text}"

    def _healthcheck(self, one: Instruction, variables: Mapping[str, str]) -> str:
        found = healthcheck(one)
        self.settings["Healthcheck"] = found
        return f"HEALTHCHECK {json.dumps(found, separators=(',', ':'), ensure_ascii=False)}"


def healthcheck(one: Instruction) -> dict[str, Any]:
    """A HEALTHCHECK as an image config has it; times in nanoseconds. Raises InvalidArgument."""
    kind, _, rest = one.text.partition(" ")
    if kind.upper() == "NONE":
        return {"Test": ["NONE"]}
    listed = json_list(rest.strip())
    found: dict[str, Any] = {"Test": ["CMD-SHELL", rest.strip()] if listed is None else ["CMD", *listed]}
    names = (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"))
    for flag, key in (*names, ("start-interval", "StartInterval")):
        if flag in one.flags:
            found[key] = times.parse_duration(one.flags[flag])
            if 0 < found[key] < times.SECOND // 1000:
                raise InvalidArgument(f"interval {one.flags[flag]!r} cannot be less than 1ms")
    retries = one.flags.get("retries", "0")
    if not (retries.isascii() and retries.isdigit() and len(retries) < 10):
        raise InvalidArgument(f"--retries must be a number of at least 1, not {retries[:40]!r}")
    return found | ({"Retries": int(retries)} if int(retries) else {})


def _quoted(items: Iterable[str]) -> str:
    return f"[{' '.join(json.dumps(item, ensure_ascii=False) for item in items)}]"


def _ports(text: str) -> list[str]:
    found = _PORT.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not found or not 0 < first <= last < 65536:
        raise InvalidArgument(f"invalid containerPort: {text[:80]}", "give PORT[-PORT][/tcp|udp|sctp]")
    return [f"{port}/{(found[3] or 'tcp').lower()}" for port in range(first, last + 1)]


_CHANGES: dict[str, Callable[[Metadata, Instruction, Mapping[str, str]], str]] = {
    "CMD": Metadata._cmd,
    "ENTRYPOINT": Metadata._entrypoint,
    "ENV": Metadata._env,
    "EXPOSE": Metadata._expose,
    "HEALTHCHECK": Metadata._healthcheck,
    "LABEL": Metadata._label,
    "MAINTAINER": Metadata._maintainer,
    "ONBUILD": Metadata._on_build,
    "SHELL": Metadata._shell,
    "STOPSIGNAL": Metadata._stop_signal,
    "USER": Metadata._user,
    "VOLUME": Metadata._volume,
    "WORKDIR": Metadata._workdir,
}
CHANGES = frozenset(_CHANGES)
