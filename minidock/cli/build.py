"""`minidock build`: an image from a Dockerfile and a directory, a tar on standard input, or a URL.

Flags and output are docker's classic builder's. The exit code is 1, or that of the RUN that failed.
Read next: context.py, what is sent.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minidock.cli import credentials, values
from minidock.cli.options import one
from minidock.cli.verb import Failed, argument, client, flag, parsed, value, verb
from minidock.client.builds import BuildFailed, Builds
from minidock.wire.units import parse_bytes

_PIECE = 1 << 18
_REMOTE = ("http://", "https://", "git://", "git@", "github.com/", "ssh://")


@verb("build")
@argument("path", "PATH|URL|-")
@value("--add-host", metavar="list", multiple=True, help="Add a custom host-to-IP mapping: NAME:ADDRESS")
@value("--build-arg", metavar="list", multiple=True, help="Set build-time variables")
@value("--cache-from", metavar="strings", multiple=True, help="Images to consider as cache sources")
@value("--cgroup-parent", help="Parent cgroup for the RUN instructions", default="")
@flag("--compress", help="Compress the build context using gzip")
@value("--cpu-period", metavar="int", help="Limit the CPU CFS (Completely Fair Scheduler) period")
@value("--cpu-quota", metavar="int", help="Limit the CPU CFS (Completely Fair Scheduler) quota")
@value("-c", "--cpu-shares", metavar="int", help="CPU shares (relative weight)")
@value("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)", default="")
@value("--cpuset-mems", help="Memory nodes in which to allow execution (0-3, 0,1)", default="")
@value("-f", "--file", "dockerfile", help="Name of the Dockerfile (default PATH/Dockerfile; '-' for STDIN)", default="")
@flag("--force-rm", help="Always remove intermediate containers")
@value("--iidfile", help="Write the image ID to the file", default="")
@value("--label", metavar="list", multiple=True, help="Set metadata for an image")
@value("-m", "--memory", metavar="bytes", help="Memory limit")
@value("--memory-swap", metavar="bytes", help="Limit of memory plus swap: '-1' to enable unlimited swap")
@value("--network", help="Set the networking mode for the RUN instructions (default bridge)", default="")
@flag("--no-cache", help="Do not use cache when building the image")
@value("--platform", help="Set platform of the image", default="")
@flag("--pull", help="Always attempt to pull a newer version of the image")
@flag("-q", "--quiet", help="Suppress the build output and print image ID on success")
@flag("--rm", help="Remove intermediate containers after a successful build", default=True)
@value("--security-opt", metavar="strings", multiple=True, help="Security options")
@value("--shm-size", metavar="bytes", help="Size of /dev/shm")
@value("-t", "--tag", metavar="list", multiple=True, help='Name and optionally a tag in the "name:tag" format')
@value("--target", help="Set the target build stage to build", default="")
@value("--ulimit", metavar="list", multiple=True, help="Ulimit options: TYPE=SOFT[:HARD]")
def build_command(path: str, dockerfile: str, iidfile: str, quiet: bool, compress: bool, **options: Any) -> int:
    """Build an image from a Dockerfile"""
    query = _query(options) | {"q": quiet}
    if iidfile and os.path.lexists(iidfile):
        os.unlink(iidfile)
    body, query["dockerfile"], query["remote"] = _context(path, dockerfile, quiet)
    lines = Builds(client()).build(_gzipped(body) if compress else body, query, credentials.everything())
    ident = ""
    said: list[str] = []

    def watched() -> Iterator[Mapping[str, Any]]:
        nonlocal ident
        for line in lines:
            ident = (line.get("aux") or {}).get("ID") or ident
            if "aux" not in line:
                yield line

    try:
        if quiet:
            for line in watched():
                said.append(str(line.get("stream", "")))
            ident = said.pop().strip() if said else ""
            print(ident)
        else:
            from minidock.cli.progress import show_progress

            show_progress(watched(), sys.stdout)
    except BuildFailed as error:
        sys.stderr.write("".join(said))
        raise Failed(str(error), error.code) from None
    if iidfile:
        with open(iidfile, "w") as file:
            file.write(ident)
    return 0


def _query(options: Mapping[str, Any]) -> dict[str, Any]:
    """The query of POST /build, as docker's client sends it. Raises BadFlag."""
    arguments = [parsed("--build-arg", text, values.variable).partition("=") for text in options["build_arg"]]
    labels = [parsed("--label", text, values.label) for text in options["label"]]
    ulimits = [parsed("--ulimit", text, values.ulimit) for text in options["ulimit"]]
    sources = [name for text in options["cache_from"] for name in text.split(",") if name]
    return {
        "t": list(options["tag"]),
        "buildargs": _json({name: text if equals else None for name, equals, text in arguments}),
        "labels": _json(dict(labels)),
        "cachefrom": _json(sources),
        "ulimits": _json(ulimits),
        "extrahosts": [parsed("--add-host", text, values.extra_host) for text in options["add_host"]],
        "networkmode": options["network"],
        "target": options["target"],
        "platform": options["platform"],
        "cgroupparent": options["cgroup_parent"],
        "memory": one("-m, --memory", options["memory"], parse_bytes),
        "memswap": one("--memory-swap", options["memory_swap"], values.memory_or_unlimited),
        "cpushares": one("-c, --cpu-shares", options["cpu_shares"], values.integer),
        "cpuperiod": one("--cpu-period", options["cpu_period"], values.integer),
        "cpuquota": one("--cpu-quota", options["cpu_quota"], values.integer),
        "cpusetcpus": options["cpuset_cpus"],
        "cpusetmems": options["cpuset_mems"],
        "shmsize": one("--shm-size", options["shm_size"], parse_bytes),
        "securityopt": list(options["security_opt"]),
        "nocache": options["no_cache"],
        "pull": options["pull"],
        "rm": "1" if options["rm"] else "0",
        "forcerm": options["force_rm"],
        "version": "1",
    }


def _json(value: dict[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, separators=(",", ":")) if value else ""


def _context(path: str, dockerfile: str, quiet: bool) -> tuple[Iterator[bytes], str, str]:
    """What to send, the Dockerfile's name in it, and the address of a context that the daemon is to fetch."""
    if path.startswith(_REMOTE):
        return iter(()), dockerfile, path
    if path == "-":
        if dockerfile == "-":
            raise Failed("invalid argument: can't use stdin for both build context and dockerfile", 1)
        return _from_stdin(), dockerfile, ""
    from minidock.cli import context

    found = context.opened(path, dockerfile, sys.stdin.buffer.read() if dockerfile == "-" else None)
    return _told(found, quiet), found.dockerfile, ""


def _told(found: Any, quiet: bool) -> Iterator[bytes]:
    yield from found.tar()
    if not quiet:
        from minidock.wire.units import decimal_size

        print(f"Sending build context to minidockd  {decimal_size(found.size)}", flush=True)


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    import zlib

    deflate = zlib.compressobj(wbits=31)
    for piece in pieces:
        yield deflate.compress(piece)
    yield deflate.flush()


def _from_stdin() -> Iterator[bytes]:
    """A tar, plain or compressed, as it comes; anything else is a Dockerfile without a context."""
    first = sys.stdin.buffer.read(512)
    if first[257:262] == b"ustar" or first.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        yield first
        while piece := sys.stdin.buffer.read(_PIECE):
            yield piece
        return
    from minidock.cli.context import single

    yield from single(first + sys.stdin.buffer.read())
