"""The client's verbs on volumes, one method a request.

For the commands of `minidock volume`; a module of its own, as only they need it. Read next: client.py.
"""

from __future__ import annotations

import json
from typing import Any

from minidock.client.client import Client, Filters, Json, Query, encode_filters, quote


class Volumes:
    """``Volumes(client).all()``; errors are those of wire/errors.py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _ask(self, method: str, path: str, query: Query | None = None, body: object = None) -> Any:
        data = self._client.request(method, path, query, body).read()
        return json.loads(data) if data else None

    def all(self, filters: Filters | None = None) -> list[Json]:
        """Every volume, as inspect shows it."""
        return list(self._ask("GET", "/volumes", {"filters": encode_filters(filters)})["Volumes"] or ())

    def create(self, config: Json) -> Json:
        """``config``: Name, Driver, DriverOpts, Labels."""
        return dict(self._ask("POST", "/volumes/create", body=config))

    def remove(self, volume: str, force: bool = False) -> None:
        """One that no container mentions."""
        self._ask("DELETE", f"/volumes/{quote(volume)}", {"force": force})

    def prune(self, filters: Filters | None = None) -> Json:
        """VolumesDeleted and SpaceReclaimed."""
        return dict(self._ask("POST", "/volumes/prune", {"filters": encode_filters(filters)}))
