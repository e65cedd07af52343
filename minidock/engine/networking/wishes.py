"""What a create request asks of networks: checked, with names for ids, and a wish for each network.

An unknown network is refused at the start only (Docker's rule). Read next: endpoints.py, where the wishes come true.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

from minidock.engine import codec
from minidock.engine.config import Config, EndpointWish, HostConfig
from minidock.engine.containers import Containers
from minidock.engine.networking import links, requests
from minidock.engine.networking.networks import Networks
from minidock.engine.requests import CreateRequest
from minidock.wire.errors import InvalidArgument, NotFound

SHARED = "container:"


def settle(
    request: CreateRequest, networks: Networks, containers: Containers
) -> tuple[CreateRequest, dict[str, EndpointWish]]:
    """The request with its networks by their names, and the wishes for each. Raises InvalidArgument for what can't go
    together.
    """
    mode = request.host.network_mode or "default"
    given = {_known(name): parse(name, value) for name, value in request.networks.items()}
    if mode.startswith(SHARED):
        if given.keys() - {mode}:
            raise no_more_networks()
        return _sharing(request, mode, containers), {}
    request = links.settle(request, containers)
    primary = _name(networks, _known(mode))
    wishes = {primary: EndpointWish()} | {_name(networks, name): wish for name, wish in given.items()}
    wishes = {name: links.settle_wish(wish, name, containers) for name, wish in wishes.items()}
    if len(wishes) > 1 and {"host", "none"} & wishes.keys():
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            if "none" in wishes
            else "conflicting options: host type networking can't be used with other networks"
        )
    wishes[primary] = _with_mac(wishes[primary], request.config)
    for name, wish in wishes.items():
        with suppress(NotFound):
            requests.check_wish(wish, networks.find(name))
    return request, wishes


def _name(networks: Networks, reference: str) -> str:
    """A network's name, of one given by its id too; as it is where there is none."""
    if reference in requests.PREDEFINED:
        return reference
    try:
        return networks.find(reference).name
    except NotFound:
        return reference


def _sharing(request: CreateRequest, mode: str, containers: Containers) -> CreateRequest:
    """``container:NAME``: what belongs to the network is the other container's, the host name too."""
    try:
        other = containers.resolve(mode.removeprefix(SHARED))
    except NotFound as error:  # not a 404: clients would take that for a missing image, and pull it
        raise InvalidArgument(f"joining network namespace of container: {error}") from None
    _check_sharing(request.config, request.host)
    return dataclasses.replace(
        request,
        config=dataclasses.replace(request.config, hostname=other.config.hostname),
        host=dataclasses.replace(request.host, network_mode=SHARED + other.id),
    )


def _known(name: str) -> str:
    return "bridge" if name == "default" else name


def parse(name: str, value: Any) -> EndpointWish:
    """Docker's EndpointSettings, as far as they can be wished. Raises InvalidArgument."""
    return EndpointWish() if value is None else codec.decode(EndpointWish, value, f"EndpointsConfig.{name}")


def _with_mac(wish: EndpointWish, config: Config) -> EndpointWish:
    """The container-wide MAC address, which older clients send, is that of the first network."""
    if config.mac_address and wish.mac_address and config.mac_address != wish.mac_address:
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
            "or be left empty"
        )
    return dataclasses.replace(wish, mac_address=wish.mac_address or config.mac_address)


def _check_sharing(config: Config, host: HostConfig) -> None:
    for given, words in (
        (config.hostname, "hostname"),
        (config.mac_address, "mac-address"),
        (host.dns, "dns"),
        (host.extra_hosts, "custom host-to-IP mapping"),
        (host.links, "links"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {words} and the network mode")
    if host.port_bindings or host.publish_all_ports:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if config.exposed_ports:
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")


def no_more_networks() -> InvalidArgument:
    """For a container that lives in the network of another."""
    return InvalidArgument(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )
