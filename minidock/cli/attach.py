"""`minidock attach` and `minidock start`: joining a container that exists.

Read next: attached.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidock.cli.verb import Failed, argument, client, flag, tell, value, verb
from minidock.client.client import Client, Json
from minidock.wire.errors import Error

_KEYS_HELP = "Override the key sequence for detaching a container (default ctrl-p,ctrl-q)"


@verb("attach")
@argument("container", "CONTAINER")
@value("--detach-keys", help=_KEYS_HELP)
@flag("--no-stdin", help="Do not attach STDIN")
@flag("--sig-proxy", default=True, help="Proxy received signals to the process (default true)")
def attach_command(container: str, detach_keys: str | None, no_stdin: bool, sig_proxy: bool) -> int:
    """Attach local standard input, output, and error streams to a running container"""
    daemon = client()
    found = daemon.inspect(container)
    state = found["State"]
    if not state["Running"]:
        raise Failed("cannot attach to a stopped container; hint: start it first, or `minidock start -ai`", 1)
    for trouble, hint in (("Paused", "unpause it first"), ("Restarting", "wait until it is up")):
        if state.get(trouble):
            raise Failed(f"cannot attach to a {trouble.lower()} container; hint: {hint}", 1)
    return _join(daemon, found, not no_stdin, detach_keys or "", sig_proxy, begin=False)


@verb("start")
@argument("containers", "CONTAINER [CONTAINER...]", nargs=-1, required=True)
@flag("-a", "--attach", "attach", help="Attach STDOUT/STDERR and forward signals")
@flag("-i", "--interactive", help="Attach container's STDIN")
@value("--detach-keys", help=_KEYS_HELP)
def start_command(containers: Sequence[str], attach: bool, interactive: bool, detach_keys: str | None) -> int:
    """Start one or more stopped containers"""
    daemon = client()
    if attach or interactive:
        if len(containers) > 1:
            raise Failed("you cannot start and attach multiple containers at once", 1)
        found = daemon.inspect(containers[0])
        return _join(daemon, found, interactive, detach_keys or "", sig_proxy=True, begin=True)
    failures = 0
    for name in containers:
        try:
            daemon.start(name)
            print(name, flush=True)
        except Error as error:
            failures += 1
            tell(error)
    return 1 if failures else 0


def _join(daemon: Client, found: Json, wants_stdin: bool, keys: str, sig_proxy: bool, begin: bool) -> int:
    """Attaches to the container that ``found`` describes, and starts it first if ``begin`` says so."""
    from minidock.cli import attached, terminal

    ident, config = found["Id"], found["Config"]
    stdin, tty = wants_stdin and bool(config.get("OpenStdin")), bool(config.get("Tty"))
    terminal.need_terminal(stdin, tty)
    proxied = sig_proxy and not tty
    sequence = terminal.detach_sequence(keys or terminal.DETACH_KEYS)
    ends = attached.container_ends(ident, stdin, tty, sequence, proxied)
    removes = bool((found.get("HostConfig") or {}).get("AutoRemove"))
    with terminal.Signals(proxied) as signals:
        stream = daemon.attach(ident, stdin, detach_keys=keys)
        waiting = daemon.wait(ident, "removed" if removes else "next-exit" if begin else "")
        if begin:
            try:
                daemon.start(ident)
            except Error:
                attached.leave(stream, waiting, removed=False)
                raise
        if tty:
            attached.fit(daemon, ends, redraw=not begin)
        detaching = attached.converse(daemon, stream, ends, signals)
    return attached.exit_code_of(daemon, ident, waiting, detaching)
