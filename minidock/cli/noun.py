"""Commands with commands of their own: `minidock network create`, `minidock volume ls`.

For every noun of docker's that has verbs. The verbs are those of the module, each a function NAME_command, made by
verb.py; this class finds them and shows the list. Read next: network.py.
"""

from __future__ import annotations

import click

from minidock.cli.verb import Verb, help_flag, print_help, unknown_command


class Noun(click.Group):
    """A command that does nothing but lead to others. ``verbs``: name → help line is taken from each."""

    def __init__(self, name: str, text: str, verbs: dict[str, Verb]) -> None:
        super().__init__(name, help=text, commands=dict(verbs), invoke_without_command=True, add_help_option=False)
        self.params.append(help_flag())
        self.callback = self._show

    def _show(self) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            print_help(context)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and not ctx.resilient_parsing:
            raise unknown_command(ctx, cmd_name, self.commands)
        return found

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"Usage:  {ctx.command_path} COMMAND\n\n{self.help}\n")
        with formatter.section("Commands"):
            shown = [(name, verb) for name, verb in sorted(self.commands.items()) if not verb.hidden]
            formatter.write_dl([(name, (verb.help or "").strip()) for name, verb in shown])
        formatter.write(f"\nRun '{ctx.command_path} COMMAND --help' for more information on a command\n")
