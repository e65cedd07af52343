"""`minidock help [COMMAND…]`: the same page as `minidock COMMAND --help`.

For those who type it the other way round, as docker lets them. Read next: main.py, which lists the commands.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from minidock.cli.verb import argument, print_help, verb


@verb("help", options_first=True)
@argument("words", "[COMMAND...]", nargs=-1)
def help_command(words: Sequence[str]) -> None:
    """Show the page of a command"""
    context = click.get_current_context().find_root()
    for word in words:
        if not isinstance(context.command, click.Group):
            break
        found = context.command.get_command(context, word)
        if found:
            context = click.Context(found, parent=context, info_name=word)
    print_help(context)
