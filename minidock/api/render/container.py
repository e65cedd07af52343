"""Containers as JSON: the row of a list, and inspect.

Times are seconds in lists and RFC 3339 in inspect. ``State`` has five booleans beside its one word because clients read
either. Nothing is mounted on the host, so ``MergedDir`` is where a running container's root can really be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidock.engine.codec import encode
from minidock.engine.config import EndpointWish
from minidock.engine.model import Container, EndpointRecord, Health, MountPoint, State, Status
from minidock.engine.networking.links import Shown
from minidock.engine.networking.requests import PREDEFINED, dns_names
from minidock.wire import times

_LEFT_OUT_OF_HOST = (
    "Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Runtime", "Mounts", "Init", "HugepageLimits",
)  # fmt: skip
_LEFT_OUT_OF_CONFIG = (
    "ExposedPorts", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip
_NOTHING: tuple[object, ...] = (None, "", [], {})


@dataclass(frozen=True)
class Place:
    """What inspect shows beside the record: where files are, what runs in it, the ids of networks by name,
    the AppArmor profile of a container that was started."""

    directory: Path
    log_path: Path
    lowers: tuple[str, ...] = ()
    exec_ids: tuple[str, ...] = ()
    network_ids: Mapping[str, str] | None = None
    links: Shown = Shown(None, {})
    apparmor: str = ""


def summary(container: Container, image: str, network_ids: Mapping[str, str]) -> dict[str, Any]:
    """A row of GET /containers/json. ``image``: the name to show."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": image,
        "ImageID": container.definition.image_id,
        "Command": command(container),
        "Created": container.created // times.SECOND,
        "Ports": _ports_row(container) if container.state.alive else [],
        "Labels": dict(container.config.labels),
        "State": container.state.status.value,
        "Status": status_text(container.state),
        "HostConfig": {"NetworkMode": container.host.network_mode},
        "NetworkSettings": {"Networks": _networks(container, network_ids)},
        "Mounts": [mount(point) for point in container.definition.mounts],
    }


def command(container: Container) -> str:
    """Path and arguments; what has a blank in it stands in quotes."""
    arguments = [f"'{word}'" if " " in word else word for word in container.definition.args]
    return " ".join([container.definition.path, *arguments])


def status_text(state: State) -> str:
    """``Up 3 seconds``, ``Exited (1) 2 minutes ago``: composed here, because clients only print it."""
    if state.alive:
        suffix = " (Paused)" if state.status is Status.PAUSED else _health_text(state.health)
        return f"Up {times.human_duration(times.now() - state.started_at)}{suffix}"
    if state.status is Status.RESTARTING:
        return f"Restarting ({state.exit_code}) {times.ago(state.finished_at)}"
    if state.status is Status.REMOVING:
        return "Removal In Progress"
    if state.status is Status.DEAD:
        return "Dead"
    if not state.started_at:
        return "Created"
    return f"Exited ({state.exit_code}) {times.ago(state.finished_at)}"


