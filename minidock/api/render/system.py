"""The daemon as JSON: version, info, events.

What minidock has no equal of is zero or empty where clients decode it, and left out where they do not.
See: Docker Engine API 1.45, SystemVersion, SystemInfo, SystemEvents.
"""

from __future__ import annotations

from typing import Any

from minidock.engine.requests import Event, SystemInfo
from minidock.wire import times
from minidock.wire.version import API_VERSION, MIN_API_VERSION, VERSION

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_INDEX = "https://index.docker.io/v1/"


def go_architecture(machine: str) -> str:
    """``x86_64`` → ``amd64``, the name that images and clients use."""
    return _ARCHITECTURES.get(machine, machine)


def version(info: SystemInfo) -> dict[str, Any]:
    """GET /version."""
    architecture = go_architecture(info.architecture)
    details = {
        "ApiVersion": API_VERSION,
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": info.kernel_version,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "minidock"},
        "Components": [{"Name": "Engine", "Version": VERSION, "Details": details}],
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": info.kernel_version,
        "BuildTime": "",
    }


def info(system: SystemInfo, networks: list[str]) -> dict[str, Any]:
    """GET /info. ``networks``: the drivers that there are."""
    counts = system.containers
    return {
        "ID": system.id,
        "Containers": sum(counts.values()),
        "ContainersRunning": counts.get("running", 0),
        "ContainersPaused": counts.get("paused", 0),
        "ContainersStopped": sum(counts.values()) - counts.get("running", 0) - counts.get("paused", 0),
        "Images": system.images,
        "Driver": "overlay2",
        "DriverStatus": [list(pair) for pair in system.driver_status],
        "Plugins": {"Volume": ["local"], "Network": networks, "Authorization": None, "Log": ["json-file", "none"]},
        **_limits(system),
        "IPv4Forwarding": "bridge" in networks,
        "BridgeNfIptables": False,
        "BridgeNfIp6tables": False,
        "Debug": False,
        "NFd": 0,
        "OomKillDisable": False,
        "NGoroutines": 0,
        "SystemTime": times.rfc3339(times.now()),
        "LoggingDriver": "json-file",
        "CgroupDriver": system.cgroup_driver,
        "CgroupVersion": "2",
        "NEventsListener": 0,
        "KernelVersion": system.kernel_version,
        "OperatingSystem": system.operating_system,
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": system.architecture,
        "IndexServerAddress": _INDEX,
        "RegistryConfig": _registries(system),
        "NCPU": system.ncpu,
        "MemTotal": system.mem_total,
        "GenericResources": None,
        "DockerRootDir": system.root_dir,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": system.name,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": VERSION,
        "Runtimes": {"minidock": {"path": "minidock-monitor"}},
        "DefaultRuntime": "minidock",
        "Swarm": _NO_SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "minidock-monitor",
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": list(system.security_options),
        "CDISpecDirs": [],
        "Warnings": list(system.warnings) or None,
    }


def _limits(system: SystemInfo) -> dict[str, bool]:
    """Which limits can be enforced: all but those that the daemon warns of."""
    lacking = " ".join(system.warnings)
    memory, cpu = "memory" not in lacking, "cpu limit" not in lacking
    return {
        "MemoryLimit": memory,
        "SwapLimit": memory,
        "CpuCfsPeriod": cpu,
        "CpuCfsQuota": cpu,
        "CPUShares": cpu,
        "CPUSet": "cpuset" not in lacking,
        "PidsLimit": "pids" not in lacking,
    }


_NO_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _registries(system: SystemInfo) -> dict[str, Any]:
    networks = [entry for entry in system.insecure_registries if "/" in entry]
    hosts = [entry for entry in system.insecure_registries if "/" not in entry]
    hub = {"Name": "docker.io", "Mirrors": list(system.mirrors), "Secure": True, "Official": True}
    indexes = {host: {"Name": host, "Mirrors": [], "Secure": False, "Official": False} for host in hosts}
    return {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": {"docker.io": hub, **indexes},
        "Mirrors": list(system.mirrors) or None,
    }


def event(happened: Event) -> dict[str, Any]:
    """A line of GET /events. ``status``, ``id`` and ``from`` are old, and clients hang without them."""
    value: dict[str, Any] = {}
    if happened.type in ("container", "image"):
        value |= {"status": happened.action, "id": happened.id}
    if happened.type == "container":
        value["from"] = happened.attributes.get("image", "")
    return value | {
        "Type": happened.type,
        "Action": happened.action,
        "Actor": {"ID": happened.id, "Attributes": happened.attributes},
        "scope": "local",
        "time": happened.time // times.SECOND,
        "timeNano": happened.time,
    }
