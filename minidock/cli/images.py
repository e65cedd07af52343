"""`minidock images`: the images, one line a tag.

Read next: output.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minidock.cli.output import filter_map, local_time, show_rows
from minidock.cli.verb import argument, client, flag, value, verb
from minidock.wire.names import short_id
from minidock.wire.times import SECOND, ago
from minidock.wire.units import decimal_size

NONE = "<none>"
HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}


@verb("images")
@argument("repository", "[REPOSITORY[:TAG]]", required=False)
@flag("-a", "--all", help="Show all images (default hides intermediate images)")
@flag("--digests", help="Show digests")
@value("-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output, such as dangling=true")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("--no-trunc", help="Don't truncate output")
@flag("-q", "--quiet", help="Only show image IDs")
def images_command(
    repository: str | None,
    all: bool,
    digests: bool,
    filters: Sequence[str],
    layout: str | None,
    no_trunc: bool,
    quiet: bool,
) -> None:
    """List images"""
    wanted = filter_map(filters)
    if repository:
        wanted.setdefault("reference", []).append(repository)
    found = client().images(all, wanted)
    if quiet and not layout:
        print("".join(f"{image['Id'] if no_trunc else short_id(image['Id'])}\n" for image in found), end="")
        return
    rows = [row for image in found for row in image_rows(image, digests, no_trunc)]
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    show_rows(rows, layout, columns, HEADINGS)


def image_rows(image: Mapping[str, Any], digests: bool, no_trunc: bool) -> Iterator[dict[str, Any]]:
    """An image's cells by docker's field names, once for each name that it has."""
    created = int(image.get("Created") or 0)
    for repository, tag, digest in _names(image, digests):
        yield {
            "Containers": "N/A" if image.get("Containers", -1) < 0 else str(image["Containers"]),
            "CreatedAt": local_time(created),
            "CreatedSince": ago(created * SECOND) if created > 0 else "N/A",
            "Digest": digest,
            "ID": image["Id"] if no_trunc else short_id(image["Id"]),
            "Repository": repository,
            "SharedSize": "N/A" if image.get("SharedSize", -1) < 0 else decimal_size(image["SharedSize"]),
            "Size": decimal_size(image.get("Size") or 0),
            "Tag": tag,
            "UniqueSize": "N/A",
            "VirtualSize": decimal_size(image.get("Size") or 0, digits=4),
        }


def _names(image: Mapping[str, Any], digests: bool) -> Iterator[tuple[str, str, str]]:
    """(repository, tag, digest): every tag; with ``digests`` beside the digest of its repository, if there is one."""
    tags = [name.rpartition(":")[::2] for name in image.get("RepoTags") or () if name != f"{NONE}:{NONE}"]
    by_repository = dict(
        name.partition("@")[::2] for name in image.get("RepoDigests") or () if not name.startswith(NONE)
    )
    for repository, tag in tags:
        yield repository, tag, by_repository.get(repository, NONE) if digests else NONE
    tagged = {repository for repository, _ in tags}
    untagged = [(name, digest) for name, digest in by_repository.items() if name not in tagged]
    if digests or not tags:
        for repository, digest in untagged:
            yield repository, NONE, digest if digests else NONE
    if not tags and not untagged:
        yield NONE, NONE, NONE
