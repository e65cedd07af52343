"""`minidock volume`: create, ls, inspect, rm, prune, with docker's flags and tables.

Read next: noun.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minidock.cli.noun import Noun
from minidock.cli.output import filter_map, show_rows
from minidock.cli.removal import agree, remove_each
from minidock.cli.values import label
from minidock.cli.verb import argument, client, flag, parsed, value, verb
from minidock.client.volumes import Volumes
from minidock.wire.units import decimal_size

COLUMNS = ("Driver", "Name")
HEADINGS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
}


@verb("create")
@argument("name", "[VOLUME]", required=False)
@value("-d", "--driver", help="Specify volume driver name", default="local")
@value("--label", "labels", metavar="list", multiple=True, help="Set metadata for a volume")
@value("-o", "--opt", "options", metavar="map", multiple=True, help="Set driver specific options: type, o, device")
def create_command(name: str | None, driver: str, labels: Sequence[str], options: Sequence[str]) -> None:
    """Create a volume"""
    body = {
        "Name": name or "",
        "Driver": driver,
        "DriverOpts": dict(parsed("-o, --opt", text, label) for text in options),
        "Labels": dict(parsed("--label", text, label) for text in labels),
    }
    print(Volumes(client()).create(body)["Name"])


@verb("ls")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output, such as dangling=true")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("-q", "--quiet", help="Only display volume names")
def ls_command(filters: Sequence[str], layout: str | None, quiet: bool) -> None:
    """List volumes"""
    found = sorted(Volumes(client()).all(filter_map(filters)), key=lambda volume: str(volume["Name"]))
    if quiet and not layout:
        print("".join(f"{volume['Name']}\n" for volume in found), end="")
        return
    show_rows([_row(volume) for volume in found], layout, COLUMNS, HEADINGS)


def _row(volume: Mapping[str, Any]) -> dict[str, object]:
    labels = volume.get("Labels") or {}
    return {
        **{column: volume[column] for column in ("Driver", "Name", "Scope", "Mountpoint")},
        "Labels": ",".join(f"{name}={text}" for name, text in sorted(labels.items())),
    }


@verb("inspect")
@argument("names", "VOLUME [VOLUME...]", nargs=-1, required=True)
@value("-f", "--format", "layout", help="'json' or a Go template")
def inspect_command(names: Sequence[str], layout: str | None) -> int:
    """Display detailed information on one or more volumes"""
    from minidock.cli.inspect import show_each

    return show_each(names, client().inspect_volume, layout)


@verb("rm")
@argument("names", "VOLUME [VOLUME...]", nargs=-1, required=True)
@flag("-f", "--force", help="Do not error if the volume does not exist")
def rm_command(names: Sequence[str], force: bool) -> int:
    """Remove one or more volumes"""
    daemon = Volumes(client())
    return remove_each(names, lambda name: daemon.remove(name, force))


@verb("prune")
@flag("-a", "--all", "everything", help="Remove all unused volumes, not just anonymous ones")
@value("--filter", "filters", metavar="filter", multiple=True, help="Provide filter values, such as label=a=b")
@flag("-f", "--force", help="Do not prompt for confirmation")
def prune_command(everything: bool, filters: Sequence[str], force: bool) -> None:
    """Remove unused local volumes"""
    if not force:
        kind = "all local" if everything else "anonymous local"
        agree(f" {kind} volumes not used by at least one container.", "volume prune")
    wanted = filter_map(filters)
    if everything:
        wanted["all"] = ["true"]
    done = Volumes(client()).prune(wanted)
    if done["VolumesDeleted"]:
        print("Deleted Volumes:", *done["VolumesDeleted"], "", sep="\n")
    print(f"Total reclaimed space: {decimal_size(done['SpaceReclaimed'])}")


volume_command = Noun(
    "volume",
    "Manage volumes",
    {one.name or "": one for one in (create_command, ls_command, inspect_command, rm_command, prune_command)},
)
