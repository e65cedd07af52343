"""Verbs on containers that exist: stop, restart, kill, rm, wait, top.

Each takes many containers, goes on after a failure, prints the name of each that is done, and ends with 1 if one
failed. Stopping takes time, so those that wait are asked for all at once, each on a connection of its own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

from minidock.cli.output import table
from minidock.cli.verb import argument, client, flag, tell, value, verb
from minidock.client.client import Client
from minidock.wire.errors import Error, NotFound

_TIMEOUT_HELP = "Seconds to wait before killing the container (-1: for ever)"
_SIGNAL_HELP = "Signal to send to the container"
_CONTAINERS = "CONTAINER [CONTAINER...]"


def each(names: Sequence[str], act: Callable[[Client, str], str]) -> int:
    """Calls ``act`` for every name at once; prints what it returns in the order of the names, and tells the errors."""
    endpoint = client().endpoint
    outcomes: list[str | Error] = [""] * len(names)

    def one(at: int) -> None:
        try:
            outcomes[at] = act(Client(endpoint), names[at])
        except Error as error:
            outcomes[at] = error

    threads = [threading.Thread(target=one, args=(at,), daemon=True) for at in range(len(names))]
    for thread in threads:
        thread.start()
    failed = False
    for at, thread in enumerate(threads):
        thread.join()
        outcome = outcomes[at]
        if isinstance(outcome, Error):
            failed = True
            tell(outcome)
        elif outcome:
            print(outcome, flush=True)
    return 1 if failed else 0


@verb("stop")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
@value("-t", "--timeout", "--time", "timeout", metavar="int", type=int, help=_TIMEOUT_HELP)
@value("-s", "--signal", help=_SIGNAL_HELP, default="")
def stop_command(containers: Sequence[str], timeout: int | None, signal: str) -> int:
    """Stop one or more running containers"""

    def stop(daemon: Client, name: str) -> str:
        daemon.stop(name, timeout, signal)
        return name

    return each(containers, stop)


@verb("restart")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
@value("-t", "--timeout", "--time", "timeout", metavar="int", type=int, help=_TIMEOUT_HELP)
@value("-s", "--signal", help=_SIGNAL_HELP, default="")
def restart_command(containers: Sequence[str], timeout: int | None, signal: str) -> int:
    """Restart one or more containers"""

    def restart(daemon: Client, name: str) -> str:
        daemon.restart(name, timeout, signal)
        return name

    return each(containers, restart)


@verb("kill")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
@value("-s", "--signal", help=_SIGNAL_HELP, default="")
def kill_command(containers: Sequence[str], signal: str) -> int:
    """Kill one or more running containers"""

    def kill(daemon: Client, name: str) -> str:
        daemon.kill(name, signal)
        return name

    return each(containers, kill)


@verb("pause")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
def pause_command(containers: Sequence[str]) -> int:
    """Pause all processes within one or more containers"""

    def pause(daemon: Client, name: str) -> str:
        daemon.pause(name)
        return name

    return each(containers, pause)


@verb("unpause")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
def unpause_command(containers: Sequence[str]) -> int:
    """Unpause all processes within one or more containers"""

    def unpause(daemon: Client, name: str) -> str:
        daemon.unpause(name)
        return name

    return each(containers, unpause)


@verb("rename")
@argument("container", "CONTAINER")
@argument("name", "NEW_NAME")
def rename_command(container: str, name: str) -> None:
    """Rename a container"""
    client().rename(container, name)


@verb("rm")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
@flag("-f", "--force", help="Force the removal of a running container (uses SIGKILL)")
@flag("-v", "--volumes", help="Remove anonymous volumes associated with the container")
def rm_command(containers: Sequence[str], force: bool, volumes: bool) -> int:
    """Remove one or more containers"""

    def remove(daemon: Client, name: str) -> str:
        try:
            daemon.remove(name.strip("/"), force, volumes)
        except NotFound as error:
            if not force:
                raise
            tell(error)  # what is not there need not be removed: told, and no failure
            return ""
        return name

    return each(containers, remove)


@verb("wait")
@argument("containers", _CONTAINERS, nargs=-1, required=True)
def wait_command(containers: Sequence[str]) -> int:
    """Block until one or more containers stop, then print their exit codes"""
    return each(containers, lambda daemon, name: str(daemon.wait(name).result().code))


@verb("top", options_first=True)
@argument("container", "CONTAINER")
@argument("options", "[ps OPTIONS]", nargs=-1)
def top_command(container: str, options: Sequence[str]) -> None:
    """Display the running processes of a container"""
    found = client().top(container, " ".join(options))
    sys.stdout.write(table([found["Titles"], *found["Processes"]], least=20))
