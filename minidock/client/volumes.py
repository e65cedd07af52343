"""The client's verbs on volumes, one method a request.

For the commands of `minidock volume`. Read next: part.py.
"""

from __future__ import annotations

from minidock.client.client import Filters, Json, encode_filters, quote
from minidock.client.part import Part


class Volumes(Part):
    """``Volumes(client).all()``."""

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
