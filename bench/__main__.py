"""Measures every engine that is installed, in one interleaved run, and prints one table.

    python -m bench [--rounds N] [--only verbs,images,…]        (as root; `make bench ARGS='--rounds 30'`)

Absolute times belong to the machine and to the moment: only the ratios are claims. So each round measures every command
of every engine once, in an order shuffled anew, and what is compared is the median over the rounds. `python -c pass` is
measured beside them as the floor of anything written in Python. Everything runs in namespaces and folders of its own
and is removed at the end. Read next: peers.py (the engines), rows.py, stand.py (the ground they stand on).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack

from bench import images, network, peers, streams
from bench.peers import NotHereError, Peer
from bench.rows import FailedError, Measured, Row
from bench.stand import Stand

GROUPS = ("verbs", "images", "attach", "parallel", "network")


def measure(measured: list[Measured], rounds: int) -> list[Row]:
    rows = [Row(each) for each in measured if works(each)]
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        for row in random.sample(rows, len(rows)):
            row.measured.before()
            try:
                row.figures.append(row.measured.sample())
            except FailedError as error:
                print(f"failed once: {row.measured.engine}, {row.measured.what}: {error}")
    print("\r" + " " * 30 + "\r", end="", file=sys.stderr)
    return [row for row in rows if row.figures]


def works(measured: Measured) -> bool:
    """Takes it once, to warm up; what fails is left out, with a word about it."""
    measured.before()
    try:
        measured.sample()
    except FailedError as error:
        print(f"left out: {measured.engine}, {measured.what}: {error}")
        return False
    return True


def table(rows: list[Row]) -> str:
    """For each kind of command its engines, the peer that the ratios refer to first."""
    lines = [f"{'':34}{'median':>10}{'least':>9}{'most':>9}{'ratio':>8}"]
    for what in dict.fromkeys(row.measured.what for row in rows):
        group = [row for row in rows if row.measured.what == what]
        base = group[0].median
        lines.append(f"{what}, {group[0].measured.unit}   (ratio to {group[0].measured.engine})")
        for row in group:
            figures = f"{row.median:10.1f}{min(row.figures):9.1f}{max(row.figures):9.1f}{row.median / base:8.2f}"
            lines.append(f"  {row.measured.engine:32}{figures}")
    return "\n".join(lines)


def long_rows(options: argparse.Namespace, found: list[Peer], stand: Stand, stack: ExitStack) -> list[Measured]:
    """What takes seconds a time: images, streams, many at once, throughput."""
    goods: list[images.Goods] = []

    def of_images(peer: Peer, stand: Stand, stack: ExitStack) -> list[Measured]:
        goods[:] = goods or [images.Goods(stand, stack, options.files, options.size)]
        return images.rows(peer, goods[0])

    makers: dict[str, Callable[[Peer, Stand, ExitStack], list[Measured]]] = {
        "images": of_images,
        "attach": streams.attach,
        "parallel": streams.at_once,
        "network": lambda peer, stand, stack: network.rows(peer, found.index(peer), stand, stack),
    }
    measured = []
    for group in (group for group in makers if group in options.only):
        for peer in found:
            try:
                measured += makers[group](peer, stand, stack)
            except (NotHereError, RuntimeError, AssertionError) as error:
                print(f"left out: {peer.name}, {group}: {error}")
    return measured


def ordered(measured: list[Measured]) -> list[Measured]:
    """By what is compared, in the order of the first of each."""
    order = list(dict.fromkeys(each.what for each in measured))
    return sorted(measured, key=lambda each: order.index(each.what))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="minidock against docker, podman and crun")
    parser.add_argument("--rounds", type=int, default=15, help="how often each command is measured (default 15)")
    parser.add_argument("--long-rounds", type=int, default=5, help="and each that takes seconds (default 5)")
    parser.add_argument("--running", type=int, default=50, help="containers that run while ps is measured (default 50)")
    parser.add_argument("--files", type=int, default=9000, help="files of the image that is pulled (default 9000)")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of each of them (default 20000)")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"some of {','.join(GROUPS)}")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if os.geteuid() != 0:
        raise SystemExit("bench: needs root (make bench uses sudo)")
    with ExitStack() as stack:
        stand = stack.enter_context(Stand())
        found = [peer for engine in peers.ENGINES if (peer := peers.ready(engine, stand, stack))]
        rows = measure(ordered(long_rows(options, found, stand, stack)), options.long_rounds)
        if "verbs" in options.only:
            measured = [row for peer in found for row in peers.verbs(peer, stand, stack, options.running)]
            rows += measure(ordered([*measured, *peers.crun(stand), *peers.floor()]), options.rounds)
        print(table(rows))


if __name__ == "__main__":
    main()
