"""`docker import`: an image of one layer from a tar of a root directory, and the --change instructions for its config.

The instructions are a Dockerfile's, those that need no build; build/settings.py carries them out. The config that comes
out goes through config.parse like one from outside. See: docker image import; Dockerfile reference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from minidock.build.instructions import parse_text
from minidock.build.settings import Metadata, Settings
from minidock.image import manifest
from minidock.wire import times
from minidock.wire.errors import InvalidArgument


def new_config(diff_id: str, message: str, changes: Sequence[str]) -> bytes:
    """The bytes of the image config for an imported root directory."""
    settings: Settings = {}
    apply_changes(settings, changes)
    created = times.rfc3339(times.now())
    config = empty_config() | {
        "comment": message,
        "config": settings,
        "created": created,
        "history": [{"created": created, "comment": message}],
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def empty_config() -> dict[str, Any]:
    """An image config that says where it runs, and nothing else yet."""
    platform = manifest.host_platform()
    variant = {"variant": platform.variants[0]} if platform.variants[0] else {}
    return {"architecture": platform.architecture, "os": "linux"} | variant


def apply_changes(settings: Settings, changes: Sequence[str]) -> None:
    """Applies instructions, in their order. Raises InvalidArgument."""
    metadata = Metadata(settings)
    for change in changes:
        word = change.strip().partition(" ")[0].upper()
        if word not in _INSTRUCTIONS:
            known = ", ".join(_INSTRUCTIONS)
            raise InvalidArgument(f"{word[:40]!r} is not a valid change command", f"give one of {known}")
        try:
            metadata.apply(parse_text(change), metadata.environment())
        except InvalidArgument as error:
            message = error.message.removeprefix("dockerfile parse error on line 1: ")
            raise InvalidArgument(f"change {word}: {message}", error.hint) from None


_INSTRUCTIONS = (
    *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
