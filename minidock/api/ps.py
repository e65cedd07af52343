"""Which containers a list shows: ``all``, ``limit`` and the filters of ``docker ps``.

See: Docker Engine API, ContainerList. Two rules are easily missed: a filter on status, and a limit, show stopped
containers without ``all``; a filter on the exit code does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from minidock.api.request import Request
from minidock.engine.model import Container, Status
from minidock.wire.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
_HEALTH = ("none", "starting", "healthy", "unhealthy")


class Selection:
    """The choice that a request makes. Raises InvalidArgument for a filter that can't be."""

    def __init__(self, request: Request) -> None:
        self.filters = request.filters(*FILTERS)
        self.limit = max(request.integer("limit") or 0, 0)
        self._statuses = {_member(value) for value in self.filters.get("status")}
        self._exposed = [_ports("expose", value) for value in self.filters.get("expose")]
        self._published = [_ports("publish", value) for value in self.filters.get("publish")]
        self._codes = {_code(value) for value in self.filters.get("exited")}
        self.all = request.flag("all") or self.limit > 0 or bool(self._statuses)
        for value in self.filters.get("health"):
            if value not in _HEALTH:
                raise InvalidArgument(f"invalid filter 'health={value}'", f"one of {', '.join(_HEALTH)}")

    @property
    def needs_images(self) -> bool:
        """Whether the choice depends on what image names stand for."""
        return "ancestor" in self.filters

    def resolve_images(self, engine: Engine) -> set[str]:
        """The ids of the images that ``ancestor`` names; unknown ones match nothing. Blocks."""
        found = set()
        for name in self.filters.get("ancestor"):
            try:
                found.add(engine.images.resolve(name).id)
            except NotFound:
                continue
        return found

    def choose(self, containers: list[Container], images: set[str] | None) -> list[Container]:
        """Of all containers, newest first, those to show."""
        containers = self._between(containers)
        chosen = [c for c in containers if self._shows(c) and (images is None or c.definition.image_id in images)]
        return chosen[: self.limit] if self.limit else chosen

    def _between(self, containers: list[Container]) -> list[Container]:
        """``before`` and ``since``: older, or newer, than another container."""
        first = max((_place(containers, value) + 1 for value in self.filters.get("before")), default=0)
        last = min((_place(containers, value) for value in self.filters.get("since")), default=len(containers))
        return containers[first:last]

    def _shows(self, container: Container) -> bool:
        state, wanted = container.state, self.filters
        if not self.all and not state.up:
            return False
        if self._statuses and state.status not in self._statuses:
            return False
        if self._codes and (state.status is not Status.EXITED or state.exit_code not in self._codes):
            return False
        return (
            wanted.pattern("name", container.name, f"/{container.name}")
            and wanted.pattern("id", container.id)
            and wanted.labels(container.config.labels)
            and wanted.exact("network", container.host.network_mode, *container.networks, *_network_ids(container))
            and wanted.exact("volume", *_volumes(container))
            and _port_fits(self._exposed, container.config.exposed_ports or ())
            and wanted.exact("health", state.health.status if state.health else "none")
            and wanted.flag("is-task") is not True
            and _port_fits(self._published, [f"{port.host_port}/{port.protocol}" for port in container.state.ports])
        )


def _member(value: str) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise InvalidArgument(
            f"invalid filter 'status={value}'", f"one of {', '.join(s.value for s in Status)}"
        ) from None


def _code(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 3:
        raise InvalidArgument(f"invalid filter 'exited={value}'", "an exit code from 0 to 255")
    return int(value)


def _place(containers: list[Container], reference: str) -> int:
    named = [index for index, one in enumerate(containers) if one.name == reference.removeprefix("/")]
    found = named or [index for index, one in enumerate(containers) if one.id.startswith(reference)]
    if not found:
        raise NotFound(f"No such container: {reference}")
    return found[0]


def _network_ids(container: Container) -> tuple[str, ...]:
    return tuple(endpoint.network_id for endpoint in container.state.endpoints.values())


def _volumes(container: Container) -> list[str]:
    return [text for point in container.definition.mounts for text in (point.name, point.destination) if text]


def _ports(key: str, value: str) -> tuple[int, int, str]:
    """``80``, ``53/udp`` or ``8000-8010/tcp`` → the first, the last and the protocol."""
    found = _PORTS.fullmatch(value)
    if not found or int(found[1]) > int(found[2] or found[1]):
        raise InvalidArgument(f"invalid filter '{key}={value}'", "a port or a range, such as 80 or 8000-8010/tcp")
    return int(found[1]), int(found[2] or found[1]), found[3] or "tcp"


def _port_fits(wanted: Sequence[tuple[int, int, str]], ports: Iterable[str]) -> bool:
    """Whether nothing is wanted, or one of the ports (``80/tcp``, ``80``, ``80-90/tcp``) lies in a range."""
    has = [_ports("port", port.lower()) for port in ports] if wanted else []
    return not wanted or any(
        low <= last and first <= high and kind == protocol
        for first, last, protocol in wanted
        for low, high, kind in has
    )
