"""Creating a container: the request checked, merged with its image, and written down. No process exists yet.

Order: everything that can be refused is refused first, then the intent (the database row) is written, then the
directories are made. A failure in between is undone, last thing first.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

from minidock.cgroup.limits import Limits
from minidock.cgroup.tree import CgroupTree
from minidock.db import sync
from minidock.engine import (
    health,
    meaningless,
    mounts,
    namespaces,
    remap,
    restarts,
    rights,
    throttles,
    users,
    volume_options,
)
from minidock.engine.config import Config, HostConfig, LogConfig
from minidock.engine.containers import Containers
from minidock.engine.model import Container, Definition, MountPoint
from minidock.engine.networking import ports, wishes
from minidock.engine.networking.networks import Networks
from minidock.engine.parts import Parts
from minidock.engine.requests import CreateRequest
from minidock.engine.volumes import Volumes
from minidock.image.manifest import fits, host_platform, runs_here
from minidock.image.model import Image, ImageConfig
from minidock.image.store import ImageStore
from minidock.wire import names, signals, times, units
from minidock.wire.errors import Conflict, InvalidArgument, NotFound

_LAST_MADE = "rootfs"
_LOG_OPTIONS = ("max-size", "max-file")


def settled(
    request: CreateRequest, image: Image, ident: str, parts: Parts, networks: Networks
) -> tuple[Definition, list[str]]:
    """The request with its names looked up, as a checked definition; and the warnings. Nothing is made."""
    request = namespaces.settle(request, parts.containers)
    request, wished = wishes.settle(request, networks, parts.containers)
    found = dataclasses.replace(definition(request, image, ident), networks=wished)
    parent = found.host.cgroup_parent or parts.settings.cgroup_parent
    found = dataclasses.replace(found, host=dataclasses.replace(found.host, cgroup_parent=parent))
    remap.check(found.host, parts.settings.remap)
    return found, [*_other_machine(request, image), *warnings(parts.cgroups, request.host, found)]


def image_of(images: ImageStore, request: CreateRequest) -> Image:
    """What it is made of. NotFound, which has clients pull, also if the one here is for other machines."""
    found = images.resolve(request.config.image)
    actual = found.architecture or host_platform().architecture
    if not fits(request.platform, actual):
        raise NotFound(
            f"image with reference {request.config.image} was found but does not match the specified platform: "
            f"wanted {request.platform}, actual: linux/{actual}"
        )
    return found


def _other_machine(request: CreateRequest, image: Image) -> list[str]:
    """A warning where the image is for other processors and nobody asked for them: its programs may not start."""
    if request.platform or not image.architecture or runs_here(image.architecture):
        return []
    its = "/".join(filter(None, (image.os, image.architecture, image.variant)))
    told = f"The requested image's platform ({its}) does not match the detected host platform ({host_platform()})"
    return [f"{told} and no specific platform was requested"]


def definition(request: CreateRequest, image: Image, ident: str) -> Definition:
    """The request, checked and merged with the image's config. Raises InvalidArgument, NotImplemented."""
    host = _normal_host(request.host)
    config = merge(request.config, image.config)
    config = dataclasses.replace(config, hostname=config.hostname or _default_hostname(host, ident))
    _check_config(config)
    check_host(host)
    namespaces.check(request.config, host)
    ports.check(config, host)
    command = [*(config.entrypoint or ()), *(config.cmd or ())]
    if not command or not command[0]:
        raise InvalidArgument("No command specified", "give one after the image's name")
    points = mounts.resolve(config, host)
    return Definition(image.id, config, host, points, command[0], tuple(command[1:]), build=request.build)


def _default_hostname(host: HostConfig, ident: str) -> str:
    return os.uname().nodename if "host" in (host.network_mode, host.uts_mode) else names.short_id(ident)


