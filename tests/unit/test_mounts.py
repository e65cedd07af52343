"""-v, --mount and --tmpfs: what they mean and what is refused, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.engine import mounts
from minidock.engine.config import BindOptions, Config, HostConfig, Mount, TmpfsOptions
from minidock.engine.model import MountPoint
from minidock.wire.errors import InvalidArgument, ServerError


def points(*binds: str, config: Config | None = None, more: tuple[Mount, ...] = ()) -> tuple[MountPoint, ...]:
    return mounts.resolve(config or Config(), HostConfig(binds=binds, mounts=more))


def test_a_host_directory() -> None:
    (point,) = points("/src/../srv:/dst:ro,rslave")
    assert (point.type, point.source, point.destination) == ("bind", "/srv", "/dst")
    assert (point.rw, point.propagation) == (False, "rslave")


def test_a_named_volume_and_an_anonymous_one() -> None:
    named, anonymous = points("data:/a", "/b")
    assert (named.type, named.name, named.destination) == ("volume", "data", "/a")
    assert (anonymous.type, anonymous.name, anonymous.destination) == ("volume", "", "/b")


def test_parents_come_before_children() -> None:
    assert [p.destination for p in points("/x:/a/b/c", "/y:/a", "/z:/a/b")] == ["/a", "/a/b", "/a/b/c"]


def test_a_volume_of_the_image_gives_way_to_a_mount_of_the_user() -> None:
    found = points("/x:/data", config=Config(volumes={"/data": {}, "/other": {}}))
    assert [(p.type, p.destination) for p in found] == [("bind", "/data"), ("volume", "/other")]


@pytest.mark.parametrize(
    "text",
    ["", ":", "/a:", ":/b", "/a:/b:ro:x", "/a:b", "/a:/", "/a:/b/../../c", "a/b:/c", "/a:/b:banana", "x:/y\n"],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        points(text)


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        (Mount("bind", "/tmp", ""), 'type "bind": field Target must not be empty'),
        (Mount("x", "", "/x"), 'type "x": mount type unknown'),
        (Mount("tmpfs", "/tmp", "/x"), 'type "tmpfs": field Source must not be specified'),
    ],
)
def test_what_a_mount_lacks_or_has_too_much_is_told_in_dockers_words(mount: Mount, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        points(more=(mount,))


def test_two_mounts_at_one_place_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /b"):
        points("/a:/b", "/c:/b/")


def test_mount_refuses_a_source_that_is_not_there(tmp_path: Path) -> None:
    missing = Mount("bind", str(tmp_path / "nosuch"), "/x")
    with pytest.raises(InvalidArgument, match="bind source path does not exist"):
        points(more=(missing,))
    (point,) = points(more=(Mount("bind", str(tmp_path), "/x", bind_options=BindOptions("rshared")),))
    assert (point.source, point.propagation) == (str(tmp_path), "rshared")


def test_v_makes_a_source_that_is_not_there(tmp_path: Path) -> None:
    mounts.make_missing_sources(HostConfig(binds=(f"{tmp_path}/a/b:/x", "named:/y")))
    assert (tmp_path / "a/b").is_dir() and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_source_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=f"creating mount source path '{tmp_path}/file/x': mkdir .*: not a directory"):
        mounts.make_missing_sources(HostConfig(binds=(f"{tmp_path}/file/x:/x",)))


def test_tmpfs_in_both_spellings() -> None:
    host = HostConfig(
        tmpfs={"/a": "size=64m,exec"},
        mounts=(Mount("tmpfs", "", "/b", True, "", None, None, TmpfsOptions(4096, 0o700)),),
    )
    first, second = mounts.tmpfs_mounts(host)
    assert (first.target, first.flags, first.options) == ("/a", ("nodev", "nosuid"), ("size=64m",))
    assert second.flags == ("nodev", "noexec", "nosuid", "ro") and second.options == ("size=4096", "mode=700")


@pytest.mark.parametrize("options", ["size=1,banana", "mode=rwx", "size=-1", "context=x"])
def test_unknown_tmpfs_options_are_refused(options: str) -> None:
    with pytest.raises(InvalidArgument):
        mounts.tmpfs_mounts(HostConfig(tmpfs={"/a": options}))


def test_nobody_can_ask_for_any_number_of_mounts() -> None:
    """Seen to fail where tmpfs and lenders did not count: each is compared with all others."""
    many = {f"/v{n}": "" for n in range(mounts.MOST + 1)}
    for host in (HostConfig(tmpfs=many), HostConfig(binds=tuple(many)), HostConfig(volumes_from=tuple(many))):
        with pytest.raises(InvalidArgument, match="too many mounts: 513"):
            mounts.resolve(Config(), host)


def test_an_image_can_not_ask_for_any_number_of_volumes() -> None:
    """CVE-2021-21285's kind: a create with 20,000 of them, the variant, kept the daemon from all else for minutes."""
    volumes = {f"/v{n}": dict[str, object]() for n in range(mounts.MOST)}
    assert len(mounts.resolve(Config(volumes=volumes), HostConfig())) == mounts.MOST
    with pytest.raises(InvalidArgument, match="too many mounts: 513"):
        mounts.resolve(Config(volumes={**volumes, "/one more": {}}), HostConfig())
