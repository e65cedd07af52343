"""What the daemon asks of systemd: whether the whole machine is about to stop.

At the end of a shutdown systemd asks every process that is left to end, and waits for a minute and a half before it
kills. Containers would use that up: the first process of a pid namespace gets no signal that it has no handler for, and
monitors ignore SIGTERM. So a daemon that is stopped because the machine stops sees its containers out first.

Serves daemon.py. See: systemctl(1) "is-system-running", systemd-halt.service(8).
"""

from __future__ import annotations

import subprocess

_PATIENCE = 10


def machine_stops() -> bool:
    """Whether the machine is going down; False where there is no systemd."""
    try:
        done = subprocess.run(
            ["systemctl", "is-system-running"], check=False, capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "stopping"
