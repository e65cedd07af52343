"""`docker import`: an image of one layer from a tar of a root directory, and the --change instructions for its config.

The instructions are a Dockerfile's, those that need no build: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL,
USER, VOLUME, WORKDIR. The config that comes out goes through config.parse like one from outside.
See: docker image import; Dockerfile reference.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from minidock.image import manifest
from minidock.wire import times
from minidock.wire.errors import InvalidArgument

Settings = dict[str, Any]  # the "config" object of an image config


def new_config(diff_id: str, message: str, changes: Sequence[str]) -> bytes:
    """The bytes of the image config for an imported root directory."""
    settings: Settings = {}
    for change in changes:
        apply_change(settings, change)
    platform, created = manifest.host_platform(), times.rfc3339(times.now())
    config = {
        "architecture": platform.architecture,
        "comment": message,
        "config": settings,
        "created": created,
        "history": [{"created": created, "comment": message}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    if platform.variants[0]:
        config["variant"] = platform.variants[0]
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def apply_change(settings: Settings, change: str) -> None:
    """Applies one instruction. Raises InvalidArgument."""
    word, _, rest = change.strip().partition(" ")
    instruction = _INSTRUCTIONS.get(word.upper())
    if instruction is None:
        raise InvalidArgument(f"{word[:40]!r} is not a valid change command", f"give one of {', '.join(_INSTRUCTIONS)}")
    if not rest.strip():
        raise InvalidArgument(f"change {word.upper()}: it requires at least one argument")
    try:
        instruction(settings, rest.strip())
    except ValueError as error:
        raise InvalidArgument(f"change {word.upper()}: {error}") from None


def _words(rest: str) -> list[str]:
    """A JSON list of strings, or words separated by blanks."""
    if rest.startswith("["):
        value = json.loads(rest)
        if not all(isinstance(item, str) for item in value):
            raise ValueError("not a list of strings")
        return list(value)
    return shlex.split(rest)


def _command(key: str) -> Callable[[Settings, str], None]:
    """CMD and ENTRYPOINT: a JSON list is run as it is, anything else by a shell."""

    def change(settings: Settings, rest: str) -> None:
        settings[key] = _words(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]

    return change


def _pairs(rest: str) -> list[tuple[str, str]]:
    """``a=b c="d e"``, or the old form ``a b``."""
    if "=" not in rest.split(" ")[0]:
        name, _, value = rest.partition(" ")
        return [(name, value.strip())]
    pairs = [word.partition("=") for word in shlex.split(rest)]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("want NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


def _env(settings: Settings, rest: str) -> None:
    variables = dict(entry.split("=", 1) for entry in settings.get("Env", []))
    variables.update(_pairs(rest))
    settings["Env"] = [f"{name}={value}" for name, value in variables.items()]


def _label(settings: Settings, rest: str) -> None:
    settings.setdefault("Labels", {}).update(_pairs(rest))


def _expose(settings: Settings, rest: str) -> None:
    ports = (port if "/" in port else f"{port}/tcp" for port in rest.split())
    settings.setdefault("ExposedPorts", {}).update({port: {} for port in ports})


def _volume(settings: Settings, rest: str) -> None:
    settings.setdefault("Volumes", {}).update({path: {} for path in _words(rest)})


def _on_build(settings: Settings, rest: str) -> None:
    settings.setdefault("OnBuild", []).append(rest)


def _workdir(settings: Settings, rest: str) -> None:
    settings["WorkingDir"] = posixpath.normpath(posixpath.join(settings.get("WorkingDir", "/"), rest))


def _text(key: str) -> Callable[[Settings, str], None]:
    def change(settings: Settings, rest: str) -> None:
        settings[key] = rest

    return change


_INSTRUCTIONS: dict[str, Callable[[Settings, str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _text("StopSignal"),
    "USER": _text("User"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