def _normal_host(host: HostConfig) -> HostConfig:
    """Docker's ways to say "the default", each turned into what it means."""
    host, _ = meaningless.discard(host)
    return dataclasses.replace(
        host,
        network_mode="bridge" if host.network_mode in ("", "default") else host.network_mode,
        pids_limit=host.pids_limit or None,
        shm_size=host.shm_size or 64 << 20,
        log_config=LogConfig(host.log_config.type or "json-file", host.log_config.config or {}),
        cgroupns_mode=host.cgroupns_mode or "private",
        ipc_mode=host.ipc_mode or "private",
        runtime=host.runtime or "minidock",
    )


def merge(config: Config, image: ImageConfig) -> Config:
    """The container's config, what it leaves open filled in from the image's.

    An entrypoint of one's own discards the image's command too; ``[""]`` means "no entrypoint" (both Docker's rules).
    """
    entrypoint, command = config.entrypoint, config.cmd
    if not entrypoint:
        if not command:
            command = image.cmd or None
        if entrypoint is None:
            entrypoint = image.entrypoint or None
    elif entrypoint == ("",):
        entrypoint = None
    return dataclasses.replace(
        config,
        entrypoint=entrypoint,
        cmd=command,
        env=_merge_env(image.env, config.env),
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        labels={**image.labels, **config.labels},
        volumes={path: {} for path in [*image.volumes, *(config.volumes or {})]} or None,
        exposed_ports={port: {} for port in [*image.exposed_ports, *(config.exposed_ports or {})]} or None,
        healthcheck=health.merge(config.healthcheck, image),
        stop_signal=config.stop_signal or image.stop_signal,
        shell=config.shell or image.shell or None,
    )


