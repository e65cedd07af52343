"""Verbs that make and send images: commit, push, save.

Read next: image.py, for the verbs that bring images in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from minidock.cli import credentials, reference
from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, flag, value, verb
from minidock.client.distribution import Distribution


@verb("commit")
@argument("container", "CONTAINER")
@argument("name", "[REPOSITORY[:TAG]]", required=False)
@value("-a", "--author", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', default="")
@value("-c", "--change", "changes", metavar="list", multiple=True, help="Apply Dockerfile instruction to the image")
@value("-m", "--message", help="Commit message", default="")
@flag("-p", "--pause", help="Pause container during commit", default=True)
def commit_command(
    container: str, name: str | None, author: str, changes: Sequence[str], message: str, pause: bool
) -> None:
    """Create a new image from a container's changes"""
    repository, tag = reference.split(name) if name else ("", "")
    query = {"container": container, "repo": repository, "tag": tag, "author": author, "comment": message}
    asked = {**query, "changes": list(changes), "pause": "1" if pause else "0"}
    print(Distribution(client()).commit(asked))


@verb("push")
@argument("name", "NAME[:TAG]")
@flag("-a", "--all-tags", help="Push all tags of an image to the repository")
@flag("-q", "--quiet", help="Suppress verbose output")
def push_command(name: str, all_tags: bool, quiet: bool) -> None:
    """Upload an image to a registry"""
    canonical, tag = reference.of_transfer(name, all_tags, quiet)
    lines = Distribution(client()).push(canonical, tag, credentials.header(canonical))
    if quiet:
        list(lines)
        print(canonical if all_tags else reference.full(name))
    else:
        from minidock.cli.progress import show_progress

        show_progress(lines, sys.stdout)


@verb("save")
@argument("images", "IMAGE [IMAGE...]", nargs=-1, required=True)
@value("-o", "--output", "path", help="Write to a file, instead of STDOUT", default="")
def save_command(images: Sequence[str], path: str) -> None:
    """Save one or more images to a tar archive (streamed to STDOUT by default)"""
    if not path and is_terminal(1):
        raise Failed("cowardly refusing to save to a terminal; hint: use the -o flag or redirect", 1)
    archive = Distribution(client()).save(images)
    if path:
        write_file(path, archive)
        return
    for piece in archive:
        sys.stdout.buffer.write(piece)


def write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file beside ``path`` and renames it when it is whole: half an archive must not look like one."""
    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a pipe
        with open(path, "wb") as file:
            file.writelines(pieces)
        return
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.writelines(pieces)
        os.rename(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
