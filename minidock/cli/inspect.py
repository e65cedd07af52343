"""`minidock inspect`: everything the daemon knows of a container, image, network or volume, as JSON or a template.

With --plan: the kernel steps of a container's last start, with their results. Read next: gotemplate.py, plan.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

from minidock.cli.verb import Failed, argument, client, flag, tell, value, verb
from minidock.client.client import Client, Json
from minidock.wire.errors import Error, NotFound

KINDS = ("container", "image", "network", "volume")


@verb("inspect")
@argument("names", "NAME|ID [NAME|ID...]", nargs=-1, required=True)
@value("-f", "--format", "layout", help="'json' or a Go template")
@value("--type", "kind", help="Only inspect objects of the given type: container, image, network, volume")
@flag("-s", "--size", help="Display total file sizes if the type is container")
@flag("--plan", help="Show the kernel steps of a container's last start, with results and times")
@flag("--json", "as_json", help="With --plan: print it as JSON")
def inspect_command(
    names: Sequence[str], layout: str | None, kind: str | None, size: bool, plan: bool, as_json: bool
) -> int:
    """Return low-level information on objects"""
    if kind and kind not in KINDS:
        raise Failed(f'"{kind}" is not a valid value for --type; hint: give one of {", ".join(KINDS)}', 1)
    daemon = client()
    if plan:
        return _plans(daemon, names, as_json)
    return show_each(names, lambda name: look_up(daemon, name, kind, size), layout)


def look_up(daemon: Client, name: str, kind: str | None, size: bool) -> Json:
    """The first object of that name among containers, images, networks and volumes."""
    ways: dict[str, Callable[[], Json]] = {
        "container": lambda: daemon.inspect(name, size),
        "image": lambda: daemon.inspect_image(name),
        "network": lambda: daemon.inspect_network(name),
        "volume": lambda: daemon.inspect_volume(name),
    }
    for each, ask in ways.items():
        if kind in (None, each):
            try:
                return ask()
            except NotFound:
                if kind:
                    raise
    raise NotFound(f"No such object: {name}")


def show(found: Sequence[Json], layout: str | None) -> None:
    """Objects as an indented JSON array, or each through the user's template."""
    if layout in (None, ""):
        print(json.dumps(list(found), indent=4, ensure_ascii=False))
        return
    from minidock.cli.output import show_template

    show_template(found, "{{json .}}" if layout == "json" else layout or "")


def show_each(names: Sequence[str], look: Callable[[str], Json], layout: str | None) -> int:
    """All that can be found, then a line for each that can't; the exit code."""
    found, failures = [], []
    for name in names:
        try:
            found.append(look(name))
        except Error as error:
            failures.append(error)
    show(found, layout)
    for failure in failures:
        tell(failure)
    return 1 if failures else 0


def _plans(daemon: Client, names: Sequence[str], as_json: bool) -> int:
    from minidock.cli.plan import show_plan

    code = 0
    for name in names:
        try:
            show_plan(daemon.plan_of(name), as_json)
        except Error as error:
            sys.stdout.flush()
            tell(error)
            code = 1
    return code
