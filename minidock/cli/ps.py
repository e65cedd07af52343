"""`minidock ps`: the containers, one a line.

The daemon has composed Status ("Up 3 seconds") and Command; the rest of the wording is docker's CLI's and done here.
Read next: output.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from minidock.cli.output import filter_map, local_time, show_rows
from minidock.cli.verb import client, flag, value, verb
from minidock.wire.names import short_id
from minidock.wire.times import SECOND, ago
from minidock.wire.units import decimal_size

HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


@verb("ps")
@flag("-a", "--all", help="Show all containers (default shows just running)")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output, such as name=web")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@value("-n", "--last", metavar="int", type=int, default=-1, help="Show n last created containers (all states)")
@flag("-l", "--latest", help="Show the latest created container (all states)")
@flag("--no-trunc", help="Don't truncate output")
@flag("-q", "--quiet", help="Only display container IDs")
@flag("-s", "--size", help="Display total file sizes")
def ps_command(
    all: bool,
    filters: Sequence[str],
    layout: str | None,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
) -> None:
    """List containers"""
    limit = 1 if latest and last < 0 else max(last, 0)
    wants_size = size or bool(layout and ".Size" in layout)
    found = client().containers(all, limit, wants_size, filter_map(filters))
    if quiet and not layout:
        print("".join(f"{container['Id'] if no_trunc else short_id(container['Id'])}\n" for container in found), end="")
        return
    rows = [row(container, no_trunc) for container in found]
    if sys.stdout.isatty():
        from minidock.cli import colour

        for one in rows:
            one["Status"] = colour.painted(one["Status"], colour.of_status(one["Status"]), sys.stdout)
    show_rows(rows, layout, (*COLUMNS, "Size") if size else COLUMNS, HEADINGS)


def row(container: Mapping[str, Any], no_trunc: bool) -> dict[str, Any]:
    """A container's cells by docker's field names, in the order of the alphabet as `--format json` prints them."""
    created = int(container.get("Created") or 0)
    labels: Mapping[str, str] = container.get("Labels") or {}
    mounts: Sequence[Mapping[str, str]] = container.get("Mounts") or ()
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "Command": command_text(container.get("Command") or "", no_trunc),
        "CreatedAt": local_time(created),
        "ID": container["Id"] if no_trunc else short_id(container["Id"]),
        "Image": image_text(container, no_trunc),
        "Label": lambda name: labels.get(name, ""),
        "Labels": ",".join(f"{key}={text}" for key, text in sorted(labels.items())),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(_mount_text(mount, no_trunc) for mount in mounts),
        "Names": _names(container.get("Names") or (), no_trunc),
        "Networks": ",".join(sorted(networks)),
        "Platform": None,
        "Ports": ports_text(container.get("Ports") or ()),
        "RunningFor": ago(created * SECOND),
        "Size": _size(container),
        "State": container.get("State", ""),
        "Status": container.get("Status", ""),
    }


def command_text(command: str, no_trunc: bool) -> str:
    """In Go's quotes, cut to 20 characters."""
    shown = command if no_trunc or len(command) <= 20 else command[:19] + "…"
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def image_text(container: Mapping[str, Any], no_trunc: bool) -> str:
    """The image as it was named; an id is cut, a digest behind a name is left out."""
    image = str(container.get("Image") or "")
    if not image:
        return "<no image>"
    if no_trunc:
        return image
    same = short_id(image) == short_id(str(container.get("ImageID") or ""))
    return short_id(image) if same else image.partition("@")[0]


def _names(names: Sequence[str], no_trunc: bool) -> str:
    bare = [name.removeprefix("/") for name in names]
    return ",".join(name for name in bare if no_trunc or "/" not in name)


def _mount_text(mount: Mapping[str, str], no_trunc: bool) -> str:
    name = mount.get("Name") or mount.get("Source") or ""
    return name if no_trunc or len(name) <= 15 else name[:14] + "…"


def _size(container: Mapping[str, Any]) -> str:
    written, whole = container.get("SizeRw") or 0, container.get("SizeRootFs") or 0
    return decimal_size(written) + (f" (virtual {decimal_size(whole)})" if whole else "")


def ports_text(ports: Sequence[Mapping[str, Any]]) -> str:
    """``0.0.0.0:8080->80/tcp, 443/tcp``; neighbours as one: ``0.0.0.0:8000-8002->80-82/tcp``."""
    runs: list[tuple[Any, ...]] = []
    for port in sorted(ports, key=_port_key):
        _, kind, outer, address = key = _port_key(port)
        inner = key[0]
        if runs:
            first, last, outer_first, outer_last, last_kind, last_address = runs[-1]
            follows = inner == last + 1 and outer == (outer_last + 1 if outer_last else 0)
            if follows and (kind, address) == (last_kind, last_address):
                runs[-1] = (first, inner, outer_first, outer, kind, address)
                continue
        runs.append((inner, inner, outer, outer, kind, address))
    return ", ".join(map(_run_text, runs))


def _port_key(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
    address = str(port.get("IP") or "")
    shown = f"[{address}]" if ":" in address else address
    return port["PrivatePort"], port.get("Type", "tcp"), port.get("PublicPort") or 0, shown


def _run_text(run: tuple[Any, ...]) -> str:
    first, last, outer_first, outer_last, kind, address = run
    inner = f"{_span(first, last)}/{kind}"
    return f"{address}:{_span(outer_first, outer_last)}->{inner}" if outer_first else inner


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
