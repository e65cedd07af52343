"""`minidock run`: create, and be there when it runs.

The order is what makes it whole: attach and wait are registered with the daemon before the start, so that no byte of
output and no exit can be missed. The exit code is the container's own; 125, 126 and 127 are docker's for a start that
failed (wire/errors.py). Read next: making.py, attached.py, stream.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidock.cli import options
from minidock.cli.making import container_body, create_container
from minidock.cli.verb import BadFlag, Failed, Verb, argument, client, flag, tell, value, verb
from minidock.client.client import Client, Json
from minidock.wire.errors import DaemonUnreachable, Error, NotFound, exit_code_of_start


class RunVerb(Verb):
    """A command whose exit code tells a failed start from the container's own failure."""

    @staticmethod
    def code_of(error: Error) -> int:
        return 125 if isinstance(error, (BadFlag, DaemonUnreachable)) else exit_code_of_start(error)


@verb("run", cls=RunVerb, options_first=True)
@argument("image", "IMAGE")
@argument("command", "[COMMAND] [ARG...]", nargs=-1)
@flag("-d", "--detach", help="Run container in background and print container ID")
@flag("--rm", help="Automatically remove the container when it exits")
@value("--detach-keys", help="Override the key sequence for detaching a container (default ctrl-p,ctrl-q)")
@flag("--sig-proxy", default=True, help="Proxy received signals to the process (default true)")
@flag("--trace", help="Print each kernel step of the start, with its result and time, on stderr")
@options.container_options
def run_command(image: str, command: Sequence[str], **given: Any) -> int:
    """Create and run a new container from an image"""
    if given["detach"] and given["attach"]:
        raise Failed("conflicting options: cannot specify both --attach and --detach", 1)
    body = container_body(image, command, given)
    daemon = client()
    if given["detach"]:
        ident = create_container(daemon, body, given)
        print(ident, flush=True)
        start(daemon, ident, given["trace"])
        return 0
    return _run_attached(daemon, body, given)


def start(daemon: Client, ident: str, trace: bool) -> None:
    """Starts the container; with ``trace`` prints its steps, also those of a start that failed."""
    if not trace:
        daemon.start(ident)
        return
    from minidock.cli.plan import print_trace

    try:
        daemon.start(ident)
    finally:
        try:
            print_trace(daemon.plan_of(ident))
        except NotFound:
            tell("no trace: the container is gone already, or no step was taken")


def _run_attached(daemon: Client, body: Json, given: options.Options) -> int:
    from minidock.cli import attached, terminal

    terminal.need_terminal(body["AttachStdin"], body["Tty"])
    keys = terminal.detach_sequence(given["detach_keys"] or terminal.DETACH_KEYS)
    ident = create_container(daemon, body, given)
    ends = attached.container_ends(ident, body["AttachStdin"], body["Tty"], keys, given["sig_proxy"])
    with terminal.Signals(given["sig_proxy"]) as signals:
        stream = daemon.attach(
            ident, body["AttachStdin"], body["AttachStdout"], body["AttachStderr"], given["detach_keys"] or ""
        )
        waiting = daemon.wait(ident, "removed" if given["rm"] else "next-exit")
        try:
            start(daemon, ident, given["trace"])
        except Error:
            attached.leave(stream, waiting, removed=given["rm"])
            raise
        if ends.tty:
            attached.fit(daemon, ends)
        detaching = attached.converse(daemon, stream, ends, signals)
    return attached.exit_code_of(daemon, ident, waiting, detaching)
