"""Images as JSON: the row of a list, inspect, here and at a registry, history, and what a removal did.

An image's Config has all the keys of a container's, because clients index them; what minidock doesn't keep of an image
(its parent, Docker's version) is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidock.image.model import History, Image, ImageConfig, ImagePlatform, Removed
from minidock.wire import times

if TYPE_CHECKING:
    from minidock.image.inspection import AtRegistry


def created(text: str) -> int:
    """An image's creation in seconds; 0 for an image that does not say, as reproducible ones do not."""
    return times.parse_rfc3339(text) // times.SECOND


def summary(image: Image, version: tuple[int, int]) -> dict[str, Any]:
    """A row of GET /images/json. Before API 1.43 an image without a name was called <none>; see also _sizes()."""
    tags, digests = list(image.tags), list(image.digests)
    if version < (1, 43):
        tags, digests = tags or ["<none>:<none>"], digests or ["<none>@<none>"]
    return {
        "Containers": -1,
        "Created": created(image.created),
        "Id": image.id,
        "Labels": dict(image.config.labels) or None,
        "ParentId": image.parent,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        **_sizes(image, version),
    }


def _sizes(image: Image, version: tuple[int, int]) -> dict[str, int]:
    """Before API 1.44 an image told its size twice."""
    return {"Size": image.size} | ({"VirtualSize": image.size} if version < (1, 44) else {})


def inspect(image: Image, lowers: Sequence[str], version: tuple[int, int]) -> dict[str, Any]:
    """GET /images/{image}/json. ``lowers``: the layers' directories, top first.

    Before API 1.45 it told of the container that the image was committed from, too; ours are from none.
    """
    top = lowers[0].removesuffix("/diff") if lowers else ""
    upper = {"MergedDir": f"{top}/merged", "UpperDir": lowers[0], "WorkDir": f"{top}/work"} if lowers else {}
    below = {"LowerDir": ":".join(lowers[1:])} if len(lowers) > 1 else {}
    value: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": image.created or times.NEVER,
        "DockerVersion": "",
        "Author": image.author,
        "Config": _config(image.config),
        "Architecture": image.architecture,
    }
    if version < (1, 45):
        value["ContainerConfig"] = _config(ImageConfig())
    if image.variant:
        value["Variant"] = image.variant
    return value | {
        "Os": image.os,
        **_sizes(image, version),
        "GraphDriver": {"Data": below | upper, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": times.NEVER},
    }


def _config(config: ImageConfig) -> dict[str, Any]:
    """The image's half of a container's Config, with all the keys of a whole one: clients index them."""
    value: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
    }
    if config.exposed_ports:
        value["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    value |= {
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": list(config.cmd) or None,
    }
    if config.healthcheck:
        value["Healthcheck"] = dict(config.healthcheck)
    value |= {
        "Image": "",
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": list(config.on_build) or None,
        "Labels": dict(config.labels) or None,
    }
    if config.stop_signal:
        value["StopSignal"] = config.stop_signal
    if config.shell:
        value["Shell"] = list(config.shell)
    return value


def history(line: Sequence[Image], layer_sizes: Sequence[int]) -> list[dict[str, Any]]:
    """GET /images/{image}/history, newest first. ``layer_sizes``: lowest layer first; ``line``: the image, then those
    that it came of, which are the images of the steps before.

    An image that tells nothing of its history, or less than its layers, has a row for each layer that is left.
    """
    sizes, image = list(layer_sizes), line[0]
    told = [_step(entry, 0 if entry.empty_layer or not sizes else sizes.pop(0)) for entry in image.history]
    rows = [*told, *[_row("", 0, "", size) for size in sizes]] or [_row("", 0, image.comment, image.size)]
    for row, one in zip(reversed(rows), line, strict=False):
        row |= {"Id": one.id, "Tags": list(one.tags) or None}
    return rows[::-1]


def _step(entry: History, size: int) -> dict[str, Any]:
    return _row(entry.created_by, created(entry.created), entry.comment, size)


def _row(by: str, at: int, comment: str, size: int) -> dict[str, Any]:
    """Steps of an image that came from elsewhere have no image of their own here, and Docker has a word for that."""
    return {"Comment": comment, "Created": at, "CreatedBy": by, "Id": "<missing>", "Size": size, "Tags": None}


def at_registry(found: AtRegistry) -> dict[str, Any]:
    """GET /distribution/{name}/json"""
    one = found.descriptor
    return {
        "Descriptor": {"mediaType": one.media_type, "digest": one.digest, "size": one.size},
        "Platforms": [_platform(platform) for platform in found.platforms],
    }


def _platform(one: ImagePlatform) -> dict[str, Any]:
    value: dict[str, Any] = {"architecture": one.architecture, "os": one.os}
    more = {"os.version": one.os_version, "os.features": list(one.os_features), "variant": one.variant}
    return value | {key: text for key, text in more.items() if text}


def removed(rows: Sequence[Removed]) -> list[dict[str, str]]:
    """What DELETE /images/{image} did."""
    return [{"Untagged": row.untagged} if row.untagged else {"Deleted": row.deleted} for row in rows]
