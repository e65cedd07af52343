"""A layer on disk: what was in the tar is in the directory, and overlayfs understands the deletions.

For minidock/image/unpack.py, through the store's import; as root, because owners, devices and trusted.* attributes are.
The hostile archives are in test_unpack_hostile.py.
"""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import images as made
from tests.support.images import Images, directory, file, hard_link, item, symlink, tar

OPAQUE = "trusted.overlay.opaque"
# v2 capability: cap_net_raw+ep
CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def test_everything_about_a_file_is_kept(images: Images) -> None:
    before = os.umask(0o077)
    try:
        root = images.unpacked(
            tar(
                directory("./", mode=0o751, mtime=1),
                directory("etc", mode=0o2750, uid=3, gid=4, mtime=1_000_000_000),
                file("etc/passwd", b"root", mode=0o640, uid=1, gid=2, mtime=1_700_000_000),
                file("bin/su", b"su", mode=0o4755, uid=0, gid=0),
                symlink("etc/link", "/nowhere", uid=5, gid=6, mtime=77),
                item("dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3, mtime=5),
                item("dev/loop", tarfile.BLKTYPE, mode=0o660, gid=6, devmajor=7, devminor=0),
                item("run/fifo", tarfile.FIFOTYPE, mode=0o622),
                hard_link("etc/same", "etc/passwd"),
            )
        )
    finally:
        os.umask(before)
    assert made.tree(root) == {
        "etc": "drwxr-s--- 3:4",
        "etc/passwd": f"-rw-r----- 1:2 {made.digest(b'root')[:20]}",
        "etc/same": f"-rw-r----- 1:2 {made.digest(b'root')[:20]}",
        "etc/link": "lrwxrwxrwx 5:6 -> /nowhere",
        "bin": "drwxr-xr-x 0:0",
        "bin/su": f"-rwsr-xr-x 0:0 {made.digest(b'su')[:20]}",
        "dev": "drwxr-xr-x 0:0",
        "dev/null": "crw-rw-rw- 0:0 1:3",
        "dev/loop": "brw-rw---- 0:6 7:0",
        "run": "drwxr-xr-x 0:0",
        "run/fifo": "prw--w--w- 0:0",
    }
    assert stat.S_IMODE(root.stat().st_mode) == 0o751
    times = {name: (root / name).lstat().st_mtime for name in ("", "etc", "etc/passwd", "etc/link", "dev/null")}
    assert times == {"": 1, "etc": 1_000_000_000, "etc/passwd": 1_700_000_000, "etc/link": 77, "dev/null": 5}
    assert (root / "etc/same").stat().st_ino == (root / "etc/passwd").stat().st_ino


def test_times_are_exact_to_the_nanosecond(images: Images) -> None:
    root = images.unpacked(tar(file("a", pax_headers={"mtime": "1700000000.123456789"})))
    assert (root / "a").stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_names_are_bytes(images: Images) -> None:
    """Latin-1 from an old tar, and the longest name that a file system takes."""
    odd = b"caf\xe9-\xff\n"
    data = tar(
        file(os.fsdecode(odd) + "/x"), directory("y" * 255), symlink("l", os.fsdecode(odd)), form=tarfile.GNU_FORMAT
    )
    root = os.fsencode(images.unpacked(data))
    assert set(os.listdir(root)) == {odd, b"y" * 255, b"l"}
    assert os.readlink(root + b"/l") == odd


def test_extended_attributes(images: Images) -> None:
    """A file capability is kept; what would speak to overlayfs is not, nor anything else that is the host's own."""
    attributes = {
        "security.capability": CAP_NET_RAW.decode("utf-8", "surrogateescape"),
        "user.note": "x",
        OPAQUE: "y",
        "trusted.overlay.redirect": "/etc",
        "user.overlay.opaque": "y",
        "security.selinux": "system_u:object_r:etc_t:s0",
    }
    headers = {f"SCHILY.xattr.{name}": value for name, value in attributes.items()}
    root = images.unpacked(tar(directory("d", pax_headers=headers), file("ping", b"x", uid=7, pax_headers=headers)))
    for name in ("d", "ping"):
        assert set(os.listxattr(root / name)) == {"security.capability", "user.note"}
    assert os.getxattr(root / "ping", "security.capability") == CAP_NET_RAW


def test_a_sparse_file_stays_sparse(images: Images, tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as out:
        out.truncate(20 << 20)
        out.seek(9 << 20)
        out.write(b"middle")
    for form in ("gnu", "posix"):
        data = subprocess.run(
            ["tar", "-C", tmp_path, "--sparse", f"--format={form}", "-cf", "-", "sparse"],
            check=True,
            capture_output=True,
        ).stdout
        assert len(data) < 1 << 20
        found = images.unpacked(data) / "sparse"
        assert found.read_bytes() == (tmp_path / "sparse").read_bytes()
        assert found.stat().st_blocks * 512 < 1 << 20


def test_gnu_tar_and_we_make_the_same_tree(images: Images, tmp_path: Path) -> None:
    """The real Alpine, unpacked by both."""
    archive = tarfile.open(Path(__file__).parents[2] / "rootfs/build/alpine-3.23.tar")  # noqa: SIM115
    layer = max((m for m in archive if m.isreg()), key=lambda member: member.size)
    content = archive.extractfile(layer)
    assert content is not None
    data = content.read()
    (tmp_path / "gnu").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "gnu", "--numeric-owner", "-xpf", "-"], input=data, check=True)
    root = images.unpacked(data)
    assert made.tree(root) == made.tree(tmp_path / "gnu")
    assert {p: (root / p).lstat().st_mtime for p in made.tree(root)} == {
        p: (tmp_path / "gnu" / p).lstat().st_mtime for p in made.tree(root)
    }


