"""Measures run, exec and ps of every engine that is installed, in one interleaved run, and prints one table.

    python -m bench [--rounds N] [--running N]        (as root; `make bench ARGS='--rounds 30'`)

Absolute times belong to the machine and to the moment: only the ratios are claims. So each round measures every command
of every engine once, in an order shuffled anew, and what is compared is the median over the rounds. `python -c pass` is
measured beside them as the floor of anything written in Python. Everything runs in namespaces and folders of its own
and is removed at the end. Read next: peers.py (the engines), stand.py (the ground they stand on).
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from bench import peers
from bench.peers import Measured
from bench.stand import Stand


@dataclass
class Row:
    """One command of one engine, and how long each round of it took, in milliseconds."""

    measured: Measured
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.times)


def once(command: Sequence[str]) -> tuple[float, int]:
    """Milliseconds of wall clock from spawn to exit, and the exit code."""
    began = time.perf_counter()
    code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000, code


def measure(measured: list[Measured], rounds: int) -> list[Row]:
    rows = [Row(each) for each in measured if works(each)]
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        for row in random.sample(rows, len(rows)):
            row.times.append(once(row.measured.command)[0])
    print("\r" + " " * 30 + "\r", end="", file=sys.stderr)
    return rows


def works(measured: Measured) -> bool:
    """Runs it once, to warm up; a command that fails is left out, with a word about it."""
    done = subprocess.run(measured.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word about it"])[-1]
        print(f"left out: {measured.engine}, {measured.what}: exit code {done.returncode}: {last}")
    return done.returncode == 0


def table(rows: list[Row]) -> str:
    """For each kind of command its engines, the peer that the ratios refer to first."""
    lines = [f"{'':34}{'median ms':>10}{'fastest':>9}{'slowest':>9}{'ratio':>8}"]
    for what in dict.fromkeys(row.measured.what for row in rows):
        group = [row for row in rows if row.measured.what == what]
        base = group[0].median
        lines.append(f"{what}   (ratio to {group[0].measured.engine})")
        for row in group:
            figures = f"{row.median:10.1f}{min(row.times):9.1f}{max(row.times):9.1f}{row.median / base:8.2f}"
            lines.append(f"  {row.measured.engine:32}{figures}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="run, exec and ps against docker, podman and crun")
    parser.add_argument("--rounds", type=int, default=15, help="how often each command is measured (default 15)")
    parser.add_argument("--running", type=int, default=10, help="containers that run while ps is measured (default 10)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench: needs root (make bench uses sudo)")
    with ExitStack() as stack:
        stand = stack.enter_context(Stand())
        measured = [each for engine in peers.ENGINES for each in peers.ready(engine, stand, stack, options.running)]
        order = list(dict.fromkeys(each.what for each in measured))
        rows = measure(sorted(measured, key=lambda each: order.index(each.what)), options.rounds)
        print(table(rows))


if __name__ == "__main__":
    main()
