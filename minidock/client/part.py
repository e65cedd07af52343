"""Some of the client's verbs in a module of their own: those that few commands need, so that the others start faster.

Serves networks.py, volumes.py, upkeep.py, distribution.py and builds.py. Read next: client.py.
"""

from __future__ import annotations

import json
from typing import Any

from minidock.client.client import Client, Query


class Part:
    """``Networks(client).all()``: a part is made of a client; errors are those of wire/errors.py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _ask(
        self, method: str, path: str, query: Query | None = None, body: object = None, auth: str | None = None
    ) -> Any:
        """The answer's JSON, None if it has none. ``auth``: X-Registry-Auth."""
        headers = None if auth is None else {"X-Registry-Auth": auth}
        data = self._client.request(method, path, query, body, headers).read()
        return json.loads(data) if data else None
