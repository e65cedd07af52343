"""Image configs: the JSON that says what to run and which layers there are, read as what it is: a stranger's words.

The id of an image is the digest of these bytes, so they are kept as they came; what the engine works with is parsed
strictly here, once. Known abuses (CVE-2024-40635, CVE-2022-23648, CVE-2026-46680 and their kind): a variable without
"=" that asks for the host's, control characters in what is later written into files, volumes that climb out.
See: OCI image-spec, config.md; moby's image/spec/v1.2.md for the fields that OCI lacks.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from minidock.image import digest as digests
from minidock.image.jsonio import Fields, parse_object
from minidock.image.model import History, ImageConfig
from minidock.wire import times
from minidock.wire.errors import Error, InvalidArgument

MAX_CONFIG = 8 << 20
MAX_LAYERS = 500

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?", re.ASCII)


@dataclass(frozen=True)
class ParsedConfig:
    """A whole image config: where it runs, what it runs, and the layers as diff ids, lowest first."""

    id: str
    architecture: str
    variant: str
    created: str
    author: str
    comment: str
    diff_ids: tuple[str, ...]
    config: ImageConfig
    history: tuple[History, ...]


def parse(data: bytes) -> ParsedConfig:
    """An image config. Raises InvalidArgument."""
    top = Fields(parse_object(data, "image config", MAX_CONFIG), "image config")
    system = top.text("os") or "linux"
    if system != "linux":
        raise InvalidArgument(f'image operating system "{system[:40]}" cannot be used on this platform')
    diff_ids = tuple(digests.check(item) for item in top.inner("rootfs").items("diff_ids"))
    if len(diff_ids) > MAX_LAYERS:
        raise InvalidArgument(f"read image config: {len(diff_ids)} layers, at most {MAX_LAYERS} can be")
    return ParsedConfig(
        id=digests.of(data),
        architecture=top.text("architecture"),
        variant=top.text("variant"),
        created=_time(top.text("created")),
        author=top.text("author"),
        comment=top.text("comment"),
        diff_ids=diff_ids,
        config=_defaults(top.inner("config")),
        history=tuple(_history(Fields(item, "image config: history")) for item in top.items("history")),
    )


def _defaults(fields: Fields) -> ImageConfig:
    ports = tuple(fields.mapping("ExposedPorts"))
    if not all(_PORT.fullmatch(port) for port in ports):
        raise fields.wrong("ExposedPorts")
    return ImageConfig(
        env=_environment(fields),
        cmd=fields.command("Cmd"),
        entrypoint=fields.command("Entrypoint"),
        user=_plain(fields, "User"),
        working_dir=_plain(fields, "WorkingDir"),
        labels=fields.labels("Labels"),
        exposed_ports=ports,
        volumes=tuple(_volume(fields, path) for path in fields.mapping("Volumes")),
        stop_signal=_plain(fields, "StopSignal"),
        shell=fields.texts("Shell"),
        healthcheck=fields.mapping("Healthcheck") or None,
        on_build=fields.texts("OnBuild"),
    )


def _environment(fields: Fields) -> tuple[str, ...]:
    """NAME=value entries. One without "=" means "as the host has it" to some runtimes: it is left out."""
    entries = tuple(entry for entry in fields.texts("Env") if "=" in entry)
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name or _CONTROL.search(name) or (name == "HOME" and _CONTROL.search(value)):
            raise fields.wrong("Env")
    return entries


def _plain(fields: Fields, key: str) -> str:
    """A text that ends up in files and messages: no control characters."""
    value = fields.text(key)
    if _CONTROL.search(value):
        raise fields.wrong(key)
    return value


def _volume(fields: Fields, path: str) -> str:
    """An absolute path below the root, cleaned as text; it is resolved in the root when it is used."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if not path.startswith("/") or clean == "/" or _CONTROL.search(path) or ".." in path.split("/"):
        raise fields.wrong("Volumes")
    return clean


def _history(fields: Fields) -> History:
    return History(
        created=_time(fields.text("created")),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
    )


def _time(text: str) -> str:
    """An RFC 3339 time as it stands; "never" if it is none."""
    try:
        times.parse_rfc3339(text)
    except (Error, OverflowError):
        return times.NEVER
    return text or times.NEVER
