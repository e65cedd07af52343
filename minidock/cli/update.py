"""`minidock update`: other limits, another restart policy, for containers that exist.

The flags are those of run; what is not given stays as it is. Read next: options.py, which makes the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidock.cli.container import each
from minidock.cli.options import limit_options, limits, one
from minidock.cli.values import restart_policy
from minidock.cli.verb import Failed, argument, tell, value, verb
from minidock.client.client import Client
from minidock.client.upkeep import Upkeep


@verb("update")
@argument("containers", "CONTAINER [CONTAINER...]", nargs=-1, required=True)
@limit_options
@value("--restart", help="Restart policy to apply when a container exits")
def update_command(containers: Sequence[str], restart: str | None, **given: Any) -> int:
    """Update configuration of one or more containers"""
    wish = limits(given)
    policy = one("--restart", restart, restart_policy)
    if policy:
        wish["RestartPolicy"] = policy
    if not wish:
        raise Failed("you must provide one or more flags when using this command", 1)

    def update(daemon: Client, name: str) -> str:
        for warning in Upkeep(daemon).update(name, wish):
            tell(f"warning: {warning}")
        return name

    return each(containers, update)
