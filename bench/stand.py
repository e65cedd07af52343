"""The ground that all engines are measured on: one scratch folder, one network namespace and one mount namespace.

For peers.py. In the mount namespace /sys/fs/cgroup is a plain cgroup v2 where the machine has v1 and v2 side by side:
so every engine arranges the same kind of cgroup, and none touches the machine's v1 trees. The network namespace keeps
their bridges and firewall rules off the machine. Reuses the tests' network namespaces and daemons.

The folder is on a tmpfs where that has room: on ext4 a file that is made soon after thousands were deleted costs a
millisecond, whoever makes it (the inodes of the last minute are passed over one by one), and each round deletes images.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.daemon import ARCHIVES, Session
from tests.support.needs import cgroup2_mount
from tests.support.netns import Netns

PLAIN_CGROUP2 = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
MEMORY, ROOM = "/dev/shm", 4 << 30
FOREIGN_CGROUPS = ("docker", "libpod_parent", "minidock-bench")
HOLD = "mount --make-rprivate / && { %s; } && mount -t tmpfs run /run && echo ready && exec sleep infinity"


class Stand:
    """A context: the folder `base`, the tests' session (for minidock's own daemon), and `enter`, the way in."""

    def __enter__(self) -> Self:
        room = os.statvfs(MEMORY)
        self.session = Session(MEMORY if room.f_bavail * room.f_frsize > ROOM else "/tmp")
        self.base = self.session.base / "bench"
        self.base.mkdir()
        self.netns = Netns()
        self._cgroups = self._foreign_cgroups()
        hybrid = cgroup2_mount() != Path("/sys/fs/cgroup")
        self._holder = subprocess.Popen(
            [*self.netns.enter, "unshare", "-m", "--", "sh", "-c", HOLD % (PLAIN_CGROUP2 if hybrid else "true")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "could not make a mount namespace"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate()
        self.netns.close()
        for cgroup in self._foreign_cgroups() - self._cgroups:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        self.session.close()

    def _foreign_cgroups(self) -> set[Path]:
        """What the peers make at the top of the tree and leave behind."""
        mount = cgroup2_mount()
        return {path for name in FOREIGN_CGROUPS if mount and (path := mount / name).exists()}

    @property
    def enter(self) -> list[str]:
        """The command prefix that leads into both namespaces; costs each command that needs it 1 to 2 ms."""
        pid = self._holder.pid
        return ["nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt", "--"]

    def run(self, *command: str) -> None:
        """A command inside, which must succeed."""
        done = subprocess.run([*self.enter, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen([*self.enter, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def unpacked_busybox(self) -> Path:
        """The busybox image's only layer as a folder, for runtimes that know no images."""
        rootfs = self.base / "rootfs"
        rootfs.mkdir()
        with tarfile.open(ARCHIVES["busybox"]) as image:
            (entry,) = json.loads(_member(image, "manifest.json").read())
            (layer,) = entry["Layers"]
            # not extractall, whose `filter` the first versions of Python 3.11 don't know, and the latest want
            subprocess.run(["tar", "-xC", str(rootfs)], input=_member(image, layer).read(), check=True)
        return rootfs


def _member(image: tarfile.TarFile, name: str) -> IO[bytes]:
    found = image.extractfile(name)
    assert found is not None, f"the image archive has no {name}"
    return found