def test_a_later_entry_replaces_an_earlier_one(images: Images) -> None:
    root = images.unpacked(
        tar(
            file("a", b"old"),
            file("a", b"new"),
            directory("d"),
            file("d/x", b"x"),
            file("d", b"now a file"),
            symlink("l", "a"),
            directory("l"),
            file("l/in", b"in"),
            directory("keep", mode=0o700),
            file("keep/x"),
            directory("keep", mode=0o711),
        )
    )
    found = made.tree(root)
    assert (root / "a").read_bytes() == b"new" and (root / "d").read_bytes() == b"now a file"
    assert found["l"].startswith("drwx") and "l/in" in found
    assert found["keep"].startswith("drwx--x--x") and "keep/x" in found


def test_names_below_a_link_of_the_layer_are_found_in_the_root(images: Images) -> None:
    """As Docker does it in its chroot: `lib -> /usr/lib`, then `lib/x`."""
    root = images.unpacked(
        tar(
            directory("usr/lib"),
            symlink("lib", "/usr/lib"),
            file("lib/x", b"x"),
            symlink("up", "../../usr"),
            file("up/y"),
        )
    )
    assert {"usr/lib/x", "usr/y"} <= set(made.tree(root))
    assert made.tree(root)["lib"].startswith("lrwx")


# -- deletions


def whiteouts(root: Path) -> set[str]:
    return {path for path, what in made.tree(root).items() if what.startswith("c") and what.endswith(" 0:0")}


def opaque(root: Path) -> set[str]:
    return {p for p, what in made.tree(root).items() if what[0] == "d" and OPAQUE in os.listxattr(root / p)}


def test_whiteouts_become_overlays(images: Images) -> None:
    root = images.unpacked(
        tar(file("a/.wh.gone"), file(".wh.top"), file("b/.wh..wh..opq"), file("b/new"), file(".wh..wh.plnk/1.2"))
    )
    assert whiteouts(root) == {"a/gone", "top"} and opaque(root) == {"b"}
    assert set(made.tree(root)) == {"a", "a/gone", "top", "b", "b/new"}, "bookkeeping of aufs is left out"


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_layer_deletes_and_brings_anew_is_its_own_in_either_order(images: Images, order: int) -> None:
    entries = [file(".wh.file"), file(".wh.dir"), file("file", b"x"), directory("dir"), file("dir/in")]
    if order < 0:
        entries = [*entries[2:], *entries[:2]]
    root = images.unpacked(tar(*entries))
    assert (root / "file").read_bytes() == b"x" and (root / "dir/in").exists()
    assert opaque(root) == {"dir"} and not whiteouts(root), "nothing of the lower directory shows through"


def test_a_directory_that_only_a_name_implies_replaces_its_whiteout(images: Images) -> None:
    root = images.unpacked(tar(file(".wh.dir"), file("dir/in")))
    assert opaque(root) == {"dir"} and (root / "dir/in").exists()


@pytest.mark.overlay
def test_overlayfs_shows_the_image_as_it_should_be(images: Images) -> None:
    """Three layers: files are deleted, a directory is emptied, one is replaced by a file, and a file comes back."""
    layers = [
        tar(file("keep", b"1"), file("gone", b"1"), file("dir/old", b"1"), file("swap/x", b"1"), file("back", b"1")),
        tar(file(".wh.gone"), file("dir/.wh..wh..opq"), file("dir/new", b"2"), file("swap", b"2"), file(".wh.back")),
        tar(file("back", b"3"), file("dir/newer", b"3")),
    ]
    image = images.load(made.docker_archive(layers, ["x:1"]))[0]
    lowers = ":".join(images.store.lowers(image))
    script = 'mount -t overlay -o "lowerdir=$1" none "$2" && cd "$2" && grep -r . . | sort'
    target = images.root / "view"
    target.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", lowers, target],
        cwd=images.store.layers_dir,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["./back:3", "./dir/new:2", "./dir/newer:3", "./keep:1", "./swap:2"]
