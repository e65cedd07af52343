"""Networks: list, inspect, create, remove, prune; containers put on one and taken off.

What a network may be is checked in engine/networking/requests.py. See: Docker Engine API 1.45, Network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.codec import decode
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.networking.requests import NetworkRecord, NetworkRequest
from minidock.wire import times
from minidock.wire.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Members = dict[str, tuple[Container, EndpointRecord | None]]


async def list_(engine: Engine, request: Request) -> Answer:
    """GET /networks"""
    wanted = request.filters("dangling", "driver", "id", "label", "name", "scope", "type")
    dangling = wanted.flag("dangling")
    for kind in wanted.get("type"):
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'", "builtin or custom")
    found = [
        _shown(network, {})
        for network in engine.networks.all()
        if wanted.exact("driver", network.driver)
        and wanted.prefix("id", network.id)
        and wanted.labels(network.labels)
        and wanted.pattern("name", network.name)
        and wanted.exact("scope", "local")
        and wanted.exact("type", "builtin" if network.predefined else "custom")
        and (dangling is None or dangling == (not network.predefined and not engine.endpoints.members(network)))
    ]
    return json_answer(found)


async def create(engine: Engine, request: Request) -> Answer:
    """POST /networks/create"""
    record = await engine.networks.create(decode(NetworkRequest, await request.json()))
    return json_answer({"Id": record.id, "Warning": ""}, 201)


async def inspect(engine: Engine, request: Request) -> Answer:
    """GET /networks/{n}"""
    if request.text("verbose").lower() not in ("", "0", "1", "t", "f", "true", "false"):
        raise InvalidArgument(f"invalid value for verbose: {request.text('verbose')}", "true or false")
    network = engine.networks.find(request.name)
    if request.text("scope") not in ("", "local"):
        raise NotFound(f"network {request.name} not found")
    return json_answer(_shown(network, engine.endpoints.members(network)))


async def remove(engine: Engine, request: Request) -> Answer:
    """DELETE /networks/{n}"""
    await engine.networks.remove(request.name)
    return Answer(204)


async def prune(engine: Engine, request: Request) -> Answer:
    """POST /networks/prune"""
    wanted = request.filters("label", "label!", "until")
    before = wanted.until()

    def fits(network: NetworkRecord) -> bool:
        return (before is None or network.created < before) and wanted.prunes(network.labels)

    removed = await engine.networks.prune(fits)
    return json_answer({"NetworksDeleted": removed or None})


async def connect(engine: Engine, request: Request) -> Answer:
    """POST /networks/{n}/connect"""
    body = await _body(request)
    await engine.connections.connect(request.name, body["Container"], body.get("EndpointConfig"))
    return Answer(200)


async def disconnect(engine: Engine, request: Request) -> Answer:
    """POST /networks/{n}/disconnect"""
    body = await _body(request)
    await engine.connections.disconnect(request.name, body["Container"], body.get("Force") is True)
    return Answer(200)


async def _body(request: Request) -> dict[str, Any]:
    body = await request.json()
    if not isinstance(body, dict) or not isinstance(body.get("Container"), str) or not body["Container"]:
        raise InvalidArgument("invalid body: want an object with the name of a Container")
    if not isinstance(body.get("Force"), bool | None):
        raise InvalidArgument("invalid Force: want true or false")
    return body


def _member(container: Container, endpoint: EndpointRecord | None) -> dict[str, str]:
    return {
        "Name": container.name,
        "EndpointID": endpoint.endpoint_id if endpoint else "",
        "MacAddress": endpoint.mac if endpoint else "",
        "IPv4Address": f"{endpoint.address}/{endpoint.prefix}" if endpoint else "",
        "IPv6Address": f"{endpoint.address6}/{endpoint.prefix6}" if endpoint and endpoint.address6 else "",
    }


def _shown(network: NetworkRecord, members: Members) -> dict[str, Any]:
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": times.rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": bool(network.subnet6),
        "IPAM": {
            "Driver": "default",
            "Options": network.ipam_options,
            "Config": _pools(network) or None,
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {ident: _member(*member) for ident, member in members.items()},
        "Options": network.options,
        "Labels": network.labels,
    }


def _pools(network: NetworkRecord) -> list[dict[str, Any]]:
    four = (network.subnet, network.ip_range, network.gateway, network.reserved)
    six = (network.subnet6, network.ip_range6, network.gateway6, network.reserved6)
    names = ("Subnet", "IPRange", "Gateway", "AuxiliaryAddresses")
    return [
        {name: value for name, value in zip(names, values, strict=True) if value} for values in (four, six) if values[0]
    ]
