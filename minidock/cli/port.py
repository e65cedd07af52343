"""`minidock port`: where on the host a container's ports are published.

Reads what inspect shows; a container that does not run has none. Read next: publish.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from minidock.cli.verb import Failed, argument, client, verb


@verb("port")
@argument("container", "CONTAINER")
@argument("private_port", "[PRIVATE_PORT[/PROTO]]", required=False)
def port_command(container: str, private_port: str | None) -> None:
    """List port mappings or a specific mapping for the container"""
    found: Mapping[str, Sequence[Mapping[str, str]] | None]
    found = (client().inspect(container).get("NetworkSettings") or {}).get("Ports") or {}
    if private_port is None:
        lines = [f"{port} -> {_shown(one)}" for port, many in found.items() for one in many or ()]
    else:
        number, _, protocol = private_port.partition("/")
        name = f"{number}/{protocol or 'tcp'}"
        lines = [_shown(one) for one in found.get(name) or ()]
        if not lines:
            raise Failed(f"no public port '{name}' published for {container}", 1)
    print("".join(f"{line}\n" for line in sorted(lines, key=_natural)), end="")


def _shown(binding: Mapping[str, str]) -> str:
    ip = binding.get("HostIp", "")
    return f"{f'[{ip}]' if ':' in ip else ip}:{binding.get('HostPort', '')}"


def _natural(line: str) -> list[tuple[int, str]]:
    """Numbers by their size: 80/tcp before 443/tcp."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", line)]
