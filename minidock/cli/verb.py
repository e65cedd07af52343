"""Commands with docker's manners, on click.

For every command of the client. `Verb` is a click command whose flags behave as docker's do (`--rm=false`, `-e=A=b`),
that counts its arguments with docker's words, and whose function may return its exit code. `flag` and `value` declare
options. Exit codes are docker's too: 125 for a bad flag, 1 for a wrong number of arguments and for what the daemon
refuses, except with `run` (wire/errors.py). Read next: main.py, which prints what is raised here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from minidock.client.client import Client
from minidock.wire.errors import Error, InvalidArgument

T = TypeVar("T")
Function = Callable[..., Any]
BAD_FLAG = 125
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Failed(Exception):
    """A command ends with a message and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class BadFlag(InvalidArgument):
    """The value of a flag does not parse; found before anything was asked of the daemon."""


def exit_code(error: Error) -> int:
    """The exit code of a command other than ``run`` for an error."""
    return BAD_FLAG if isinstance(error, BadFlag) else 1


def tell(error: Error | str) -> None:
    """One line on stderr, in the form of every message of the client."""
    sys.stdout.flush()
    text = f"minidock: {error}"
    if sys.stderr.isatty():
        from minidock.cli import colour

        text = colour.error(text) if colour.wanted(sys.stderr) else text
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def client() -> Client:
    """The client that main.py made for the daemon that ``-H`` names."""
    found = click.get_current_context().find_object(Client)
    if found is None:
        raise RuntimeError("no client: the command was invoked outside of `minidock`")
    return found


def parsed(name: str, text: str, parse: Callable[[str], T]) -> T:
    """The value of flag ``name``, or BadFlag with docker's words."""
    try:
        return parse(text)
    except InvalidArgument as error:
        raise BadFlag(f'invalid argument "{text}" for "{name}" flag: {error.message}', error.hint) from None


