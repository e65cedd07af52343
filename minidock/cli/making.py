"""Making a container: the body, the create request, the pull where its image is missing, the --cidfile.

For run.py, create.py and plan.py, each of which has a command of its own: a command's flags cost a millisecond, so
none of them may import another. Read next: options.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minidock.cli import options, reference
from minidock.cli.terminal import size
from minidock.cli.verb import BadFlag
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
    with _cidfile(given["cidfile"]) as note:
        ident = _created(client, body, given)
        note(ident)
    return ident


def _created(client: Client, body: Json, given: options.Options) -> str:
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


@contextmanager
def _cidfile(path: str) -> Iterator[Callable[[str], object]]:
    """Opened before there is a container, so that none is made without it; gone again if none is made."""
    if not path:
        yield lambda ident: None
        return
    try:
        file = open(path, "x", encoding="ascii")  # noqa: SIM115
    except FileExistsError:
        raise InvalidArgument(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidArgument(f"failed to create the container ID file: open {path}: {reason}") from None
    with file, ExitStack() as undo:
        undo.callback(os.unlink, path)
        yield file.write
        undo.pop_all()
