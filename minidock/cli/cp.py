"""`minidock cp`: files from a container to here, from here to a container, and `-` for a tar on stdin or stdout.

What the paths mean is docker's: SRC/. is what is in SRC; a DST that is a directory gets SRC into it, one that does not
exist becomes SRC's copy, its directory must exist; a slash at the end insists on a directory.
Read next: tree.py, the files of this side.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Callable, Iterable, Iterator

from minidock.cli.terminal import is_terminal
from minidock.cli.verb import Failed, argument, client, flag, verb
from minidock.client.files import Files

_DIRECTORY, _LINK = 1 << 31, 1 << 27  # of Go's file modes
_PIECE = 1 << 17


class Place:
    """A path on one side: whether it is there, and whether it is a directory."""

    def __init__(self, path: str, exists: bool, directory: bool) -> None:
        self.path = path
        self.exists = exists
        self.directory = directory

    @property
    def insists(self) -> bool:
        """On being a directory: by a slash, or a slash and a dot, at the end."""
        return self.path.endswith(("/", "/.")) or self.path == "."


@verb("cp")
@argument("source", "CONTAINER:SRC_PATH|SRC_PATH|-")
@argument("target", "DEST_PATH|-|CONTAINER:DEST_PATH")
@flag("-a", "--archive", help="Archive mode: files copied in belong to the container's user")
@flag("-L", "--follow-link", help="Always follow symbol link in SRC_PATH")
@flag("-q", "--quiet", help="Suppress the line that tells what was copied")
def cp_command(source: str, target: str, archive: bool, follow_link: bool, quiet: bool) -> None:
    """Copy files between a container and the local filesystem; `-` is a tar archive on STDIN or STDOUT"""
    (from_name, from_path), (to_name, to_path) = split(source), split(target)
    if from_name and to_name:
        raise Failed("copying between containers is not supported", 1)
    if not from_name and not to_name:
        raise Failed("must specify at least one container source", 1)
    if not from_path or not to_path:
        raise Failed("source and destination can not be empty", 1)
    if from_name:
        count = _out_of(from_name, from_path, to_path, follow_link)
        shown = to_path
    else:
        count = _into(from_path, to_name, to_path, follow_link, archive)
        shown = f"{to_name}:{to_path}"
    if not quiet and to_path != "-":
        from minidock.wire.units import decimal_size

        sys.stderr.write(f"Successfully copied {decimal_size(count)} to {shown}\n")


def split(text: str) -> tuple[str, str]:
    """(container, path); no container for what is absolute, has no colon, or begins with a dot."""
    name, colon, path = text.partition(":")
    if text.startswith("/") or not colon or name.startswith("."):
        return "", text
    return name, path


def _out_of(name: str, path: str, target: str, follow: bool) -> int:
    daemon = Files(client())
    renamed = ""
    if follow:
        found = daemon.stat(name, path)
        if found and found["mode"] & _LINK and found.get("linkTarget"):
            renamed, path = base(path), found["linkTarget"]
    if target == "-":
        if is_terminal(1):
            raise Failed("refusing to write a tar archive to a terminal; hint: redirect, or pipe it into tar", 1)
        return _to_stdout(daemon.get(name, path)[1])
    place = _local_target(target)
    found, answer = daemon.get(name, path)
    directory = bool(found["mode"] & _DIRECTORY)
    into, called = arrange(Place(path, True, directory), place, renamed or base(path))
    from minidock.cli.tree import unpack

    return unpack(answer, into or ".", renaming(base(path), called))


def _to_stdout(pieces: Iterable[bytes]) -> int:
    count = 0
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        count += len(piece)
    return count


def _into(path: str, name: str, target: str, follow: bool, archive: bool) -> int:
    daemon = Files(client())
    found = daemon.stat(name, target)
    place = target
    if found and found["mode"] & _LINK and found.get("linkTarget"):
        place = found["linkTarget"]
        found = daemon.stat(name, place)
    there = Place(place, found is not None, bool(found and found["mode"] & _DIRECTORY))
    query = {"noOverwriteDirNonDir": "true", "copyUIDGID": "true" if archive else None}
    counted = [0]
    if path == "-":
        if not there.directory:
            raise Failed(f'destination "{name}:{target}" must be a directory', 1)
        daemon.put(name, place, _counted(iter(lambda: os.read(0, _PIECE), b""), counted), query)
        return counted[0]
    from minidock.cli.tree import pack

    try:
        directory = os.path.isdir(path) if follow or path.endswith("/") else os.path.isdir(path) > os.path.islink(path)
        os.lstat(path)
    except OSError as error:
        raise Failed(f"lstat {path}: {(error.strerror or str(error)).lower()}", 1) from None
    own = base(os.path.abspath(path)) if base(path) == ".." or path == "." else base(path)
    into, called = arrange(Place(path, True, directory), there, own)
    daemon.put(name, into or "/", _counted(pack(path, called, follow), counted), query)
    return counted[0]


def _local_target(path: str) -> Place:
    directory, exists = os.path.isdir(path), os.path.exists(path)
    if os.path.islink(path) and not exists:
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    parent = os.path.dirname(path.rstrip("/")) or "."
    if not exists and not os.path.isdir(parent):
        raise Failed(f"invalid output path: directory {parent!r} does not exist", 1)
    if exists and not directory and not os.path.isfile(path):  # root would replace /dev/null by a file
        raise Failed(f'invalid output path: "{path}" must be a directory or a regular file', 1)
    return Place(path, exists, directory)


def arrange(source: Place, target: Place, own: str) -> tuple[str, str]:
    """The directory to unpack in, and what the source is called there. Raises Failed as docker does."""
    if source.insists and not source.directory:
        raise Failed(f"{source.path}: not a directory", 1)
    if target.directory:
        return target.path, own
    if target.exists and source.directory:
        raise Failed("cannot copy directory", 1)
    if target.insists and (target.exists or not source.directory):
        raise Failed("not a directory" if target.exists else "no such directory", 1)
    clean = target.path.rstrip("/")
    return posixpath.dirname(clean), posixpath.basename(clean)


def base(path: str) -> str:
    """The last part of a path: "/" of "/", "." of "a/."."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def renaming(old: str, new: str) -> Callable[[str], str]:
    """Names of an archive that begin with ``old``, with ``new`` in its place."""
    prefix = "" if old == "/" else old

    def rename(name: str) -> str:
        name = name.rstrip("/")
        if name == old or name.startswith(f"{prefix}/"):
            return new + name[len(prefix) :]
        return name

    return rename


def _counted(pieces: Iterator[bytes], counted: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        counted[0] += len(piece)
        yield piece
