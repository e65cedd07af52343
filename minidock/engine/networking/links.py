"""--link: the way in which containers knew of each other before there were networks with names.

On the default bridge a link puts the linked container's address into /etc/hosts, by its alias, its host name and its
name, and what it offers into the environment: ALIAS_NAME, ALIAS_PORT…, ALIAS_ENV_…. On a network of one's own it is an
alias that only the one container knows (names.py). A link is kept by the linked container's id, so that it outlives a
rename, and is shown by its name.

Docker's rules: who is linked to must run when the other starts, and be on the default bridge; when it starts again,
the addresses in the hosts of those that know it follow. See: Docker's page "Legacy container links".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minidock.engine.config import EndpointWish
from minidock.engine.containers import Containers
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.networking.hosts import edit
from minidock.engine.networking.requests import PREDEFINED
from minidock.engine.requests import CreateRequest
from minidock.wire.errors import Error, InvalidArgument, NotFound
from minidock.wire.names import short_id

DEFAULT = "bridge"
_OWN = ("HOME", "PATH")


def parse(text: str) -> tuple[str, str]:
    """``NAME[:ALIAS]`` → both; inspect's own form ``/NAME:/OTHER/ALIAS`` too. Raises InvalidArgument."""
    name, colon, alias = text.partition(":")
    if not name or (colon and not alias) or ":" in alias:
        raise InvalidArgument("empty string specified for links" if not text else f"bad format for links: {text}")
    name = name.removeprefix("/")
    return name, (alias or name).rpartition("/")[2]


def settle(request: CreateRequest, containers: Containers) -> CreateRequest:
    """A create request with its links by id: those on the default bridge must be there, others may come later."""
    host = request.host
    if not host.links:
        return request
    if host.network_mode == "host":
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    if host.network_mode not in ("", "default", DEFAULT):
        return dataclasses.replace(request, host=dataclasses.replace(host, links=None))
    found = []
    for name, alias in map(parse, host.links):
        try:
            child = containers.resolve(name)
        except NotFound as error:  # not a 404: clients would take that for a missing image, and pull it
            raise InvalidArgument(f"could not get container for {name}: {error.message}") from None
        if child.host.network_mode == "host":
            raise InvalidArgument("conflicting options: host type networking can't be used with links")
        found.append(f"{child.id}:{alias}")
    return dataclasses.replace(request, host=dataclasses.replace(host, links=tuple(found)))


def settle_wish(wish: EndpointWish, network: str, containers: Containers) -> EndpointWish:
    """The same for one network's endpoint; on the default bridge the links of the container count."""
    if not wish.links:
        return wish
    found = []
    for name, alias in map(parse, wish.links):
        with suppress(Error):
            name = containers.resolve(name).id
        found.append(f"{name}:{alias}")
    return dataclasses.replace(wish, links=None if network in PREDEFINED else tuple(found))


def aliases(wish: EndpointWish) -> dict[str, str]:
    """Alias in lower case → id (or name) of who is meant, on one network."""
    return {alias.lower(): name for name, alias in map(parse, wish.links or ())}


def linked(container: Container, containers: Containers) -> list[tuple[str, Container]]:
    """(alias, container) of the links on the default bridge, of those that are still there."""
    pairs = [(alias, containers.get(ident)) for ident, alias in map(parse, container.host.links or ())]
    return [(alias, child) for alias, child in pairs if child]


def check(container: Container, containers: Containers) -> None:
    """Before a start on the default bridge. Raises Error with Docker's words."""
    for ident, alias in map(parse, container.host.links or ()):
        child = containers.get(ident)
        if not child or not child.state.alive:
            name, hint = (f"/{child.name}", "start it first") if child else (short_id(ident), "it was removed")
            raise Error(f"Cannot link to a non running container: {name} AS /{container.name}/{alias}", hint)
        if DEFAULT not in child.state.endpoints:
            raise Error(f"Cannot link to /{child.name}, as it does not belong to the default network")


def hosts(container: Container, containers: Containers) -> list[tuple[str, str]]:
    """Lines for /etc/hosts: an address, and all that the container there is called."""
    return [
        (address, _names(alias, child))
        for alias, child, endpoint in _plugged(container, containers)
        for address in endpoint.addresses
    ]


