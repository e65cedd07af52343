"""Archives that try to get out of the directory they are unpacked into, or to break whoever unpacks them.

The tables are those of moby (pkg/archive: TestUntarInvalidFilenames, …InvalidHardlink, …InvalidSymlink, whiteouts) and
the bypasses of tarfile's filters. What a runtime with the hole does (CVE-2014-6407, -9356, 2015-3631, 2025-4517):
a file beside the unpacked directory is written, read, linked or changed. Each attack is also given to tarfile's own
extraction without a filter, or to our own with one guard out of place, to see that it would work: an attack that fails
everywhere proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.image import inroot, unpack
from minidock.image.tarstream import TarStream
from minidock.image.unpack import Unpacker
from minidock.wire.errors import Error, InvalidArgument, ServerError
from tests.support import images as made
from tests.support.images import NOTHING, Images, Item, directory, file, hard_link, item, symlink, tar

VICTIM = "the victim's words"


def prepared(place: Path) -> Path:
    """dest/ to unpack into, aside/ for what is replaced, victim/ that must stay as it is."""
    for name in ("dest", "aside", "victim"):
        (place / name).mkdir()
    (place / "victim/hello").write_text(VICTIM)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return prepared(tmp_path)


def outside(place: Path) -> dict[str, str]:
    """All that is not in dest/: an escape shows here. Links into it count as well: a shared inode has two names."""
    found = {p: what for p, what in made.tree(place).items() if p.split("/")[0] not in ("dest", "aside")}
    hello = place / "victim/hello"
    return found | {"names of hello": str(os.lstat(hello).st_nlink) if hello.exists() else "none"}


def unpacked(place: Path, *items: Item) -> str:
    """Unpacks; "" or the error."""
    unpacker = Unpacker(place / "dest", place / "aside")
    try:
        unpacker.unpack(TarStream(iter([tar(*items)])))
        return ""
    except Error as error:
        return str(error)
    finally:
        unpacker.close()


def naively(place: Path, *items: Item) -> None:
    """What a runtime with the hole does."""
    import io

    with tarfile.open(fileobj=io.BytesIO(tar(*items))) as archive:
        archive.extraction_filter = lambda member, _: member  # Debian's 3.11 has no filters and trusts everybody
        archive.extractall(place / "dest")


LONG = "d" * 247
LETTERS = "abcdefghijklmnop"
DEEP = [
    entry
    for n, letter in enumerate(LETTERS)
    for entry in (directory("/".join([LONG] * (n + 1))), symlink("/".join([*[LONG] * n, letter]), LONG))
]
FAR = "/".join(LETTERS)  # short to write, longer than PATH_MAX once its links are followed

ATTACKS: dict[str, list[Item]] = {
    # moby: TestUntarInvalidFilenames
    "parent": [file("../victim/dotdot")],
    "absolute parent": [file("/../victim/slash-dotdot")],
    "climbing in the middle": [directory("a"), file("a/../../victim/middle")],
    # moby: TestUntarInvalidHardlink
    "hard link out": [hard_link("mine", "../victim/hello")],
    "hard link out, absolute": [hard_link("mine", "/../victim/hello")],
    "hard link, then write": [hard_link("mine", "../victim/hello"), file("mine", b"owned")],
    "hard link to a folder": [hard_link("loophole", "../victim"), file("loophole/hello", b"owned")],
    "hard link through a symlink": [symlink("dir", "../victim"), hard_link("mine", "dir/hello"), file("mine", b"x")],
    "hard link to a symlink to a file": [
        symlink("link", "../victim/hello"),
        hard_link("hard", "link"),
        file("hard", b"owned"),
    ],
    "hard link to a symlink": [symlink("link", "../victim"), hard_link("hard", "link"), file("hard/new", b"x")],
    # moby: TestUntarInvalidSymlink
    "symlink, then write": [symlink("loophole", "../victim/hello"), file("loophole", b"owned")],
    "symlink to a folder": [symlink("dir", "../victim"), file("dir/new", b"owned")],
    "symlink, then a folder": [symlink("dir", "../victim"), directory("dir", mode=0o777), file("dir/new", b"x")],
    "two symlinks": [symlink("a", ".."), symlink("b", "a/victim"), file("b/new", b"owned")],
    "folder, then symlink": [directory("dir"), file("dir/x"), symlink("dir", "../victim"), file("dir/new", b"x")],
    # CVE-2025-4517 and its kind: a path past PATH_MAX after which the check and the kernel disagree
    "longer than PATH_MAX": [
        *DEEP,
        symlink(f"{FAR}/l", "../" * 16),
        symlink("escape", f"{FAR}/l/../victim"),
        file("escape/new", b"owned"),
    ],
    # deletions
    "whiteout out": [symlink("dir", "../victim"), file("dir/.wh.hello")],
    "opaque out": [symlink("dir", "../victim"), file("dir/.wh..wh..opq")],
    "whiteout of the parent": [file(".wh...")],
    "device through a symlink": [
        symlink("dir", "../victim"),
        item("dir/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    ],
}
NO_KERNEL_DOES_THAT = {"hard link to a folder"}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_outside_is_touched(place: Path, name: str) -> None:
    before = outside(place)
    unpacked(place, *ATTACKS[name])
    assert outside(place) == before
    assert (place / "victim/hello").read_text() == VICTIM


def _keep_dots(name: str) -> inroot.Parts:
    return tuple(part for part in os.fsencode(name).split(b"/") if part not in (b"", b"."))


def _by_path(self: inroot.Directories, parts: inroot.Parts) -> int:
    """Looks a link's target up as any program would, from the host's root."""
    return os.open(b"/".join(parts), os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.root)


def _over(self: Unpacker, parts: inroot.Parts, create: Callable[[int, bytes], Any]) -> Any:
    """Writes into what is there, instead of moving it aside."""
    try:
        return create(self._dirs.get(parts[:-1]), parts[-1])
    except FileExistsError:
        return os.open(parts[-1], os.O_WRONLY, dir_fd=self._dirs.get(parts[:-1]))


def _hide(self: Unpacker, parts: inroot.Parts) -> bool:
    """A whiteout that deletes, whatever its name says."""
    hidden = parts[-1].removeprefix(unpack.WHITEOUT)
    if hidden == parts[-1]:
        return False
    folder = self._dirs.get((*parts[:-1], hidden)) if hidden == b".." else self._dirs.get(parts[:-1])
    for name in os.listdir(folder) if hidden in (b"..", unpack.OPAQUE.removeprefix(unpack.WHITEOUT)) else [hidden]:
        shutil.rmtree(name, dir_fd=folder)
    return True


# One guard each, and what stands there in a runtime with the hole.
VARIANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "'..' is a folder": [(unpack, "split", _keep_dots)],
    "links lead to the host": [(inroot.Directories, "_resolve", _by_path)],
    "what is there is written into": [(Unpacker, "_make", _over)],
    "a whiteout deletes": [(Unpacker, "_whiteout", _hide)],
}


def escapes(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The holes by which an attack gets out: tarfile's own extraction, and our variants."""
    found = set()
    for variant in ["tarfile", *VARIANTS]:
        around = place / variant
        around.mkdir()
        prepared(around)
        before = outside(around)
        with monkeypatch.context() as patch, contextlib.suppress(OSError, Error, KeyError):
            for owner, guard, hole in VARIANTS.get(variant, []):
                patch.setattr(owner, guard, hole)
            naively(around, *ATTACKS[name]) if variant == "tarfile" else unpacked(around, *ATTACKS[name])
        found |= {variant} if outside(around) != before else set()
    return found


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - NO_KERNEL_DOES_THAT))
def test_the_attack_works_on_who_has_a_hole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert escapes(tmp_path, name, monkeypatch)


