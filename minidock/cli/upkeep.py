"""`minidock container|image|system prune` and `minidock system df`: what can go, and what takes up the disk.

Nothing is removed before the user has agreed, or said --force. Read next: nouns.py, through which these are reached.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minidock.cli.output import filter_map, show_rows, show_template, table
from minidock.cli.removal import agree
from minidock.cli.verb import BadFlag, Function, client, flag, value, verb
from minidock.client.client import Filters, Json
from minidock.client.upkeep import Upkeep
from minidock.wire.units import decimal_size

COLUMNS = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
HEADINGS = dict(zip(COLUMNS, ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), strict=True))
_CONTAINERS, _NETWORKS = "all stopped containers", "all networks not used by at least one container"
_VOLUMES = "all anonymous volumes not used by at least one container"
_DANGLING = "all dangling images"
_UNUSED = "all images without at least one container associated to them"


def _flags(function: Function) -> Function:
    function = flag("-f", "--force", help="Do not prompt for confirmation")(function)
    wanted = "Provide filter values, such as until=24h or label=KEY"
    return value("--filter", "filters", metavar="filter", multiple=True, help=wanted)(function)


@verb("prune")
@_flags
def container_prune_command(filters: Sequence[str], force: bool) -> None:
    """Remove all stopped containers"""
    if not force:
        agree(f" {_CONTAINERS}.", "container prune")
    _total(_containers(Upkeep(client()), filter_map(filters)))


@verb("prune")
@flag("-a", "--all", help="Remove all unused images, not just dangling ones")
@_flags
def image_prune_command(all: bool, filters: Sequence[str], force: bool) -> None:
    """Remove unused images"""
    if not force:
        agree(f" {_UNUSED if all else _DANGLING}.", "image prune")
    _total(_images(Upkeep(client()), filter_map(filters), all))


@verb("prune")
@flag("-a", "--all", help="Remove all unused images not just dangling ones")
@flag("--volumes", help="Prune anonymous volumes")
@_flags
def system_prune_command(all: bool, volumes: bool, filters: Sequence[str], force: bool) -> None:
    """Remove unused data"""
    wanted = filter_map(filters)
    if not force:
        parts = (_CONTAINERS, _NETWORKS, *[_VOLUMES] * volumes, _UNUSED if all else _DANGLING)
        agree(":\n" + "".join(f"  - {part}\n" for part in parts), "system prune")
    daemon = Upkeep(client())
    size = _containers(daemon, wanted)
    _deleted("Networks", daemon.prune("networks", wanted).get("NetworksDeleted") or ())
    if volumes:
        done = daemon.prune("volumes", wanted)
        _deleted("Volumes", done.get("VolumesDeleted") or ())
        size += int(done["SpaceReclaimed"])
    _total(size + _images(daemon, wanted, all))


def _containers(daemon: Upkeep, wanted: Filters) -> int:
    done = daemon.prune("containers", wanted)
    _deleted("Containers", done.get("ContainersDeleted") or ())
    return int(done["SpaceReclaimed"])


def _images(daemon: Upkeep, wanted: Filters, all: bool) -> int:
    if "dangling" in wanted:
        raise BadFlag('invalid argument for "--filter" flag: dangling', "give -a for images that have a name")
    done = daemon.prune("images", {**wanted, "dangling": ["false" if all else "true"]})
    lines = [
        f"untagged: {one['Untagged']}" if one.get("Untagged") else f"deleted: {one['Deleted']}"
        for one in done.get("ImagesDeleted") or ()
    ]
    _deleted("Images", lines)
    return int(done["SpaceReclaimed"])


def _deleted(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"Deleted {what}:", *names, "", sep="\n")


def _total(size: int) -> None:
    print(f"Total reclaimed space: {decimal_size(size)}")


@verb("df")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("-v", "--verbose", help="Show detailed information on space usage")
def df_command(layout: str | None, verbose: bool) -> None:
    """Show docker disk usage"""
    found = Upkeep(client()).df()
    if verbose and layout:
        show_template([found], "{{json .}}" if layout == "json" else layout)
    elif verbose:
        _show_verbose(found)
    else:
        show_rows(usage(found), layout, COLUMNS, HEADINGS)


def usage(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """The rows of the table: how many, how many in use, their bytes, and the bytes that a prune would free."""
    images, containers = found.get("Images") or (), found.get("Containers") or ()
    volumes, caches = found.get("Volumes") or (), found.get("BuildCache") or ()
    layers, held = found.get("LayersSize", 0), sum(i["Size"] - i["SharedSize"] for i in images if i["Containers"] > 0)

    def size(one: Json) -> int:
        return int((one.get("UsageData") or {}).get("Size", one.get("SizeRw", 0)) or 0)

    def up(one: Json) -> bool:
        return one["State"] in ("running", "paused", "restarting")

    def used(one: Json) -> bool:
        return bool((one.get("UsageData") or {}).get("RefCount") or one.get("InUse"))

    return [
        _row("Images", len(images), sum(i["Containers"] > 0 for i in images), layers, layers - held),
        _counted("Containers", containers, size, up),
        _counted("Local Volumes", volumes, size, used),
        _counted("Build Cache", caches, size, used),
    ]


def _counted(
    kind: str, things: Sequence[Json], size: Callable[[Json], int], active: Callable[[Json], bool]
) -> dict[str, object]:
    free = sum(size(one) for one in things if not active(one))
    return _row(kind, len(things), sum(map(active, things)), sum(map(size, things)), free)


def _row(kind: str, count: int, active: int, size: int, free: int) -> dict[str, object]:
    share = f" ({100 * free // size}%)" if size > 0 else ""
    texts = (kind, str(count), str(active), decimal_size(size), f"{decimal_size(free)}{share}")
    return dict(zip(COLUMNS, texts, strict=True))


def _show_verbose(found: Mapping[str, Any]) -> None:
    from minidock.cli import images, ps

    rows = [
        {**row, "UniqueSize": decimal_size(image["Size"] - image["SharedSize"]), "Containers": str(image["Containers"])}
        for image in found.get("Images") or ()
        for row in images.image_rows(image, digests=False, no_trunc=False)
    ]
    columns = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
    print("Images space usage:\n")
    show_rows(rows, None, columns, images.HEADINGS)
    print("\nContainers space usage:\n")
    columns = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
    headings = {**ps.HEADINGS, "RunningFor": "CREATED"}
    show_rows([ps.row(one, no_trunc=False) for one in found.get("Containers") or ()], None, columns, headings)
    print("\nLocal Volumes space usage:\n")
    volumes = [
        (one["Name"], str(one["UsageData"]["RefCount"]), decimal_size(one["UsageData"]["Size"]))
        for one in found.get("Volumes") or ()
    ]
    sys.stdout.write(table([("VOLUME NAME", "LINKS", "SIZE"), *volumes]))