def _plugged(container: Container, containers: Containers) -> list[tuple[str, Container, EndpointRecord]]:
    ends = [(alias, child, child.state.endpoints.get(DEFAULT)) for alias, child in linked(container, containers)]
    return [(alias, child, endpoint) for alias, child, endpoint in ends if endpoint]


def _names(alias: str, child: Container) -> str:
    return " ".join(dict.fromkeys([alias, child.config.hostname, child.name]))


def follow(child: Container, containers: Containers, directory_of: Callable[[str], Path]) -> None:
    """The child has started anew: its address in the hosts of those that have a link to it."""
    endpoint = child.state.endpoints.get(DEFAULT)
    for parent in containers.all():
        aliases = sorted({alias for alias, one in linked(parent, containers) if one is child})
        if not endpoint or not aliases or not parent.state.alive:
            continue
        told = [f"{address}\t{_names(alias, child)}" for alias in aliases for address in endpoint.addresses]
        edit(directory_of(parent.id) / "hosts", partial(_follow, aliases, child, told))


def _follow(aliases: Sequence[str], child: Container, told: list[str], lines: list[str]) -> list[str]:
    return [line for line in lines if not any(_tells_of(line, alias, child) for alias in aliases)] + told


def _tells_of(line: str, alias: str, child: Container) -> bool:
    """Whether a line of /etc/hosts is a link's: alias first, then the host name; the name behind may have changed."""
    words = line.partition("\t")[2].split(" ")
    return words[0] == alias and child.config.hostname in words


@dataclass(frozen=True)
class Shown:
    """Links as inspect shows them, with names for ids: the container's own, and those of each network."""

    own: list[str] | None
    networks: Mapping[str, list[str] | None]


def shown(container: Container, containers: Containers) -> Shown:
    """The container's own are ``/NAME:/PARENT/ALIAS``, of who is still there; a network's are as they were given."""
    own = [f"/{child.name}:/{container.name}/{alias}" for alias, child in linked(container, containers)]
    networks: dict[str, list[str] | None] = {}
    for network, wish in container.networks.items():
        pairs = [(containers.get(ref), ref, alias) for ref, alias in map(parse, wish.links or ())]
        networks[network] = [f"{child.name if child else ref}:{alias}" for child, ref, alias in pairs] or None
    return Shown(own or None, networks)


# ---- the environment ------------------------------------------------------------------------------------------------


def environment(container: Container, containers: Containers) -> tuple[str, ...]:
    """What the linked containers offer, in Docker's order of variables."""
    found: list[str] = []
    for alias, child, endpoint in _plugged(container, containers):
        name = alias.upper().replace("-", "_")
        found += _ports(name, endpoint.address, sorted(_port_key(port) for port in child.config.exposed_ports or {}))
        found.append(f"{name}_NAME=/{container.name}/{alias}")
        pairs = (entry.partition("=") for entry in child.config.env)
        found += [f"{name}_ENV_{key}={text}" for key, equals, text in pairs if equals and key not in _OWN]
    return tuple(found)


def _port_key(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number) if number.isdigit() else 0, protocol or "tcp"


def _ports(name: str, address: str, ports: Sequence[tuple[int, str]]) -> list[str]:
    found = [f"{name}_PORT={ports[0][1]}://{address}:{ports[0][0]}"] if ports else []
    for first, last in _ranges(ports):
        start = f"{name}_PORT_{first[0]}_{first[1].upper()}"
        end = f"{name}_PORT_{first[0]}_{last[1].upper()}"
        found += [
            f"{start}_START={first[1]}://{address}:{first[0]}",
            f"{start}_PORT_START={first[0]}",
            f"{end}_END={last[1]}://{address}:{last[0]}",
            f"{end}_PORT_END={last[0]}",
        ]
    for number, protocol in ports:
        key = f"{name}_PORT_{number}_{protocol.upper()}"
        found += [
            f"{key}={protocol}://{address}:{number}",
            f"{key}_ADDR={address}",
            f"{key}_PORT={number}",
            f"{key}_PROTO={protocol}",
        ]
    return found


def _ranges(ports: Sequence[tuple[int, str]]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    """The first and the last of each row of neighbours, whatever their protocols."""
    found: list[tuple[tuple[int, str], tuple[int, str]]] = []
    for port in ports:
        if found and port[0] == found[-1][1][0] + 1:
            found[-1] = (found[-1][0], port)
        else:
            found.append((port, port))
    return [(first, last) for first, last in found if first != last]
