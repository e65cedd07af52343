"""`minidock exec`: another process in a running container.

Its exit code is the process's own; 126 and 127 where it could not be started, 1 for every other refusal, as docker has
it. Signals are not passed on: exec sessions have no such request in Docker's API. Read next: attached.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidock.cli.verb import BadFlag, Verb, argument, client, flag, value, verb
from minidock.client.client import Client, Json
from minidock.wire.errors import Error, exit_code_of_start


class ExecVerb(Verb):
    """A command whose exit code tells a program that can't be executed from other trouble."""

    @staticmethod
    def code_of(error: Error) -> int:
        code = exit_code_of_start(error)
        return code if code in (126, 127) or isinstance(error, BadFlag) else 1


@verb("exec", cls=ExecVerb, options_first=True)
@argument("container", "CONTAINER")
@argument("command", "COMMAND [ARG...]", nargs=-1, required=True)
@flag("-d", "--detach", help="Detached mode: run command in the background")
@value("--detach-keys", help="Override the key sequence for detaching a container (default ctrl-p,ctrl-q)")
@value("-e", "--env", metavar="list", multiple=True, help="Set environment variables")
@value("--env-file", metavar="list", multiple=True, help="Read in a file of environment variables")
@flag("-i", "--interactive", help="Keep STDIN open even if not attached")
@flag("--privileged", help="Give extended privileges to the command")
@flag("-t", "--tty", help="Allocate a pseudo-TTY")
@value("-u", "--user", help="Username or UID (format: <name|uid>[:<group|gid>])")
@value("-w", "--workdir", help="Working directory inside the container")
def exec_command(
    container: str,
    command: Sequence[str],
    detach: bool,
    detach_keys: str | None,
    env: Sequence[str],
    env_file: Sequence[str],
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: str | None,
    workdir: str | None,
) -> int:
    """Execute a command in a running container"""
    config: Json = {
        "User": user or "",
        "Privileged": privileged,
        "Tty": tty,
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Detach": detach,
        "DetachKeys": detach_keys or "",
        "Env": _environment(env, env_file),
        "WorkingDir": workdir or "",
        "Cmd": list(command),
    }
    daemon = client()
    if not detach:
        return _exec_attached(daemon, container, config)
    daemon.exec_start(daemon.exec_create(container, config), {"Detach": True, "Tty": tty})
    return 0


def _environment(entries: Sequence[str], files: Sequence[str]) -> list[str] | None:
    if not entries and not files:
        return None
    from minidock.cli.options import environment

    return environment(entries, files)


def _exec_attached(daemon: Client, container: str, config: Json) -> int:
    from minidock.cli import attached, terminal

    terminal.need_terminal(config["AttachStdin"], config["Tty"])
    keys = terminal.detach_sequence(config["DetachKeys"] or terminal.DETACH_KEYS)
    size = (config["Tty"] and terminal.size()) or None
    session = daemon.exec_create(container, {**config, "ConsoleSize": size} if size else config)

    def resize(client: Client, rows: int, columns: int) -> None:
        client.exec_resize(session, rows, columns)

    with terminal.Signals(proxied=False) as signals:
        start = {"Detach": False, "Tty": config["Tty"], **({"ConsoleSize": size} if size else {})}
        stream = daemon.exec_start(session, start)
        if stream is None:
            return 0
        ends = attached.Ends(config["AttachStdin"], config["Tty"], keys, resize)
        if ends.tty:
            attached.fit(daemon, ends)
        attached.converse(daemon, stream, ends, signals)
    return attached.exec_exit_code(daemon, session)
