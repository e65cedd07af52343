"""The client's verbs on networks, one method a request.

For the commands of `minidock network`; a module of its own, as only they need it. Read next: client.py.
"""

from __future__ import annotations

import json
from typing import Any

from minidock.client.client import Client, Filters, Json, Query, encode_filters, quote


class Networks:
    """``Networks(client).all()``; errors are those of wire/errors.py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _ask(self, method: str, path: str, query: Query | None = None, body: object = None) -> Any:
        data = self._client.request(method, path, query, body).read()
        return json.loads(data) if data else None

    def all(self, filters: Filters | None = None) -> list[Json]:
        """Every network, as inspect shows it but for its containers."""
        return list(self._ask("GET", "/networks", {"filters": encode_filters(filters)}))

    def create(self, config: Json) -> Json:
        """``config``: Name, Driver, IPAM, Options, Labels…; the answer has Id and Warning."""
        return dict(self._ask("POST", "/networks/create", body=config))

    def remove(self, network: str) -> None:
        """One that no container is on."""
        self._ask("DELETE", f"/networks/{quote(network)}")

    def prune(self, filters: Filters | None = None) -> list[str]:
        """The names of those that went."""
        return list(self._ask("POST", "/networks/prune", {"filters": encode_filters(filters)})["NetworksDeleted"] or ())

    def connect(self, network: str, container: str, endpoint: Json) -> None:
        """``endpoint``: Docker's EndpointSettings."""
        body = {"Container": container, "EndpointConfig": endpoint}
        self._ask("POST", f"/networks/{quote(network)}/connect", body=body)

    def disconnect(self, network: str, container: str, force: bool) -> None:
        """``force``: a container that is gone is no error."""
        body = {"Container": container, "Force": force}
        self._ask("POST", f"/networks/{quote(network)}/disconnect", body=body)
