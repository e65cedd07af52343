"""The command ``minidock``: a terminal in front, the daemon's API behind, and nothing of the engine.

One file per group of commands; main.py has the table of them and imports only the one that is asked for. Read next:
main.py, then run.py, which is the longest way through the client.

The postponements stand here because they must come before the first import of click. Together they are a quarter of
what `minidock ps` would take: `inspect` brings dis, ast and tokenize; `uuid` brings platform with its expressions;
`datetime` is C with a version in Python before it (which newer Pythons leave out); of `threading` click wants the C
class only; and `gettext` looks for translations of click's messages, of which minidock, as docker, has none.
"""

from _datetime import UTC, datetime  # type: ignore[import-not-found]
from _thread import _local

from minidock.cli.deferred import postpone


def _untranslated(message: str) -> str:
    return message


def _number(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


postpone("inspect")
postpone("uuid", UUID=type("UUID", (), {}))  # names click's parameter type for ids, which no command here has
postpone("datetime", datetime=datetime, UTC=UTC)
postpone("threading", local=_local)
postpone("gettext", gettext=_untranslated, ngettext=_number)
