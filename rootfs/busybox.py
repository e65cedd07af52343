"""Build rootfs/build/busybox.tar: a 2 MB image around the static busybox of the distribution.

    python -m rootfs.busybox [--output FILE] [--busybox FILE]

For: tests and a first tour where Alpine would be too large. Debian and Ubuntu: apt-get install busybox-static.
The binary names its own applets (`busybox --list-full`); each becomes a symlink to /bin/busybox at its usual place.
Read next: archive.py.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
from pathlib import Path, PurePosixPath

from rootfs import archive
from rootfs.archive import Entry, directory, symlink

TAGS = ("busybox:latest",)
CANDIDATES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
DIRECTORIES = {"dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700, "sys": 0o755, "tmp": 0o1777}
ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def static_busybox(chosen: Path | None) -> Path:
    """The busybox to pack. A dynamic one is refused: the image has no libraries."""
    for path in (chosen,) if chosen else CANDIDATES:
        if path.is_file():
            if b"ld-linux" in path.read_bytes()[:8192]:
                raise SystemExit(f"pack {path}: it is dynamically linked; hint: apt-get install busybox-static")
            return path
    raise SystemExit("find a static busybox: none here; hint: apt-get install busybox-static")


def busybox_entries(busybox: Path, mtime: int) -> list[Entry]:
    listed = subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True).stdout.split()
    entries = {path: directory(path, mode) for path, mode in DIRECTORIES.items()}
    entries |= {path: symlink(path, "/bin/busybox") for path in listed}
    entries |= {path: Entry(path, 0o644, data=text.encode()) for path, text in ETC.items()}
    entries["bin/busybox"] = Entry("bin/busybox", 0o755, data=busybox.read_bytes())
    for path in list(entries):
        for parent in map(str, PurePosixPath(path).parents):
            if parent != ".":
                entries.setdefault(parent, directory(parent))
    return [Entry(e.path, e.mode, e.uid, e.gid, mtime, e.kind, e.data, e.target) for e in entries.values()]


def build(output: Path, chosen: Path | None) -> str:
    busybox = static_busybox(chosen)
    mtime = int(busybox.stat().st_mtime)
    machine = platform.machine()
    layer = archive.layer_tar(busybox_entries(busybox, mtime))
    config = archive.image_config(layer, archive.ARCHITECTURES.get(machine, machine), mtime, "busybox-static")
    return archive.write_image(output, layer, config, TAGS, mtime)


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="build the busybox image archive")
    parser.add_argument("--output", type=Path, default=here / "build" / "busybox.tar")
    parser.add_argument("--busybox", type=Path, help="the static binary (default: /bin/busybox, /usr/bin/busybox)")
    options = parser.parse_args()
    print(f"{options.output}: {', '.join(TAGS)} {build(options.output, options.busybox)}")


if __name__ == "__main__":
    main()
