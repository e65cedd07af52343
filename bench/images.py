"""pull, load and import of one image of five layers and many small files, from one registry on loopback.

Each time the image is removed before, and what the engine deletes behind the scenes is waited for. The registry is
Debian's; each network namespace has its own process of it, over the same files.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack

from bench.peers import NotHereError, Peer
from bench.rows import Measured, quietly, timed
from bench.stand import Stand
from tests.support import many_files, registries

NAME = "many:1"
FLAT = "flat:1"


class Goods:
    """The image as an archive, as a registry's, and its files as one tar; made once, on the first use."""

    def __init__(self, stand: Stand, stack: ExitStack, files: int, size: int) -> None:
        self._stand, self._stack = stand, stack
        for program in ("docker-registry", "skopeo"):
            if not shutil.which(program):
                raise NotHereError(f"{program} is not installed (apt-get install {program})")
        self.folder = stand.base / "goods"
        self.folder.mkdir()
        self.archive = many_files.write(self.folder, files, size, NAME)
        self.flat = self.folder / "flat.tar"
        self.megabytes = files * size / 1e6
        self._registries: dict[str, str] = {}

    def flatten(self) -> None:
        """One tar of all layers' files, as `export` gives it."""
        if not self.flat.exists():
            top = self.folder / "top"
            top.mkdir()
            for number in range(many_files.LAYERS):
                layer = ["tar", "-xOf", str(self.archive), f"{number}.tar"]
                with subprocess.Popen(layer, stdout=subprocess.PIPE) as tar:
                    subprocess.run(["tar", "-xC", str(top)], stdin=tar.stdout, check=True)
            subprocess.run(["tar", "-cf", str(self.flat), "-C", str(top), "."], check=True)

    def registry(self, peer: Peer) -> str:
        """The registry as the peer's daemon sees it."""
        key = " ".join(peer.enter)
        if key not in self._registries:
            folder = self.folder / f"registry{len(self._registries)}"
            if self._registries:
                folder.mkdir()
                (folder / "data").symlink_to(self.folder / "registry0/data")
            host = self._stack.enter_context(registries.real_registry(folder, 5000, peer.enter))
            if not self._registries:
                registries.fill(host, f"docker-archive:{self.archive}:{NAME}", NAME, peer.enter)
            self._registries[key] = host
        return self._registries[key]


def rows(peer: Peer, goods: Goods) -> list[Measured]:
    goods.flatten()
    name = f"{goods.registry(peer)}/{NAME}"
    size = f"5 layers, {goods.megabytes:.0f} MB"

    def gone(*names: str) -> None:
        quietly([*peer.client, "rmi", "-f", *names])()
        peer.settle()

    insecure = ["--tls-verify=false"] if peer.name.startswith("podman") else []
    commands = {
        f"pull, {size}": ["pull", "-q", *insecure, name],
        f"load, {size}": ["load", "-q", "-i", str(goods.archive)],
        f"import (unpack one tar), {goods.megabytes:.0f} MB": ["import", str(goods.flat), FLAT],
    }
    return [
        Measured(what, peer.name, timed([*peer.client, *command]), lambda: gone(name, NAME, FLAT))
        for what, command in commands.items()
    ]
