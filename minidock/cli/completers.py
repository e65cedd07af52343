"""What could stand at a place of the command line: live names, asked of the daemon, or the words that a flag knows.

For verb.py, whose arguments and flags ask here when a shell completes. What an argument wants is told by its metavar,
as in the usage line; a flag by its name. A daemon that is dead or slow has no names: nothing is said, and the shell
does not wait. Read next: completion.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from minidock.client.client import Client
from minidock.client.endpoint import choose
from minidock.wire.errors import Error

PATIENCE = 1.0  # seconds for the daemon's answer

Item = CompletionItem[str]
Source = Callable[[click.Context], Iterable[Item]]

# the states that a command has use for; one that is not here takes any container
_STATES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("attach exec pause port stats top".split(), ("running",)),
    **dict.fromkeys("kill stop".split(), ("running", "restarting", "paused")),
    **dict.fromkeys("rm start".split(), ("created", "exited", "dead")),
    "unpause": ("paused",),
}


def _client(context: click.Context) -> Client:
    given = context.find_root().params
    return Client(choose(given.get("host"), given), timeout=PATIENCE)


def _containers(context: click.Context) -> Iterable[Item]:
    states = _STATES.get(context.info_name or "")
    for row in _client(context).containers(all=True):
        if states is None or row["State"] in states:
            yield CompletionItem(row["Names"][0].lstrip("/"), help=f"{row['Status']} ({row['Image']})")


def _container_paths(context: click.Context) -> Iterable[Item]:
    for row in _client(context).containers(all=True):
        yield CompletionItem(row["Names"][0].lstrip("/") + ":")
    yield from _files(context)


def _images(context: click.Context) -> Iterable[Item]:
    for row in _client(context).images():
        for name in row["RepoTags"] or ():
            yield CompletionItem(name.removesuffix(":latest"))
            if name.endswith(":latest"):
                yield CompletionItem(name)


def _networks(context: click.Context) -> Iterable[Item]:
    from minidock.client.networks import Networks

    return [CompletionItem(row["Name"], help=row["Driver"]) for row in Networks(_client(context)).all()]


def _volumes(context: click.Context) -> Iterable[Item]:
    from minidock.client.volumes import Volumes

    return [CompletionItem(row["Name"]) for row in Volumes(_client(context)).all()]


def _files(context: click.Context) -> Iterable[Item]:
    return [CompletionItem("", type="file")]  # the shell knows better; stands last, since zsh's script counts on words


def _signals(context: click.Context) -> Iterable[Item]:
    from signal import Signals

    return [CompletionItem(one.name) for one in Signals]


def _words(text: str) -> Source:
    return lambda context: [CompletionItem(word) for word in text.split()]


def _any_of(*sources: Source) -> Source:
    return lambda context: [item for source in sources for item in source(context)]


# an argument's metavar begins with one of these; the first that fits
_ARGUMENTS: dict[str, Source] = {
    "CONTAINER:": _container_paths,
    "DEST_PATH": _container_paths,
    "CONTAINER": _containers,
    "NAME|ID": _any_of(_containers, _images, _networks, _volumes),
    "IMAGE": _images,
    "SOURCE_IMAGE": _images,
    "NAME[:TAG": _images,
    "REPOSITORY": _images,
    "NETWORK": _networks,
    "VOLUME": _volumes,
    "file": _files,
    "bash": _words("bash zsh fish"),
}
_OPTIONS: dict[str, Source] = {
    "--network": _any_of(_networks, _words("none host")),
    "--volume": _any_of(_volumes, _files),
    "--volumes-from": _containers,
    "--signal": _signals,
    "--stop-signal": _signals,
    **dict.fromkeys("--env-file --label-file --cidfile --input --output".split(), _files),
    "--restart": _words("no on-failure always unless-stopped"),
    "--pull": _words("always missing never"),
    "--log-driver": _words("json-file none"),
    "--format": _words("json table"),
    "--type": _words("container image network volume"),
    "--cgroupns": _words("host private"),
    "--ipc": _words("private shareable none host"),
    "--pid": _words("host"),
    "--uts": _words("host"),
}


def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """What begins like ``incomplete`` and was not given yet."""
    source = _source(context, parameter)
    given = context.params.get(parameter.name or "") or ()
    found: list[Item] = []
    with suppress(Error):
        for item in source(context) if source else ():
            known = isinstance(given, tuple) and item.value in given
            if item.type == "file":
                found.append(CompletionItem(incomplete, type="file"))
            elif item.value.startswith(incomplete) and not known:
                found.append(item)
    return found


def _source(context: click.Context, parameter: click.Parameter) -> Source | None:
    if isinstance(parameter, click.Option):
        return next((_OPTIONS[name] for name in parameter.opts if name in _OPTIONS), None)
    metavar = (parameter.metavar or "").lstrip("[")
    if context.info_name == "create" and metavar.startswith(("NETWORK", "VOLUME")):
        return None  # a new one has a new name
    return next((source for begin, source in _ARGUMENTS.items() if metavar.startswith(begin)), None)
