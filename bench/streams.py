"""What a container writes, on its way to a pipe; and many starts at once.

Whole commands again, as a user has them: the start of the client and of the container is in the figures.
"""

from __future__ import annotations

import base64
import os
import shlex
from contextlib import ExitStack

from bench.peers import Peer
from bench.rows import Measured, quietly, timed
from bench.stand import Stand

MEGABYTES = 256
AT_ONCE = 20


def attach(peer: Peer, stand: Stand, stack: ExitStack) -> list[Measured]:
    """`run busybox cat FILE | wc -c`, the file on a volume; each line is logged on the way, as by default."""
    big = stand.base / "big"
    if not big.exists():
        megabyte = base64.encodebytes(os.urandom(1 << 20))[: 1 << 20]  # lines of text, as programs write them
        big.write_bytes(megabyte * MEGABYTES)
    run = [*peer.client, "run", "--rm", "--network", "none", "-v", f"{big}:/big:ro", "busybox", "cat", "/big"]
    script = f'test "$({shlex.join(run)} | wc -c)" = {MEGABYTES << 20}'
    return [Measured(f"run busybox cat of {MEGABYTES} MB | wc -c", peer.name, timed(["sh", "-c", script]))]


def at_once(peer: Peer, stand: Stand, stack: ExitStack) -> list[Measured]:
    names = [f"{peer.prefix}once{number}" for number in range(AT_ONCE)]
    away = quietly([*peer.client, *peer.remove, *names])
    stack.callback(away)
    run = f'{shlex.join(peer.client)} run -d --name "{peer.prefix}once$n" busybox sleep 100000'
    script = (
        f'all=; for n in $(seq 0 {AT_ONCE - 1}); do {run} & all="$all $!"; done; '
        "for one in $all; do wait $one || exit 1; done"
    )

    def before() -> None:
        away()
        peer.settle()

    return [Measured(f"{AT_ONCE} x run -d at once", peer.name, timed(["sh", "-c", script]), before)]
