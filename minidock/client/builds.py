"""The client's verb build: a context in, lines out.

For cli/build.py. Read next: part.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from minidock.client.client import Json, Query
from minidock.client.part import Part
from minidock.wire.errors import ServerError


class BuildFailed(ServerError):
    """The build ended with an error; ``code`` is the exit code of the RUN that failed, or 1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Builds(Part):
    """``Builds(client).build(…)``."""

    def build(self, context: Iterator[bytes], query: Query, registry_config: str) -> Iterator[Json]:
        """The daemon's lines; ``context`` is a tar, plain or compressed. Raises BuildFailed where the build failed."""
        headers = {"X-Registry-Config": registry_config} if registry_config else {}
        for line in self._client.request("POST", "/build", query, context, headers).lines():
            if line.strip():
                entry: Json = json.loads(line)
                if entry.get("error"):
                    detail = entry.get("errorDetail") or {}
                    raise BuildFailed(str(entry["error"]), int(detail.get("code") or 1))
                yield entry
