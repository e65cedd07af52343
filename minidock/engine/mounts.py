"""What the user mounts: ``-v``, ``--mount`` and ``--tmpfs`` → mount points, checked.

``-v`` is one string with colons and makes a missing host directory; ``--mount`` is explicit and refuses a missing one.
Both become a ``MountPoint`` (what inspect shows), and at the start a step of the plan. Nothing is made here: the
volumes that a container needs are listed, and made when its creation can no longer fail.
See: Docker Engine API, HostConfig.Binds, HostConfig.Mounts, HostConfig.Tmpfs.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Iterator

from minidock.engine import volume_options
from minidock.engine.config import Config, HostConfig, Mount, VolumeOptions
from minidock.engine.containers import Containers
from minidock.engine.model import MountPoint
from minidock.engine.volumes import check_name
from minidock.runtime.spec import Bind, Filesystem
from minidock.wire import units
from minidock.wire.errors import InvalidArgument, NotFound, ServerError

PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_IGNORED_MODES = ("rw", "z", "Z", "cached", "delegated", "consistent", "nocopy")
_TMPFS_FLAGS = {"ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "strictatime", "nodiratime"}
_TMPFS_CLEAR = {"rw", "suid", "dev", "exec"}


def target(path: str, whole: str) -> str:
    """A mount's place in the container: absolute, not "/", without ``..``. Returns it cleaned."""
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute", f"in {whole!r}")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/" or ".." in path.split("/") or not path.isprintable():
        raise InvalidArgument(f"invalid specification: destination can't be '{path}'", f"in {whole!r}")
    return clean


MOST = 512
"""Mounts of a container. An image may ask for any number of volumes, and each is a directory, a row and a mount."""


def resolve(config: Config, host: HostConfig) -> tuple[MountPoint, ...]:
    """All binds and volumes of a container, sorted so that parents come before children. Volume sources are empty."""
    asked = (host.binds, host.mounts, host.tmpfs, host.volumes_from, config.volumes)
    _check_count(sum(len(some or ()) for some in asked))
    points = [_from_bind(text) for text in host.binds or ()]
    points += [_from_mount(mount) for mount in host.mounts or () if mount.type != "tmpfs"]
    _refuse_duplicates([*(p.destination for p in points), *(path for path, _ in _tmpfs(host))])
    taken = {point.destination for point in points}
    for path in config.volumes or {}:
        destination = target(path, path)
        if destination not in taken:
            points.append(MountPoint("volume", "", destination, driver="local"))
            taken.add(destination)
    return tuple(sorted(points, key=lambda point: point.destination.count("/")))


def _check_count(count: int) -> None:
    if count > MOST:
        raise InvalidArgument(f"too many mounts: {count}, a container can have {MOST}")


def _refuse_duplicates(destinations: list[str]) -> None:
    for index, destination in enumerate(destinations):
        if destination in destinations[:index]:
            raise InvalidArgument(f"Duplicate mount point: {destination}")


def _from_bind(text: str) -> MountPoint:
    """``SOURCE:TARGET[:MODES]`` or ``TARGET`` alone, for an anonymous volume."""
    parts = text.split(":")
    if not text or len(parts) > 3 or "" in parts[:2]:
        raise InvalidArgument(f"invalid volume specification: '{text}'", "write SOURCE:TARGET[:ro], or TARGET alone")
    if len(parts) == 1:
        return MountPoint("volume", "", target(text, text), driver="local")
    source, destination, mode = parts[0], target(parts[1], text), parts[2] if len(parts) == 3 else ""
    propagation = _modes(mode, text)
    writable = "ro" not in mode.split(",")
    if source.startswith("/"):
        return MountPoint(
            "bind", os.path.normpath(source), destination, "", "", mode, writable, propagation or "rprivate"
        )
    check_name(source)
    return MountPoint(
        "volume", "", destination, source, "local", mode or "z", writable, "", "nocopy" in mode.split(",")
    )


def _modes(mode: str, whole: str) -> str:
    """Checks the mode words; returns the propagation word among them."""
    found = ""
    for word in filter(None, mode.split(",")):
        if word in PROPAGATION:
            found = word
        elif word != "ro" and word not in _IGNORED_MODES:
            raise InvalidArgument(f"invalid mode: {word}", f"in {whole!r}: ro, rw or a propagation such as rslave")
    return found


def _from_mount(mount: Mount) -> MountPoint:
    whole = f"--mount type={mount.type},source={mount.source},target={mount.target}"
    if not mount.target:
        raise InvalidArgument(f'invalid mount config for type "{mount.type}": field Target must not be empty')
    destination = target(mount.target, whole)
    if mount.type == "volume":
        if mount.source:
            check_name(mount.source)
        return _volume(mount, destination)
    if mount.type != "bind":
        raise InvalidArgument(
            f'invalid mount config for type "{mount.type}": mount type unknown', "one of bind, volume, tmpfs"
        )
    options = mount.bind_options
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in PROPAGATION:
        raise InvalidArgument(f"invalid propagation: {propagation!r}", f"one of {', '.join(PROPAGATION)}")
    if not mount.source.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' mount path must be absolute"
        )
    if not os.path.lexists(mount.source) and not (options and options.create_mountpoint):
        raise InvalidArgument(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
            "make it first, or use -v, which makes a directory",
        )
    return MountPoint("bind", os.path.normpath(mount.source), destination, "", "", "", not mount.read_only, propagation)