class Option(click.Option):
    """An option whose help text click does not touch before it is shown (that would import `inspect`)."""

    def __init__(self, declarations: Sequence[str], help: str = "", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.help = help


class Flag(Option):
    """A switch. Its other half, --no-NAME, is what `--NAME=false` becomes; help shows the first only."""

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        shown = ", ".join(self.opts)
        return None if self.hidden else (shown if self.opts[0][1] != "-" else f"    {shown}", self.help or "")


class Value(Option):
    """An option with a value."""

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        shown = f"{', '.join(self.opts)} {self.metavar or 'string'}"
        return None if self.hidden else (shown if self.opts[0][1] != "-" else f"    {shown}", self.help or "")


def flag(*names: str, help: str, default: bool | None = False, **attributes: Any) -> Callable[[Function], Function]:
    """Declares a switch: ``@flag("-a", "--all", help="…")``."""
    long = next(name for name in names if name.startswith("--"))
    shorts = [name for name in names if name != long]
    declared = [*shorts, f"{long}/{_negative(long)}"]
    return click.option(*declared, cls=Flag, default=default, help=help, **attributes)


def value(*names: str, help: str, metavar: str = "string", **attributes: Any) -> Callable[[Function], Function]:
    """Declares an option with a value; ``multiple=True`` for a list."""
    return click.option(*names, cls=Value, metavar=metavar, help=help, shell_complete=_complete, **attributes)


def _negative(long: str) -> str:
    return f"--no-{long[2:]}"


def _show_help(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_help(context)
        context.exit(0)


def print_help(context: click.Context) -> None:
    """The help page of the command, in colours where they are seen."""
    from minidock.cli import colour

    text = context.get_help()
    print(colour.help_page(text) if colour.wanted(sys.stdout) else text)


class Verb(click.Command):
    """A command of the client. ``code_of`` gives its exit code for an error of the daemon."""

    code_of: Callable[[Error], int] = staticmethod(exit_code)
    help_epilog = ""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, add_help_option=False, **attributes)
        self.params.append(help_flag())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The flags, without those that only spell a ``=false`` out."""
        hidden = {name for parameter in self.params for name in parameter.secondary_opts}
        return [item for item in super().shell_complete(ctx, incomplete) if item.value not in hidden]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        try:
            super().parse_args(ctx, spell_out(args, self.params, ctx.allow_interspersed_args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError("too many arguments", ctx)
        return ctx.args

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
        except Error as error:
            raise Failed(str(error), self.code_of(error)) from error
        if isinstance(result, int):
            ctx.exit(result)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pieces = self.collect_usage_pieces(ctx)
        formatter.write(f"Usage:  {ctx.command_path} {' '.join(pieces)}\n")


def help_flag() -> Flag:
    """The flag --help, as every command has it."""
    return Flag(
        ["--help", "_help"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_help,
        help="Print this page",
    )


def verb(name: str, cls: type[Verb] = Verb, **attributes: Any) -> Callable[[Function], Verb]:
    """Declares a command; ``options_first=True`` where the first argument ends the flags, as with ``run``."""
    settings = {"allow_interspersed_args": not attributes.pop("options_first", False)}
    return click.command(name, cls=cls, context_settings=settings, **attributes)


def argument(name: str, metavar: str, **attributes: Any) -> Callable[[Function], Function]:
    """Declares a positional argument, shown as ``metavar``."""
    return click.argument(name, metavar=metavar, type=click.UNPROCESSED, shell_complete=_complete, **attributes)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """What could stand here, for a shell; imported when one asks."""
    from minidock.cli.completers import complete

    return complete(context, parameter, incomplete)


def unknown_command(context: click.Context, name: str, known: Iterable[str]) -> click.UsageError:
    """For a verb that does not exist below the command of ``context``; docker's words."""
    from minidock.wire.names import nearest

    hint = nearest(name, known)
    return click.UsageError(f"unknown command: {context.command_path} {name}{hint and f'; hint: {hint}'}", context)


def argument_count(command: click.Command) -> str:
    """Docker's words for what a command wants: ``requires at least 1 argument``."""
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    least = sum(1 for parameter in arguments if parameter.required)
    if not arguments:
        return "accepts no arguments"
    amount = "" if len(arguments) == least else "at most " if least == 0 else "at least "
    if any(parameter.nargs == -1 for parameter in arguments):
        amount = "at least "
    number = len(arguments) if amount == "at most " else least
    return f"requires {amount}{number} argument{'s' * (number != 1)}"


def spell_out(args: Sequence[str], parameters: Sequence[click.Parameter], interspersed: bool) -> list[str]:
    """The flags in the one spelling that click knows, of the many that docker's parser takes.

    ``--rm=false`` → ``--no-rm``; ``-e=A=b`` → ``--env=A=b``; ``-it`` → ``--interactive --tty``, since click takes a
    short one for a long one first, and looks for others like it. Arguments stay, and all that follows ``--``.
    """
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    switches = {name: option for option in options if option.is_flag for name in option.opts}
    longs = {name: long for option in options for long in option.opts if long[:2] == "--" for name in option.opts}
    spelled, rest = [], list(args)
    while rest:
        token = rest.pop(0)
        if token == "--" or not token.startswith("-") or token == "-":
            spelled.append(token)
            if token == "--" or not interspersed:
                break
            continue
        words, wants_value = _spell_token(token, switches, longs)
        spelled += words
        if wants_value and rest and spelled[-1] in longs:
            spelled[-1] = f"{longs[spelled[-1]]}={rest.pop(0)}"
    return spelled + rest


def _spell_token(token: str, switches: dict[str, click.Option], longs: dict[str, str]) -> tuple[list[str], bool]:
    """One token's spelling, and whether the next token is its value."""
    name, equals, text = token.partition("=")
    if token.startswith("--"):
        if equals and name in switches:
            return [_switch(switches[name], name, text)], False
        return [token], not equals and name not in switches
    words: list[str] = []
    for at, letter in enumerate(token[1:], 1):
        short, tail = f"-{letter}", token[at + 1 :]
        if short not in switches:
            if short not in longs:
                return [*words, short + tail], False
            return [*words, f"{longs[short]}={tail.removeprefix('=')}" if tail else short], not tail
        if tail.startswith("="):
            return [*words, _switch(switches[short], short, tail[1:])], False
        words.append(longs[short])
    return words, False


def _switch(option: click.Option, name: str, text: str) -> str:
    if text not in _TRUE | _FALSE:
        raise BadFlag(f'invalid argument "{text}" for "{name}" flag: give true or false')
    return option.opts[-1] if text in _TRUE else (option.secondary_opts or [option.opts[-1]])[0]