def _merge_env(image: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """The image's variables, overridden by name. ``NAME`` without "=" takes one away."""
    merged: dict[str, str | None] = {}
    for entry in (*image, *own):
        name, assigned, _ = entry.partition("=")
        if not name or not name.isprintable():
            raise InvalidArgument(f"invalid environment variable: {entry!r}", "write NAME=VALUE")
        merged[name] = entry if assigned else None
    return tuple(entry for entry in merged.values() if entry is not None)


def _check_config(config: Config) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    if config.stop_signal:
        signals.number(config.stop_signal)
    if config.stop_timeout is not None and config.stop_timeout < -1:
        raise InvalidArgument(f"invalid stop timeout: {config.stop_timeout}", "seconds, or -1 to wait for ever")
    if len(config.hostname) > 63 or not all(c.isascii() and (c.isalnum() or c in "-.") for c in config.hostname):
        raise InvalidArgument(f"invalid hostname: {config.hostname!r}", "letters, digits, dots and dashes, 63 at most")
    users.check_syntax(config.user)
    health.check(config.healthcheck)


def check_host(host: HostConfig) -> None:
    """Raises InvalidArgument for what can't be, NotImplemented for what minidock has not."""
    meaningless.check(host)
    for entry in host.extra_hosts or ():
        _check_extra_host(entry)
    restarts.check(host.restart_policy, host.auto_remove)
    _check_log(host.log_config)
    rights.check(host)
    mounts.shm_size(host)
    mounts.tmpfs_mounts(host)


def _check_extra_host(entry: str) -> None:
    name, colon, address = entry.partition(":")
    if not (name and colon):
        raise InvalidArgument(f'bad format for add-host: "{entry}"')
    try:
        if address != "host-gateway":
            ip_address(address)
    except ValueError:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None


def _check_log(log: LogConfig) -> None:
    if log.type not in ("json-file", "none"):
        raise InvalidArgument(f"logger: no log driver named '{log.type}' is registered", "one of json-file, none")
    for name in log.config:
        if log.type == "none" or name not in _LOG_OPTIONS:
            raise InvalidArgument(
                f"unknown log opt '{name}' for {log.type} log driver", f"one of {', '.join(_LOG_OPTIONS)}"
            )
    log_bounds(log)


def log_bounds(log: LogConfig) -> tuple[int, int]:
    """(bytes a file, files); 0 bytes means no bound. Raises InvalidArgument."""
    size = units.parse_bytes(log.config["max-size"]) if log.config.get("max-size") not in (None, "-1") else 0
    files = log.config.get("max-file", "1")
    if not files.isascii() or not files.isdigit() or not 1 <= int(files[:4]) <= 1000:
        raise InvalidArgument(f"invalid max-file: {files!r}", "a number from 1 to 1000")
    if int(files) > 1 and not size:
        raise InvalidArgument("max-file > 1 without max-size", "give --log-opt max-size=10m too")
    return size, int(files)


def limits(host: HostConfig) -> Limits:
    """What the cgroup is to enforce; 0 in Docker's API means "not set"."""
    return Limits(
        memory=host.memory or None,
        io_weight=host.blkio_weight or None,
        io_weights=throttles.io_weights(host),
        io_max=throttles.io_max(host),
        memory_swap=host.memory_swap or None,
        memory_reservation=host.memory_reservation or None,
        nano_cpus=host.nano_cpus or None,
        cpu_shares=host.cpu_shares or None,
        cpu_period=host.cpu_period or None,
        cpu_quota=host.cpu_quota or None,
        cpuset_cpus=host.cpuset_cpus or None,
        cpuset_mems=host.cpuset_mems or None,
        pids_limit=host.pids_limit or None,
        hugepages=tuple((one.page_size, one.limit) for one in host.hugepage_limits or ()),
    )


def warnings(cgroups: CgroupTree, asked: HostConfig, wanted: Definition) -> list[str]:
    """What of the request can't be had on this machine, or has no meaning here."""
    _, discarded = meaningless.discard(asked)
    told = cgroups.check(limits(wanted.host), wanted.host.cgroup_parent)
    return [*discarded, *told, *ports.check(wanted.config, wanted.host)]


def write(
    containers: Containers, volumes: Volumes, directory: Path, ident: str, name: str, wanted: Definition
) -> Container:
    """The intent into the database, then the directories and volumes. All of it or nothing."""
    with ExitStack() as undo:
        mounts.make_missing_sources(wanted.host)
        points, made = [], []
        for point in wanted.mounts:
            if point.type == "volume":
                if not point.name:
                    point = dataclasses.replace(point, name=os.urandom(32).hex())
                    made.append(point.name)
                options = volumes.options(point.name, point.driver_options)
                if point.subpath and volume_options.is_tmpfs(options):
                    raise InvalidArgument(f"volume subpath {point.subpath!r}: {point.name} is a tmpfs, empty each time")
                point = dataclasses.replace(point, source=volumes.mountpoint(point.name), driver_options=options)
            points.append(point)
        undo.callback(volumes.remove_anonymous, made)
        container = _add(containers, ident, name, dataclasses.replace(wanted, mounts=tuple(points)))
        undo.callback(containers.forget, container)
        for point in points:
            if point.type == "volume":
                volumes.create(point.name, point.labels, point.name in made, point.driver_options)
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        _make_directories(directory)
        undo.pop_all()
        return container


def _add(containers: Containers, ident: str, name: str, wanted: Definition) -> Container:
    """A chosen name must be free; a random one is drawn until it is."""
    while True:
        container = Container(ident, name or names.random_name(), times.now(), wanted)
        try:
            containers.add(container)
        except Conflict:
            if name:
                raise
            continue
        return container


def _make_directories(directory: Path) -> None:
    directory.mkdir(mode=0o710)
    (directory / "upper").mkdir(mode=0o755)
    (directory / "upper/.dockerenv").touch(mode=0o755)  # by which programs tell that they are in a container
    for part in ("work", _LAST_MADE):
        (directory / part).mkdir(mode=0o700)


def settle(directory: Path) -> None:
    """Returns when the directories would survive a power cut, as the row does: then the client may be told."""
    for path in (directory / "upper", directory, directory.parent):
        sync(path)


def half_made(directory: Path) -> bool:
    """Whether a creation was cut short: its client was never told of the container."""
    return not (directory / _LAST_MADE).is_dir()


def anonymous(points: tuple[MountPoint, ...]) -> list[str]:
    """The names of volumes among mount points; ``remove_anonymous`` leaves the named ones alone."""
    return [point.name for point in points if point.type == "volume"]