def test_an_absolute_symlink_leads_to_the_layer_and_not_to_the_host(place: Path) -> None:
    assert unpacked(place, directory("etc"), symlink("x", "/etc"), file("x/minidock-test", b"mine")) == ""
    assert (place / "dest/etc/minidock-test").read_bytes() == b"mine"
    assert not Path("/etc/minidock-test").exists()


def test_a_fifo_in_the_way_is_not_opened(place: Path) -> None:
    """Who opens it to write waits for a reader that never comes."""
    assert unpacked(place, item("hello", tarfile.FIFOTYPE), file("hello", b"x")) == ""
    assert (place / "dest/hello").read_bytes() == b"x"


def test_a_node_that_is_swapped_for_a_link_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a neighbour with whom the tree shares a volume: `cp` into it goes this way, and what an image has at a new
    volume's place. The variant set the mode by name, and so that of a file of the host."""
    make = os.mknod

    def swapped(name: bytes, mode: int, device: int, dir_fd: int) -> None:
        make(name, mode, device, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        os.symlink(place / "victim/hello", os.fsdecode(name), dir_fd=dir_fd)

    monkeypatch.setattr(os, "mknod", swapped)
    before = outside(place)
    said = unpacked(place, item("pipe", tarfile.FIFOTYPE, mode=0o4777))
    assert outside(place) == before and "somebody else has put something there" in said


def test_magic_links_are_not_followed(place: Path) -> None:
    assert "leads to no directory" in unpacked(place, symlink("x", "/proc/self/cwd"), file("x/new", b"x"))
    os.symlink("/", place / "dest/root")  # and what could only be there by another way neither
    assert "leads" in unpacked(place, symlink("y", "root/proc/self/root"), file("y/new", b"x"))


def test_a_replaced_folder_is_not_reached_through_a_kept_descriptor(place: Path) -> None:
    """The directory's descriptor is cached from its first file; then it becomes a link to elsewhere in the layer."""
    entries = [file("a/b/one"), directory("other/b"), symlink("a", "other"), file("a/b/two", b"2")]
    assert unpacked(place, *entries) == ""
    assert (place / "dest/other/b/two").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([file("../x")], "leads out of the root"),
        ([file("x/" + "y" * 300)], "file name too long"),
        ([file("x" * 5000)], "too long"),
        ([file("d/" * 600 + "x")], "too deep"),
        ([file("a"), file("a/b")], "not a directory"),
        ([symlink("loop", "loop"), file("loop/x")], "leads to no directory"),
        ([symlink("nowhere", "missing"), file("nowhere/x")], "leads to no directory"),
        ([hard_link("a", "missing")], "no such file"),
        ([hard_link("a", "a")], "hard link to"),
        ([file("/")], "the root of a layer must be a directory"),
        ([symlink("/", "x")], "the root of a layer must be a directory"),
        ([file("a", uid=2**32 - 1)], "owner"),
        ([file("a", uid=-5)], "owner"),
        ([item("a", b"Z")], "unknown kind"),
        ([file(".wh.")], "a whiteout of nothing"),
        ([file("a/.wh..")], "a whiteout of nothing"),
        ([file(".wh.a/x")], "below a whiteout"),
        ([symlink("a", "")], "no such file"),
        ([item("a", tarfile.CHRTYPE, devmajor=1 << 20, devminor=0, pax_headers={})], ""),
        ([file("nul", pax_headers={"path": "a\0b"})], "NUL"),
    ],
)
def test_what_cannot_be_is_one_clear_error(place: Path, entries: list[Item], says: str) -> None:
    error = unpacked(place, *entries)
    assert says in error and "\n" not in error
    if says:
        assert error


