"""`minidock version` and `minidock info`: who answers, and on what machine.

The layout is docker's. Without a daemon `version` still prints the client's half.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from minidock.cli.output import show_template
from minidock.cli.verb import client, tell, value, verb
from minidock.client.client import Json
from minidock.wire.errors import DaemonUnreachable
from minidock.wire.units import binary_size
from minidock.wire.version import API_VERSION, VERSION

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_FORMAT_HELP = "'json' or a Go template"


@verb("version")
@value("-f", "--format", "layout", help=_FORMAT_HELP)
def version_command(layout: str | None) -> int:
    """Show the minidock version information"""
    found: Json = {"Client": _client_facts(), "Server": None}
    trouble: DaemonUnreachable | None = None
    try:
        found["Server"] = client().version()
    except DaemonUnreachable as error:
        trouble = error
    if layout:
        show_template([found], "{{json .}}" if layout == "json" else layout)
    else:
        print("\n".join(_version_lines(found)))
    if trouble:
        tell(trouble)
    return 1 if trouble else 0


def _client_facts() -> Json:
    machine = platform.machine()
    return {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": _MACHINES.get(machine, machine),
    }


def _version_lines(found: Json) -> list[str]:
    facts = found["Client"]
    lines = [
        "Client:",
        f" Version:           {facts['Version']}",
        f" API version:       {facts['ApiVersion']}",
        f" Python version:    {facts['PythonVersion']}",
        f" OS/Arch:           {facts['Os']}/{facts['Arch']}",
    ]
    server: Json | None = found["Server"]
    if not server:
        return lines
    lines += ["", "Server:", " Engine:"]
    minimum = f" (minimum version {server['MinAPIVersion']})" if server.get("MinAPIVersion") else ""
    lines += [
        f"  Version:          {server.get('Version', '')}",
        f"  API version:      {server.get('ApiVersion', '')}{minimum}",
        f"  OS/Arch:          {server.get('Os', '')}/{server.get('Arch', '')}",
        f"  Kernel version:   {server.get('KernelVersion', '')}",
    ]
    for component in server.get("Components") or ():
        if component.get("Name") != "Engine":
            lines += [f" {component['Name']}:", f"  Version:          {component.get('Version', '')}"]
    return lines


@verb("info")
@value("-f", "--format", "layout", help=_FORMAT_HELP)
def info_command(layout: str | None) -> None:
    """Display system-wide information"""
    found = client().info()
    if layout:
        show_template([found], "{{json .}}" if layout == "json" else layout)
        return
    print(f"Client:\n Version:    {VERSION}\n Host:       {client().endpoint.host}\n")
    print("\n".join(_info_lines(found)))


# label → key of the answer; indented labels belong to the one before
_INFO: Sequence[tuple[str, str]] = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Root Dir", "DockerRootDir"),
)


def _info_lines(found: Mapping[str, Any]) -> list[str]:
    lines = ["Server:"]
    for label, key in _INFO:
        if key in found:
            shown = binary_size(found[key]) if key == "MemTotal" else found[key]
            lines.append(f" {label}: {shown}")
        if key == "Driver":
            lines += [f"  {name}: {text}" for name, text in found.get("DriverStatus") or ()]
    options = found.get("SecurityOptions") or ()
    lines += [" Security Options:", *(f"  {text.replace('name=', '')}" for text in options)] if options else []
    registries = found.get("RegistryConfig") or {}
    for label, texts in (
        ("Insecure Registries", registries.get("InsecureRegistryCIDRs")),
        ("Registry Mirrors", registries.get("Mirrors")),
    ):
        lines += [f" {label}:", *(f"  {text}" for text in texts)] if texts else []
    warnings = [f"WARNING: {text.removeprefix('WARNING: ')}" for text in found.get("Warnings") or ()]
    return lines + (["", *warnings] if warnings else [])
