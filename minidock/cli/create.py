"""`minidock create`: a container that does not run yet.

Read next: making.py, options.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidock.cli.making import container_body, create_container
from minidock.cli.options import container_options
from minidock.cli.verb import argument, client, flag, verb


@verb("create", options_first=True)
@argument("image", "IMAGE")
@argument("command", "[COMMAND] [ARG...]", nargs=-1)
@flag("--rm", help="Automatically remove the container when it exits")
@container_options
def create_command(image: str, command: Sequence[str], **given: Any) -> None:
    """Create a new container"""
    body = container_body(image, command, given)
    print(create_container(client(), body, given))