def test_a_chain_of_links_does_not_make_an_endless_depth(place: Path) -> None:
    """Each name is short, but each link starts where the last one ended."""
    step = "d/" * 300
    entries = [directory(step), symlink("a", step), directory("a/" + step)]
    assert "too deep" in unpacked(place, *entries, file("a/" + step + "x"), symlink("b", "a/" + step), file("b/x/y"))


def test_a_disk_that_is_nearly_full_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "SPACE_STEP", 1000)
    assert unpacked(place, file("a", bytes(2000))) == ""
    monkeypatch.setattr(unpack, "SPACE_KEPT", 1 << 60)
    assert "no space left" in unpacked(place, file("b", bytes(2000)))


# -- the same through the store: nothing stays


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good[:6000],
        lambda good: good + b"",
        lambda good: made.gz(good)[:-10],
        lambda good: b"no tar",
        lambda good: tar(file("a", b"A" * 9000), file("../x")),
    ],
)
def test_a_refused_layer_leaves_nothing(images: Images, spoil: Callable[[bytes], bytes]) -> None:
    good = tar(directory("d"), file("d/a", b"A" * 9000), file("d/b"))
    data = spoil(good)
    if data == good:  # the control: the same, unspoiled, is taken and can be taken back
        images.unpacked(data)
        assert images.left() != NOTHING
        images.store.remove(images.store.list()[0].id, False, lambda _: [])
    else:
        with pytest.raises(InvalidArgument):
            images.unpacked(data)
    assert images.left() == NOTHING and images.store.list() == []


def test_a_full_disk_leaves_nothing_and_later_it_works(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = tar(file("a", bytes(100_000)))
    with monkeypatch.context() as patch:
        patch.setattr(unpack, "SPACE_STEP", 1000)
        patch.setattr(unpack, "SPACE_KEPT", 1 << 60)
        with pytest.raises(ServerError, match="no space left"):
            images.unpacked(layer)
    assert images.left() == NOTHING
    assert images.unpacked(layer).exists()


def test_deep_trees_can_be_deleted_again(place: Path) -> None:
    assert unpacked(place, directory("d/" * inroot.MAX_DEPTH)) == ""
    shutil.rmtree(place / "dest")
