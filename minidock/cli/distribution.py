"""Verbs that make and send images: commit, push, save.

Read next: image.py, for the verbs that bring images in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from minidock.cli import archive, credentials, reference
from minidock.cli.verb import argument, client, flag, value, verb
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
    archive.write(path, lambda: Distribution(client()).save(images))
