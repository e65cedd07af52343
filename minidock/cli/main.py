"""`minidock`: the table of commands, the options before them, and how errors are told.

For the user; every command is in a file of its own, imported when it is asked for, since imports are what a short
command waits for. Everything that goes wrong ends in one line on stderr, `minidock: message; hint: …`, and docker's
exit code. Read next: verb.py (what a command is here), run.py.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from minidock.cli.verb import (
    BAD_FLAG,
    Failed,
    Verb,
    argument_count,
    flag,
    print_help,
    spell_out,
    tell,
    unknown_command,
    value,
)
from minidock.client.client import Client
from minidock.client.endpoint import DEFAULT_HOST, choose
from minidock.wire.errors import Error
from minidock.wire.version import VERSION

# group → command → module and help line
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run and look": {
        "run": ("run", "Create and run a new container from an image"),
        "exec": ("exec", "Execute a command in a running container"),
        "ps": ("ps", "List containers"),
        "logs": ("logs", "Fetch the logs of a container"),
        "inspect": ("inspect", "Return low-level information on objects"),
        "port": ("port", "List port mappings or a specific mapping for the container"),
        "top": ("container", "Display the running processes of a container"),
        "stats": ("stats", "Display what containers use, live"),
        "events": ("events", "Show what happens, as it happens"),
        "attach": ("attach", "Attach standard input, output and error to a running container"),
        "wait": ("container", "Block until containers stop, then print their exit codes"),
    },
    "Containers": {
        "create": ("create", "Create a new container"),
        "start": ("attach", "Start stopped containers"),
        "stop": ("container", "Stop running containers"),
        "restart": ("container", "Restart containers"),
        "kill": ("container", "Kill running containers"),
        "pause": ("container", "Pause all processes of containers"),
        "unpause": ("container", "Let paused containers run again"),
        "rename": ("container", "Rename a container"),
        "update": ("update", "Change limits and restart policy of containers"),
        "rm": ("container", "Remove containers"),
        "cp": ("cp", "Copy files between a container and the local filesystem"),
        "diff": ("files", "Show what a container has changed in its image's files"),
        "export": ("files", "Export a container's files as a tar archive"),
    },
    "Images": {
        "images": ("images", "List images"),
        "pull": ("image", "Download an image from a registry"),
        "build": ("build", "Build an image from a Dockerfile"),
        "commit": ("distribution", "Create an image from a container's changes"),
        "push": ("distribution", "Upload an image to a registry"),
        "save": ("distribution", "Save images to a tar archive (streamed to standard output by default)"),
        "load": ("image", "Load images from a tar archive or standard input"),
        "import": ("image", "Import the contents of a tarball to create an image"),
        "tag": ("image", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
        "history": ("history", "Show the steps that an image came by"),
        "rmi": ("image", "Remove images"),
        "search": ("search", "Search a registry for images"),
        "login": ("login", "Log in to a registry"),
        "logout": ("login", "Log out from a registry"),
    },
    "Networks": {
        "network": ("network", "Manage networks"),
        "volume": ("volume", "Manage volumes"),
    },
    "By noun": {
        "container": ("nouns", "Manage containers"),
        "image": ("nouns", "Manage images"),
        "system": ("nouns", "Manage minidock: disk usage, clean-up, events"),
    },
    "How it works": {
        "plan": ("plan", "Show the kernel steps that a start would take"),
        "doctor": ("doctor", "Check what this machine offers to containers"),
        "help": ("help", "Show the page of a command"),
        "completion": ("completion", "Print the completion script for bash, zsh or fish"),
        "version": ("system", "Show the versions of client and daemon"),
        "info": ("system", "Display system-wide information"),
    },
}
_MODULES = {name: module for group in COMMANDS.values() for name, (module, _) in group.items()}


class App(click.Group):
    """The command `minidock`. `main` never returns: it leaves with the exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As a verb's; besides, click would look for flags that are spelled like `-H`, which takes it milliseconds."""
        return super().parse_args(ctx, spell_out(args, self.params, interspersed=False))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None and ctx.resilient_parsing:
            return None
        if module is None:
            raise unknown_command(ctx, cmd_name, _MODULES)
        found = getattr(__import__(f"minidock.cli.{module}", fromlist=["*"]), f"{cmd_name}_command")
        return found if isinstance(found, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The commands, from the table: click would import them all."""
        from click.shell_completion import CompletionItem

        table = {name: text for group in COMMANDS.values() for name, (_, text) in group.items()}
        found = [CompletionItem(name, help=text) for name, text in table.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("Usage:  minidock [OPTIONS] COMMAND\n\nA container engine small enough to be read\n")
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in group.items()])
        self.format_options(ctx, formatter)
        formatter.write("\nRun 'minidock COMMAND --help' for more information on a command\n")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """They stand before the options already."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        sys.exit(self.run(list(sys.argv[1:] if args is None else args)))

    def run(self, args: list[str]) -> int:
        """Carries a command out; the exit code. Nothing is raised, everything is told."""
        try:
            with self.make_context("minidock", args) as context:
                self.invoke(context)
            sys.stdout.flush()
            return 0
        except click.exceptions.Exit as end:
            return end.exit_code
        except Failed as failed:
            if failed.message:
                tell(failed.message)
            return failed.code
        except (Error, click.UsageError) as error:
            return usage_error(error)
        except (KeyboardInterrupt, click.Abort):
            return 130
        except BrokenPipeError:
            # what is still in Python's buffer can go nowhere either; without this its flush would fail at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 141
        except OSError as error:
            tell(f"{error.filename or 'output'}: {(error.strerror or str(error)).lower()}")
            return 1


def usage_error(error: Error | click.UsageError) -> int:
    """Tells what is wrong with the command line, in docker's words; returns docker's exit code for it."""
    if isinstance(error, Error):
        tell(error)
        return BAD_FLAG
    context = error.ctx
    path = context.command_path if context else "minidock"
    message, code = _words(error, path)
    tell(f"{message}{'' if message.endswith('?') else ';'} see '{path} --help'")
    return code


def _words(error: click.UsageError, path: str) -> tuple[str, int]:
    option = getattr(error, "option_name", "")
    long = option.startswith("--")
    shown = option if long else f"'{option[1:]}' in {option}"
    if isinstance(error, click.NoSuchOption):
        return f"unknown {f'flag: {shown}{_near(error)}' if long else f'shorthand flag: {shown}'}", BAD_FLAG
    if isinstance(error, click.BadOptionUsage):
        return f"flag needs an argument: {shown}", BAD_FLAG
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if isinstance(parameter, click.Option):
        names = ", ".join(parameter.opts)
        return f'invalid argument for "{names}" flag: {error.message.rstrip(".").lower()}', BAD_FLAG
    if error.ctx and isinstance(error.ctx.command, Verb):
        return f"'{path}' {argument_count(error.ctx.command)}", 1
    return error.format_message().rstrip("."), 1


def _near(error: click.NoSuchOption) -> str:
    """The flag that was meant, as a hint. Click's own guess knows --no-NAME, too, and takes any two flags for alike."""
    from minidock.wire.names import nearest

    parameters = error.ctx.command.params if error.ctx else ()
    hint = nearest(error.option_name, [name for one in parameters for name in one.opts if name.startswith("--")])
    return hint and f"; hint: {hint}"


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print(f"minidock version {VERSION}")
        context.exit(0)


@click.group(
    "minidock",
    cls=App,
    invoke_without_command=True,
    add_help_option=False,
    no_args_is_help=False,
    context_settings={"max_content_width": 120},  # of help pages, on a terminal that wide; the commands inherit it
)
@value("-H", "--host", help=f"Daemon socket to connect to (default $MINIDOCK_HOST, $DOCKER_HOST or {DEFAULT_HOST})")
@flag("--tls", help="Use TLS; implied by --tlsverify")
@flag("--tlsverify", default=None, help="Use TLS and verify the daemon (default $DOCKER_TLS_VERIFY)")
@value("--tlscacert", help="Trust certificates signed by this authority only (default ~/.docker/ca.pem)")
@value("--tlscert", help="TLS certificate (default ~/.docker/cert.pem)")
@value("--tlskey", help="Its key (default ~/.docker/key.pem)")
@flag("-v", "--version", help="Print the version", is_eager=True, expose_value=False, callback=_version)
@flag("--help", "show_help", help="Print this page")
@click.pass_context
def cli(context: click.Context, /, host: str | None, show_help: bool, **tls: Any) -> None:
    """A container engine small enough to be read."""
    if show_help or context.invoked_subcommand is None:
        print_help(context)
        context.exit(0)
    context.obj = Client(choose(host, tls))


def _open_standard_streams() -> None:
    """A stream that the caller closed becomes /dev/null, as in Go programs: else a socket would get its number."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, fd)
            if null != fd:
                os.close(null)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, closefd=False))  # noqa: SIM115


def complete() -> int:
    """Answers a shell's completion script."""
    from minidock.cli.completion import answer

    answer(cli)
    return 0


def main() -> NoReturn:
    """The entry point. Leaves without the interpreter's own farewell, which takes half as long as its start.

    What was imported stays to the end, so no collection of garbage needs to look at it.
    """
    gc.freeze()
    gc.enable()
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = complete() if "_MINIDOCK_COMPLETE" in os.environ else cli.run(sys.argv[1:])
    with suppress(OSError):  # a full disk or a closed pipe has been told already
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
