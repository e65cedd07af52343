"""A network namespace of a test's own, so that no bridge, rule or port of a test touches the machine's.

For daemon.py and for tests that need a server on the daemon's loopback (a registry, an echo server). A sleeping process
holds the namespace; it outlives the daemons in it, so a daemon can be killed and started again in the same network.
See: network_namespaces(7), nsenter(1).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

# A test run that is killed takes its servers along: each gets SIGTERM when its parent ends.
DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM")


class Netns:
    """An empty network namespace with `lo` up. `enter` is the command prefix that leads into it."""

    def __init__(self) -> None:
        script = "ip link set lo up && echo ready && exec sleep infinity"
        self._holder = subprocess.Popen(
            [*DIES_WITH_US, "unshare", "-n", "--", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "could not make a network namespace"
        self.pid = self._holder.pid
        self.path = f"/proc/{self.pid}/ns/net"

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *command: str) -> str:
        """Standard output of a command in the namespace, which must succeed."""
        done = subprocess.run(
            [*self.enter, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Leaves a command running in the namespace; the caller ends it."""
        return subprocess.Popen([*DIES_WITH_US, *self.enter, *command], stdin=subprocess.DEVNULL, **options)

    def links(self) -> set[str]:
        """Names of the network interfaces, read from outside."""
        with open(f"/proc/{self.pid}/net/dev", encoding="ascii") as table:
            return {line.split(":")[0].strip() for line in table.readlines()[2:]}

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()