def _health_text(health: Health | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"


def _ports_row(container: Container) -> list[dict[str, Any]]:
    """The published ports, and those that the image or the user only named."""
    rows: list[dict[str, Any]] = []
    for name, bindings in ports(container).items():
        number, _, protocol = name.partition("/")
        inner = {"PrivatePort": int(number), "Type": protocol}
        rows += [
            {"IP": one["HostIp"], "PrivatePort": int(number), "PublicPort": int(one["HostPort"]), "Type": protocol}
            for one in bindings or ()
        ] or [inner]
    return rows


def ports(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """Docker's PortMap: ``80/tcp`` → where it is published, or null for a port that is only named."""
    named = [port if "/" in port else f"{port}/tcp" for port in container.config.exposed_ports or {}]
    found: dict[str, list[dict[str, str]] | None] = {name: None for name in named if name.split("/")[0].isdigit()}
    for port in container.state.ports:
        name = f"{port.port}/{port.protocol}"
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        found[name] = [*(found.get(name) or ()), binding]
    return found


def mount(point: MountPoint) -> dict[str, Any]:
    """A mount point; only a volume has a name and a driver."""
    value: dict[str, Any] = {"Type": point.type}
    if point.name:
        value["Name"] = point.name
    value |= {"Source": point.source, "Destination": point.destination}
    if point.driver:
        value["Driver"] = point.driver
    return value | {"Mode": point.mode, "RW": point.rw, "Propagation": point.propagation}


def _networks(container: Container, network_ids: Mapping[str, str]) -> dict[str, Any]:
    """One entry a network; none for a container that lives in another's."""
    if container.host.network_mode.startswith("container:"):
        return {}
    state = container.state
    return {
        name: {
            **_endpoint(state.endpoints.get(name), network_ids.get(name, "") if state.alive else ""),
            **_wish(wish, state.endpoints.get(name)),
            "DNSNames": dns_names(container, wish) if name not in PREDEFINED else None,
        }
        for name, wish in container.networks.items()
    }


def _wish(wish: EndpointWish, record: EndpointRecord | None) -> dict[str, Any]:
    """What was asked for. Aliases are those given (API 1.45); what else resolves stands in DNSNames."""
    asked = encode(wish.ipam_config) if wish.ipam_config else None
    return {
        "IPAMConfig": {name: value for name, value in asked.items() if value} if asked is not None else None,
        "Aliases": list(wish.aliases) if wish.aliases else None,
        "MacAddress": record.mac if record else wish.mac_address,
        "DriverOpts": wish.driver_opts,
    }


def _endpoint(record: EndpointRecord | None, network_id: str) -> dict[str, Any]:
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": record.mac if record else "",
        "NetworkID": record.network_id if record else network_id,
        "EndpointID": record.endpoint_id if record else "",
        "Gateway": record.gateway if record else "",
        "IPAddress": record.address if record else "",
        "IPPrefixLen": record.prefix if record else 0,
        "IPv6Gateway": record.gateway6 if record else "",
        "GlobalIPv6Address": record.address6 if record else "",
        "GlobalIPv6PrefixLen": record.prefix6 if record else 0,
        "DriverOpts": None,
        "DNSNames": None,
    }


def inspect(container: Container, place: Place) -> dict[str, Any]:
    """GET /containers/{c}/json."""
    definition = container.definition
    return {
        "Id": container.id,
        "Created": times.rfc3339(container.created),
        "Path": definition.path,
        "Args": list(definition.args),
        "State": _state(container.state),
        "Image": definition.image_id,
        "ResolvConfPath": str(place.directory / "resolv.conf"),
        "HostnamePath": str(place.directory / "hostname"),
        "HostsPath": str(place.directory / "hosts"),
        "LogPath": str(place.log_path) if container.host.log_config.type == "json-file" else "",
        "Name": f"/{container.name}",
        "RestartCount": container.state.restart_count,
        "Driver": "overlay2",
        "Platform": definition.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": place.apparmor,
        "ExecIDs": list(place.exec_ids) or None,
        "HostConfig": _without_empty(encode(container.host), _LEFT_OUT_OF_HOST) | {"Links": place.links.own},
        "GraphDriver": _graph_driver(container, place),
        "Mounts": [mount(point) for point in definition.mounts],
        "Config": _config(container),
        "NetworkSettings": _network_settings(container, place.network_ids or {}, place.links),
    }


def _state(state: State) -> dict[str, Any]:
    value: dict[str, Any] = {
        "Status": state.status.value,
        "Running": state.up,
        "Paused": state.status is Status.PAUSED,
        "Restarting": state.status is Status.RESTARTING,
        "OOMKilled": state.oom_killed,
        "Dead": state.status is Status.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": times.rfc3339(state.started_at),
        "FinishedAt": times.rfc3339(state.finished_at),
    }
    return value if state.health is None else {**value, "Health": _health(state.health)}


def _health(health: Health) -> dict[str, Any]:
    log = [
        {"Start": times.rfc3339(r.start), "End": times.rfc3339(r.end), "ExitCode": r.exit_code, "Output": r.output}
        for r in health.log
    ]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def _without_empty(value: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """dockerd leaves these keys out where they say nothing; clients ask whether they are there. A 0 says something."""
    return {name: element for name, element in value.items() if name not in names or element not in _NOTHING}


def _config(container: Container) -> dict[str, Any]:
    value = encode(container.config)
    value["NetworkDisabled"] = value["NetworkDisabled"] or None
    if value["Healthcheck"]:
        value["Healthcheck"] = {name: element for name, element in value["Healthcheck"].items() if element}
    return _without_empty(value, _LEFT_OUT_OF_CONFIG)


def _graph_driver(container: Container, place: Place) -> dict[str, Any]:
    state = container.state
    data = {
        "LowerDir": ":".join(place.lowers),
        "MergedDir": f"/proc/{state.pid}/root" if state.alive else "",
        "UpperDir": str(place.directory / "upper"),
        "WorkDir": str(place.directory / "work"),
    }
    return {"Data": data, "Name": "overlay2"}


def _network_settings(container: Container, network_ids: Mapping[str, str], links: Shown) -> dict[str, Any]:
    state = container.state
    networks = _networks(container, network_ids)
    for name, network in networks.items():
        network["Links"] = links.networks.get(name)
    first = _endpoint(state.endpoints.get("bridge"), "")
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{state.pid}/ns/net" if state.alive else "",
        "Ports": ports(container) if state.alive else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": first["EndpointID"],
        "Gateway": first["Gateway"],
        "GlobalIPv6Address": first["GlobalIPv6Address"],
        "GlobalIPv6PrefixLen": first["GlobalIPv6PrefixLen"],
        "IPAddress": first["IPAddress"],
        "IPPrefixLen": first["IPPrefixLen"],
        "IPv6Gateway": first["IPv6Gateway"],
        "MacAddress": first["MacAddress"],
        "Networks": networks,
    }
