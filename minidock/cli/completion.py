"""`minidock completion bash|zsh|fish`, and the answers to what these scripts ask: what could come next?

The scripts, and the way from a half-typed line to the parameter that stands there, are click's; bash gets a script of
our own, because it takes words apart at colons, and images have tags. The script asks by running `minidock` with
_MINIDOCK_COMPLETE set, which main.py leads to answer(). What goes wrong then is nobody's to read: it completes to
nothing. Read next: completers.py. See: https://click.palletsprojects.com/en/stable/shell-completion/
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click
from click import shell_completion
from click.shell_completion import BashComplete, CompletionItem, ShellComplete

from minidock.cli.verb import BadFlag, argument, verb
from minidock.wire.errors import Error

VARIABLE = "_MINIDOCK_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


class Bash(BashComplete):
    """Reads the line itself, and answers with what follows the last colon or equals sign, where bash's word begins."""

    source_template = """\
# bash completion for %(prog_name)s: asks the command itself, which asks the daemon for live names
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT %(complete_var)s=bash_complete "$1" 2>/dev/null)
    [[ ${COMPREPLY[0]} != *: ]] || compopt -o nospace
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def source(self) -> str:
        return ShellComplete.source(self)  # click's asks which bash there is; ours needs none newer than 4.4 either

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = shell_completion.split_arg_string(line)
        self._word = "" if line[-1:].isspace() or len(words) < 2 else words.pop()
        return words[1:], self._word

    def format_completion(self, item: CompletionItem[Any]) -> str:
        option, equals, _ = self._word.partition("=")
        value = f"{option}={item.value}" if equals and option.startswith("--") else str(item.value)
        known = max(map(self._word.rfind, ":=")) + 1
        return f"{item.type},{value[known:]}"


def answer(cli: click.Command) -> None:
    """Prints what could come next on the line that the environment holds."""
    shell_completion.add_completion_class(Bash)
    with suppress(Error, click.UsageError, OSError, ValueError, KeyError):
        shell_completion.shell_complete(cli, {}, "minidock", VARIABLE, os.environ[VARIABLE])


@verb("completion", help="Print the completion script for bash, zsh or fish")
@argument("shell", "bash|zsh|fish")
def completion_command(shell: str) -> None:
    if shell not in SHELLS:
        raise BadFlag(f"no completion for {shell!r}", "there is one for bash, zsh and fish")
    shell_completion.add_completion_class(Bash)
    root = click.get_current_context().find_root().command
    kind = shell_completion.get_completion_class(shell)
    assert kind is not None
    sys.stdout.write(kind(root, {}, "minidock", VARIABLE).source())
