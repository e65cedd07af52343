"""`minidock container ls`, `minidock image rm`, `minidock system df`: the verbs by their nouns, as docker has them too.

Almost every one is a flat command under another name, and is imported when it is asked for. The verbs that have no flat
form (prune, df, inspect of one kind) stand in upkeep.py. Read next: main.py, the table of the flat ones.
"""

from __future__ import annotations

import click

from minidock.cli.noun import Noun
from minidock.cli.verb import Verb

# verb → module and the command in it
Verbs = dict[str, tuple[str, str]]
_SAME: dict[str, dict[str, tuple[str, ...]]] = {
    "container": {
        "attach": ("attach", "start"),
        "container": ("kill", "pause", "rename", "restart", "rm", "stop", "top", "unpause", "wait"),
        "files": ("diff", "export"),
        "distribution": ("commit",),
        **{name: (name,) for name in ("cp", "create", "exec", "inspect", "logs", "port", "run", "stats", "update")},
    },
    "image": {
        "image": ("import", "load", "pull", "tag"),
        "distribution": ("save", "push"),
        **{name: (name,) for name in ("build", "history", "inspect")},
    },
    "system": {"system": ("info",), "events": ("events",)},
}
_OTHERS: dict[str, Verbs] = {
    "container": {"ls": ("ps", "ps"), "list": ("ps", "ps"), "ps": ("ps", "ps"), "prune": ("upkeep", "container_prune")},
    "image": {
        "ls": ("images", "images"),
        "list": ("images", "images"),
        "rm": ("image", "rmi"),
        "remove": ("image", "rmi"),
        "prune": ("upkeep", "image_prune"),
    },
    "system": {
        "df": ("upkeep", "df"),
        "dial-stdio": ("dial", "dial_stdio"),
        "prune": ("upkeep", "system_prune"),
    },
}


class Aliases(Noun):
    """A noun whose verbs are imported one by one."""

    def __init__(self, noun: str, text: str) -> None:
        super().__init__(noun, text, {})
        same = {verb: (module, verb) for module, verbs in _SAME[noun].items() for verb in verbs}
        self._verbs: Verbs = {**same, **_OTHERS[noun]}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in self._verbs:
            module, name = self._verbs[cmd_name]
            found = getattr(__import__(f"minidock.cli.{module}", fromlist=["*"]), f"{name}_command")
            if isinstance(found, Verb):
                self.add_command(found, cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for verb in self._verbs:
            self.get_command(ctx, verb)
        super().format_help(ctx, formatter)


container_command = Aliases("container", "Manage containers")
image_command = Aliases("image", "Manage images")
system_command = Aliases("system", "Manage minidock")
