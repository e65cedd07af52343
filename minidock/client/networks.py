"""The client's verbs on networks, one method a request.

For the commands of `minidock network`. Read next: part.py.
"""

from __future__ import annotations

from minidock.client.client import Filters, Json, encode_filters, quote
from minidock.client.part import Part


class Networks(Part):
    """``Networks(client).all()``."""

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
