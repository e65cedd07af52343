"""The client's verbs for upkeep: disk usage, prune, events, stats, update.

For the commands of those names. Read next: part.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from minidock.client.client import Filters, Json, container_path, encode_filters
from minidock.client.part import Part


class Upkeep(Part):
    """``Upkeep(client).df()``."""

    def df(self) -> Json:
        """What takes up the disk: LayersSize, Images, Containers, Volumes, BuildCache."""
        return dict(self._ask("GET", "/system/df"))

    def prune(self, kind: str, filters: Filters | None = None) -> Json:
        """Removes what nobody uses; ``kind``: containers, images, networks, volumes."""
        return dict(self._ask("POST", f"/{kind}/prune", {"filters": encode_filters(filters)}))

    def events(self, filters: Filters | None = None, since: str = "", until: str = "") -> Iterator[Json]:
        """Events as they come, and the kept ones since a time; ends at ``until``."""
        query = {"filters": encode_filters(filters), "since": since, "until": until}
        for line in self._client.request("GET", "/events", query).lines():
            if line.strip():
                yield json.loads(line)

    def stats(self, container: str) -> Json:
        """The counters of what it uses, now."""
        return dict(self._ask("GET", f"{container_path(container)}/stats", {"stream": "false", "one-shot": True}))

    def update(self, container: str, wish: Json) -> list[str]:
        """Changes limits and restart policy; the daemon's warnings."""
        return list(self._ask("POST", f"{container_path(container)}/update", body=wish).get("Warnings") or [])
