"""`minidock stats`: what containers use, as a table that is drawn anew every second.

The daemon gives counters; rates are reckoned here from two rounds of them, so that a round costs one request a
container and no connection is held. Memory is what can't be dropped at will: usage without the inactive file cache.
Read next: output.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from time import sleep
from typing import Any

from minidock.cli.output import show_rows
from minidock.cli.terminal import is_terminal
from minidock.cli.verb import argument, client, flag, value, verb
from minidock.client.client import Client, Json
from minidock.client.upkeep import Upkeep
from minidock.wire.errors import NotFound
from minidock.wire.names import short_id
from minidock.wire.units import binary_size, decimal_size

COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
HEADINGS = {
    "ID": "CONTAINER ID",
    "Container": "CONTAINER",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_SECONDS = 1.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@verb("stats")
@argument("containers", "[CONTAINER...]", nargs=-1)
@flag("-a", "--all", help="Show all containers (default shows just running)")
@value("--format", "layout", help="'table', 'json', 'TEMPLATE' or 'table TEMPLATE' with Go template fields")
@flag("--no-stream", help="Disable streaming stats and only pull the first result")
@flag("--no-trunc", help="Do not truncate output")
def stats_command(containers: Sequence[str], all: bool, layout: str | None, no_stream: bool, no_trunc: bool) -> None:
    """Display a live stream of container(s) resource usage statistics"""
    daemon = client()
    before = sample(daemon, containers, all)
    while True:
        sleep(_SECONDS)
        now = sample(daemon, containers, all)
        rows = [row(one, before.get(ident), no_trunc) for ident, one in now.items()]
        if not no_stream and is_terminal(1):
            sys.stdout.write(_HOME_AND_CLEAR)
        show_rows(rows, layout, COLUMNS, HEADINGS)
        sys.stdout.flush()
        if no_stream:
            return
        before = now


def sample(daemon: Client, containers: Sequence[str], all: bool) -> dict[str, Json]:
    """The counters of the containers by id. One that was named must be there; others may go at any moment."""
    if containers:
        return {found["id"]: found for name in containers for found in [Upkeep(daemon).stats(name)]}
    samples = {}
    for container in daemon.containers(all):
        try:
            samples[container["Id"]] = Upkeep(daemon).stats(container["Id"])
        except NotFound:
            continue
    return samples


def row(now: Mapping[str, Any], before: Mapping[str, Any] | None, no_trunc: bool) -> dict[str, Any]:
    """A container's cells by docker's field names."""
    memory = now.get("memory_stats") or {}
    used = memory.get("usage", 0)
    inactive = (memory.get("stats") or {}).get("inactive_file", 0)
    used, limit = used - inactive if inactive < used else used, memory.get("limit", 0)
    networks = (now.get("networks") or {}).values()
    read, written = _block_io(now)
    ident = now["id"] if no_trunc else short_id(now["id"])
    name = str(now["name"]).removeprefix("/")
    return {
        "BlockIO": f"{decimal_size(read)} / {decimal_size(written)}",
        "CPUPerc": f"{cpu_percent(now, before or {}):.2f}%",
        "Container": name,
        "ID": ident,
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "Name": name,
        "NetIO": " / ".join(decimal_size(sum(one[key] for one in networks)) for key in ("rx_bytes", "tx_bytes")),
        "PIDs": str((now.get("pids_stats") or {}).get("current", 0)),
    }


def cpu_percent(now: Mapping[str, Any], before: Mapping[str, Any]) -> float:
    """The share of one core that was used between two samples; more than 100 where several were."""
    new, old = now.get("cpu_stats") or {}, before.get("cpu_stats") or {}
    if not old.get("system_cpu_usage"):
        return 0.0
    spent = new.get("cpu_usage", {}).get("total_usage", 0) - old["cpu_usage"]["total_usage"]
    passed = new.get("system_cpu_usage", 0) - old["system_cpu_usage"]
    return 100.0 * spent / passed * new.get("online_cpus", 1) if spent > 0 and passed > 0 else 0.0


def _block_io(now: Mapping[str, Any]) -> tuple[int, int]:
    entries = (now.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    read, written = (sum(entry["value"] for entry in entries if entry["op"] == op) for op in ("read", "write"))
    return read, written