def _volume(mount: Mount, destination: str) -> MountPoint:
    given = mount.volume_options or VolumeOptions()
    _check_subpath(given, mount)
    driver = given.driver_config if isinstance(given.driver_config, dict) else {}
    if driver.get("Name") not in (None, "", "local"):
        raise NotFound(f'error looking up volume plugin {driver["Name"]}: plugin "{driver["Name"]}" not found')
    options = driver.get("Options") or {}
    if not isinstance(options, dict) or not all(isinstance(text, str) for text in options.values()):
        raise InvalidArgument(f'invalid mount config for type "volume": driver options of {mount.target}')
    return MountPoint(
        "volume", "", destination, mount.source, "local", "z", not mount.read_only, "",
        given.no_copy or bool(given.subpath), given.subpath, options, given.labels,
    )  # fmt: skip


def _check_subpath(given: VolumeOptions, mount: Mount) -> None:
    """A place in the volume: relative, without "..". Whether it is there is seen at the start."""
    path = given.subpath
    if not path:
        return
    if path.startswith("/") or ".." in path.split("/") or not path.isprintable():
        raise InvalidArgument(f"invalid volume subpath: {path!r}: must be a relative path within the volume")
    if not mount.source:
        raise InvalidArgument(f"volume subpath {path!r}: a new volume has nothing in it", "name one with source=")


def inherit(own: tuple[MountPoint, ...], names: tuple[str, ...], containers: Containers) -> tuple[MountPoint, ...]:
    """With the mounts of other containers (``--volumes-from NAME[:ro]``); one's own go before them, the image's behind.

    Of several containers the later one counts. Nothing is copied into a volume that is inherited.
    """
    taken = {point.destination: point for point in own if point.type != "volume" or point.name}
    found: dict[str, MountPoint] = {}
    for text in names:
        name, _, mode = text.partition(":")
        if not name:
            raise InvalidArgument("volumes-from specification cannot be an empty string")
        if mode not in ("", "rw", "ro", "z", "Z"):
            raise InvalidArgument(f"invalid mode: {mode}", f"in --volumes-from {text}: ro or rw")
        try:
            lender = containers.resolve(name)
        except NotFound as error:  # 404 would mean that the image is missing, and have the client pull it
            raise InvalidArgument(error.message) from None
        for point in lender.definition.mounts:
            found[point.destination] = dataclasses.replace(point, rw=point.rw and mode != "ro", no_copy=True)
    anonymous = {point.destination: point for point in own}
    points = {**anonymous, **found, **taken}
    _check_count(len(points))
    return tuple(sorted(points.values(), key=lambda point: point.destination.count("/")))


def make_missing_sources(host: HostConfig) -> None:
    """``-v /new:/x``: Docker makes the directory on the host; ``--mount`` does so only when it is told to."""
    wanted = [text.split(":")[0] for text in host.binds or ()]
    wanted += [m.source for m in host.mounts or () if m.bind_options and m.bind_options.create_mountpoint]
    for source in wanted:
        if source.startswith("/") and not os.path.lexists(source):
            try:
                os.makedirs(source, exist_ok=True)
            except OSError as error:
                reason = f"mkdir {error.filename}: {(error.strerror or str(error)).lower()}"
                raise ServerError(f"error while creating mount source path '{source}': {reason}") from error


def _tmpfs(host: HostConfig) -> Iterator[tuple[str, str]]:
    """(target, comma-separated options) of each tmpfs, from both spellings."""
    for path, options in (host.tmpfs or {}).items():
        yield target(path, path), options or ""
    for mount in host.mounts or ():
        if mount.type == "tmpfs":
            if mount.source:
                raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
            given = mount.tmpfs_options
            words = ["ro"] if mount.read_only else []
            words += [f"size={given.size_bytes}"] if given and given.size_bytes else []
            words += [f"mode={given.mode:o}"] if given and given.mode else []
            yield target(mount.target, f"--mount type=tmpfs,target={mount.target}"), ",".join(words)


def tmpfs_mounts(host: HostConfig) -> tuple[Filesystem, ...]:
    """The tmpfs mounts; nosuid, nodev and noexec unless asked otherwise, as Docker's."""
    found = []
    for path, text in _tmpfs(host):
        flags = {"nosuid", "nodev", "noexec"}
        options = []
        for word in filter(None, text.split(",")):
            if word in _TMPFS_FLAGS:
                flags.add(word)
            elif word in _TMPFS_CLEAR:
                flags.discard("ro" if word == "rw" else f"no{word}")
            elif volume_options.TMPFS_SIZES.fullmatch(word):
                options.append(word)
            else:
                raise InvalidArgument(f"invalid tmpfs option: {word!r}", "such as ro, exec, size=64m, mode=1777")
        found.append(Filesystem("tmpfs", path, tuple(sorted(flags)), tuple(options)))
    return tuple(found)


def binds(points: tuple[MountPoint, ...]) -> tuple[Bind, ...]:
    """The mount points that are directories of the host, as steps; volumes must have their sources by now."""
    return tuple(
        Bind(
            volume_options.device(p.driver_options) or p.source,
            p.destination,
            (
                "rec",
                *(() if p.rw and not volume_options.readonly(p.driver_options) else ("ro",)),
                p.propagation or "rprivate",
            ),
            p.subpath,
            shifted=p.type == "volume" and not volume_options.device(p.driver_options),
        )
        for p in points
        if not volume_options.is_tmpfs(p.driver_options)
    )


def volume_filesystems(points: tuple[MountPoint, ...]) -> tuple[Filesystem, ...]:
    """Volumes that are a file system of their own (type=tmpfs), as steps: each container gets one."""
    return tuple(
        volume_options.tmpfs(p.driver_options, p.destination, p.rw)
        for p in points
        if volume_options.is_tmpfs(p.driver_options)
    )


def shm_size(host: HostConfig) -> int:
    """Bytes of /dev/shm. Raises InvalidArgument for a negative size."""
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0", f"got {units.binary_size(host.shm_size)}")
    return host.shm_size
