"""What the API asks of a build, and how it is told what happens: the types at that border.

Read next: builds.py, the verb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from minidock.engine.config import HostConfig
from minidock.image.model import Auth
from minidock.image.progress import ProgressLine
from minidock.wire.errors import ServerError


@dataclass(frozen=True)
class BuildRequest:
    """The query of ``POST /build``. ``host``: network, limits and names for RUN; ``auth``: by registry host."""

    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    remote: str = ""
    target: str = ""
    platform: str = ""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    no_cache: bool = False
    pull: bool = False
    remove: bool = True  # the containers of steps that went well
    force_remove: bool = False  # also that of the step that did not
    host: HostConfig = HostConfig()
    auth: Mapping[str, Auth] = field(default_factory=dict)


class Output(Protocol):
    """Where a build's words go. All but ``progress`` are called on the loop."""

    def say(self, text: str) -> None:
        """A piece of text for people, with its newline."""

    def aux(self, ident: str) -> None:
        """An image's id, for programs."""

    def progress(self, line: ProgressLine) -> None:
        """A line of a pull; from any thread."""

    async def drain(self) -> None:
        """Waits for a client that reads slowly."""


class StepExited(ServerError):
    """A RUN ended with an exit code other than 0, which clients get as a number, too."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"The command '{command}' returned a non-zero code: {code}")
        self.code = code
