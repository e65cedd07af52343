"""Networks: the three that are always there, to be listed and looked at.

Clients ask for them even where no network is made: ``docker inspect NAME`` tries containers, images, networks, volumes.
See: Docker Engine API 1.45, Network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.model import Container
from minidock.wire import times
from minidock.wire.errors import Ambiguous, Forbidden, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine, NetworkRecord


async def list_(engine: Engine, request: Request) -> Answer:
    """GET /networks"""
    wanted = request.filters("dangling", "driver", "id", "label", "name", "scope", "type")
    used = {container.host.network_mode for container in engine.containers()}
    dangling = wanted.flag("dangling")
    found = [
        _shown(network, {})
        for network in engine.networks()
        if wanted.exact("driver", network.driver)
        and wanted.prefix("id", network.id)
        and wanted.labels({})
        and wanted.pattern("name", network.name)
        and wanted.exact("scope", "local")
        and wanted.exact("type", "builtin")
        and (dangling is not True or network.name not in used)
    ]
    return json_answer(found)


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /networks/{n}"""
    network = _find(engine, request.name)
    members = {
        container.id: _member(container)
        for container in engine.containers()
        if container.state.alive and container.host.network_mode == network.name
    }
    return json_answer(_shown(network, members))


async def remove(engine: Engine, request: Request) -> Answer:
    """DELETE /networks/{n}: only predefined ones are there, and those stay."""
    raise Forbidden(f"{_find(engine, request.name).name} is a pre-defined network and cannot be removed")


def _find(engine: Engine, reference: str) -> NetworkRecord:
    """By name, by id, by a prefix of an id."""
    networks = engine.networks()
    for network in networks:
        if reference in (network.name, network.id):
            return network
    found = [network for network in networks if network.id.startswith(reference)]
    if len(found) > 1:
        raise Ambiguous(f"network {reference} is ambiguous ({len(found)} matches found based on ID prefix)")
    if not found:
        raise NotFound(f"network {reference} not found")
    return found[0]


def _member(container: Container) -> dict[str, str]:
    endpoint = container.state.endpoint
    return {
        "Name": container.name,
        "EndpointID": endpoint.endpoint_id if endpoint else "",
        "MacAddress": endpoint.mac if endpoint else "",
        "IPv4Address": f"{endpoint.address}/{endpoint.prefix}" if endpoint else "",
        "IPv6Address": "",
    }


def _shown(network: NetworkRecord, members: dict[str, dict[str, str]]) -> dict[str, Any]:
    options = {}
    if network.bridge:
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.name": network.bridge,
        }
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": times.NEVER,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else None,
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": members,
        "Options": options,
        "Labels": {},
    }
