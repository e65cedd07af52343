"""Making a container: the body, the create request, the pull where its image is missing, the --cidfile.

For run.py, create.py and plan.py, each of which has a command of its own: a command's flags cost a millisecond, so
none of them may import another. Read next: options.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from minidock.cli import options, reference
from minidock.cli.terminal import size
from minidock.cli.verb import BadFlag, tell
from minidock.client.client import Client, Json
from minidock.wire.errors import InvalidArgument, NotFound

_PULLS = ("always", "missing", "never")


def container_body(image: str, command: Sequence[str], given: options.Options) -> Json:
    """The create body, with the terminal's size for a container that gets one."""
    if given["pull"] not in _PULLS:
        raise BadFlag(f'invalid pull option: \'{given["pull"]}\': must be one of "always", "missing" or "never"')
    return options.create_body(image, command, given, (given["tty"] and size()) or (0, 0))


def create_container(client: Client, body: Json, given: options.Options) -> str:
    """The new container's id, written to --cidfile as well. Warnings go to stderr."""
    cidfile = given["cidfile"]
    if cidfile and os.path.exists(cidfile):
        raise InvalidArgument(
            f"container ID file found, make sure the other container isn't running or delete {cidfile}"
        )
    if given["pull"] == "always":
        pull(client, body["Image"], given)
    try:
        created = client.create(body, given["name"] or "", given["platform"] or "")
    except NotFound:
        if given["pull"] != "missing":
            raise
        if not given["quiet"]:
            print(f"Unable to find image '{reference.with_tag(body['Image'])}' locally", file=sys.stderr)
        pull(client, body["Image"], given)
        created = client.create(body, given["name"] or "", given["platform"] or "")
    for warning in created.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    if cidfile:
        _write_cidfile(cidfile, created.id)
    return created.id


def pull(client: Client, image: str, given: options.Options) -> None:
    """Pulls with the progress on stderr, so that the container's output stays alone on stdout."""
    from minidock.cli import credentials
    from minidock.cli.progress import show_progress

    repository, tag = reference.split(image)
    canonical = reference.canonical(repository)
    lines = client.pull(canonical, tag or "latest", given["platform"] or "", credentials.header(canonical))
    if given["quiet"]:
        list(lines)
    else:
        show_progress(lines, sys.stderr)


def _write_cidfile(path: str, ident: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(ident)
    except OSError as error:
        tell(f"write the container ID to {path}: {(error.strerror or '').lower()}; the container is {ident[:12]}")
