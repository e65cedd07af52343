"""Verbs on images: pull, load, import, tag, rmi.

Read next: progress.py, reference.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from minidock.cli import credentials, reference
from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, flag, tell, value, verb
from minidock.wire.errors import Error, NotFound

_PIECE = 1 << 18


@verb("pull")
@argument("name", "NAME[:TAG|@DIGEST]")
@flag("-a", "--all-tags", help="Download all tagged images in the repository")
@flag("-q", "--quiet", help="Suppress verbose output")
@value("--platform", help="Set platform if the registry offers several", default="")
def pull_command(name: str, all_tags: bool, quiet: bool, platform: str) -> None:
    """Download an image from a registry"""
    canonical, tag = reference.of_transfer(name, all_tags, quiet)
    lines = client().pull(canonical, tag, platform, credentials.header(canonical))
    if quiet:
        list(lines)
    else:
        from minidock.cli.progress import show_progress

        show_progress(lines, sys.stdout)
    print(canonical if all_tags else reference.full(name))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _open(path: str) -> BinaryIO:
    """The archive at ``path``; `-` is standard input, which must not be a terminal."""
    if path == "-":
        if is_terminal(0):
            raise Failed("requested load from stdin, but stdin is empty; hint: give -i FILE, or pipe an archive in", 1)
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise Failed(f"open {path}: {(error.strerror or str(error)).lower()}", 1) from None


@verb("load")
@value("-i", "--input", "path", help="Read from tar archive file, instead of STDIN", default="-")
@flag("-q", "--quiet", help="Suppress the load output")
@value("--platform", help="Load only the given platform", default="")
def load_command(path: str, quiet: bool, platform: str) -> None:
    """Load an image from a tar archive or STDIN"""
    from minidock.cli.progress import show_progress

    file = _open(path)
    lines = client().load(_pieces(file), quiet or not is_terminal(1), platform)
    show_progress(lines, sys.stdout)


@verb("import")
@argument("path", "file|-")
@argument("name", "[REPOSITORY[:TAG]]", required=False)
@value("-c", "--change", "changes", metavar="list", multiple=True, help="Apply Dockerfile instruction to the image")
@value("-m", "--message", help="Set commit message for imported image", default="")
@value("--platform", help="Set platform of the image", default="")
def import_command(path: str, name: str | None, changes: Sequence[str], message: str, platform: str) -> None:
    """Import the contents from a tarball to create a filesystem image"""
    if path.startswith(("http://", "https://")):
        raise Failed("import from a URL is not supported; hint: download it, and import the file", 1)
    repository, tag = reference.split(name) if name else ("", "")
    query = {"repo": repository, "tag": tag, "message": message, "changes": list(changes), "platform": platform}
    print(client().import_image(_pieces(_open(path)), query))


@verb("tag")
@argument("source", "SOURCE_IMAGE[:TAG]")
@argument("target", "TARGET_IMAGE[:TAG]")
def tag_command(source: str, target: str) -> None:
    """Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"""
    if "@" in target:
        raise Failed(f"refusing to create a tag with a digest reference: {target}", 1)
    repository, tag = reference.split(target)
    client().tag(source, repository, tag or "latest")


@verb("rmi")
@argument("images", "IMAGE [IMAGE...]", nargs=-1, required=True)
@flag("-f", "--force", help="Force removal of the image")
@flag("--no-prune", help="Do not delete untagged parents")
def rmi_command(images: Sequence[str], force: bool, no_prune: bool) -> int:
    """Remove one or more images"""
    daemon, code = client(), 0
    for name in images:
        try:
            for done in daemon.remove_image(name, force, no_prune):
                print(f"Untagged: {done['Untagged']}" if done.get("Untagged") else f"Deleted: {done['Deleted']}")
        except Error as error:
            tell(error)
            code = code if force and isinstance(error, NotFound) else 1
    return code
