"""Throughput by iperf3: from container to container over the bridge, and from another machine through a published port.

The other machine is a network namespace with a cable to the engine's. The image is made of the iperf3 that is installed
here and the libraries that it asks for. podman is left out: it shares a namespace with docker, whose firewall drops
what podman forwards. More is better.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

from bench.peers import NotHereError, Peer
from bench.rows import Measured, quietly, reading
from bench.stand import Stand
from tests.support import images
from tests.support.netns import Netns
from tests.support.wait import eventually

SECONDS = 2
PORT = 5201
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")  # a peer each: two of them share a namespace
IMAGE = "bench-iperf:1"


def rows(peer: Peer, number: int, stand: Stand, stack: ExitStack) -> list[Measured]:
    if peer.name.startswith("podman"):
        raise NotHereError("docker's firewall drops what it forwards")
    archive = _archive(stand.base)
    subprocess.run([*peer.client, "load", "-q", "-i", str(archive)], check=True, capture_output=True)
    server = f"{peer.prefix}iperf"
    stack.callback(quietly([*peer.client, *peer.remove, server]))
    port, host = PORT + number, f"{NETWORKS[number]}.1"
    run = [*peer.client, "run", "-d", "--name", server, "-p", f"{port}:{PORT}", IMAGE, "iperf3", "-s"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHereError(f"no server with a published port: {done.stderr.strip()}")
    address = json.loads(_output([*peer.client, "inspect", server]))[0]["NetworkSettings"]["IPAddress"]
    ask = ["iperf3", "--connect-timeout", "3000", "-t", str(SECONDS), "-J", "-c"]
    inside = [*peer.client, "run", "--rm", IMAGE, *ask, address]
    outside = [*_other_machine(peer, number, stack), *ask, host, "-p", str(port)]
    eventually(lambda: subprocess.run(outside, capture_output=True).returncode == 0, "iperf3 to answer", timeout=30)
    return [
        Measured("container to container, iperf3", peer.name, reading(inside, _gigabits), unit="Gbit/s"),
        Measured("published port, iperf3", peer.name, reading(outside, _gigabits), unit="Gbit/s"),
    ]


def _gigabits(text: str) -> float:
    return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _other_machine(peer: Peer, number: int, stack: ExitStack) -> list[str]:
    """The way into a namespace that has a cable to the peer's."""
    other, uplink, network = Netns(), f"uplink{number}", NETWORKS[number]
    stack.callback(other.close)
    for command in (
        f"ip link add {uplink} type veth peer eth0 netns {other.pid}",
        f"ip address add {network}.1/24 dev {uplink}",
        f"ip link set {uplink} up",
    ):
        subprocess.run([*peer.enter, *command.split()], check=True)
    stack.callback(quietly([*peer.enter, "ip", "link", "delete", uplink]))
    other.run(*f"ip address add {network}.9/24 dev eth0".split())
    other.run(*"ip link set eth0 up".split())
    return other.enter


def _archive(folder: Path) -> Path:
    """An image of iperf3 and its libraries."""
    program, path = shutil.which("iperf3"), folder / "iperf.tar"
    if not program:
        raise NotHereError("iperf3 is not installed (apt-get install iperf3)")
    if not path.exists():
        layer = folder / "iperf-layer.tar"
        with tarfile.open(layer, "w", dereference=True) as files:
            for name in [program, *re.findall(r"(/\S+) \(0x", _output(["ldd", program]))]:
                files.add(name)
            tmp = tarfile.TarInfo("tmp")
            tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
            files.addfile(tmp)
        config = images.image_config([layer.read_bytes()], Env=["PATH=/usr/bin"])
        path.write_bytes(images.docker_archive([layer.read_bytes()], [IMAGE], config))
    return path
