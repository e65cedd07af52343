"""A container's definition → the runtime spec that starts it, everything looked up and resolved.

What Docker would have the container see: its environment, its user, the mounts and devices of every container, its own
hosts, hostname and resolv.conf. Read next: runtime/plan.py, which turns the spec into kernel steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from minidock.engine import create, mounts, namespaces, rights, users
from minidock.engine.config import Config, HostConfig
from minidock.engine.model import Container, EndpointRecord
from minidock.engine.networking.names import named, resolv_conf
from minidock.engine.requests import ExecRequest
from minidock.engine.settings import Settings
from minidock.engine.trash import delete_tree
from minidock.image.model import Image
from minidock.image.store import ImageStore
from minidock.linux.idmap import IdMap
from minidock.network import etc
from minidock.runtime import paths
from minidock.runtime.devices import DEFAULT_LINKS
from minidock.runtime.spec import (
    Bind,
    Borrowed,
    ExecSpec,
    Filesystem,
    Overlay,
    Process,
    Spec,
    Supervision,
    User,
)
from minidock.wire.errors import Unavailable

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GENERATED = (("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"))


@dataclass(frozen=True)
class Place:
    """Where this start happens: paths and cgroup, whether the network namespace comes as fd 0, and the maps of the user
    namespace, whose fd is the last one."""

    settings: Settings
    images: ImageStore
    cgroup: Path
    accounts: users.Accounts
    joins_network: bool
    linked: tuple[str, ...] = ()  # variables of containers that it is linked to
    ids: IdMap | None = None


def log_path(settings: Settings, container: Container) -> Path:
    """Docker's name for a container's json-file log."""
    return settings.container_directory(container.id) / f"{container.id}-json.log"


def container_spec(container: Container, image: Image, place: Place) -> Spec:
    """The spec of a start. Raises for what can't be resolved: an unknown user, a device that is gone."""
    config, host = container.config, container.host
    directory = place.settings.container_directory(container.id)
    root = _overlay(container, image, place, directory)
    granted = rights.granted(host)
    nodes, rules = rights.device_access(host)
    return Spec(
        process=_process(container, root, place, granted),
        root=root,
        ident=container.id,
        supervision=_supervision(container, place),
        readonly_root=host.readonly_rootfs,
        hostname="" if host.uts_mode == "host" else config.hostname,
        domainname="" if host.uts_mode == "host" else config.domainname,
        mounts=(*_system_mounts(container, place), *_mounts(container, directory)),
        namespaces=namespaces.of(host, place.joins_network, place.ids is not None),
        devices=nodes,
        links=DEFAULT_LINKS,
        device_rules=None if host.privileged else rules,
        masked_paths=() if host.privileged else _or(host.masked_paths, paths.masked_paths()),
        readonly_paths=() if host.privileged else _or(host.readonly_paths, paths.READONLY_PATHS),
        sysctl=rights.sysctls(host, place.ids.last_gid if place.ids else rights.LAST_GID),
    )


def _or(chosen: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if chosen is None else chosen


def _overlay(container: Container, image: Image, place: Place, directory: Path) -> Overlay:
    return Overlay(
        target=str(directory / "rootfs"),
        base=str(place.images.layers_dir),
        lowers=tuple(place.images.lowers(image)),
        upper=str(directory / "upper"),
        work=str(directory / "work"),
        # Without its syncs an overlay is quicker to take down, and unsafe after a power cut, which --rm won't outlive.
        volatile=container.host.auto_remove,
    )


def _supervision(container: Container, place: Place) -> Supervision:
    config, host = container.config, container.host
    rows, columns = (*host.console_size, 0, 0)[:2]
    size, files = create.log_bounds(host.log_config)
    return Supervision(
        cgroup=str(place.cgroup),
        terminal=config.tty,
        stdin="none" if not config.open_stdin else "once" if config.stdin_once else "open",
        rows=_size(rows),
        columns=_size(columns),
        log_path="" if host.log_config.type == "none" else str(log_path(place.settings, container)),
        log_max_size=size,
        log_max_files=files,
        owner=place.ids.root if place.ids else None,
    )


def _size(value: int) -> int:
    return value if 0 <= value < 65536 else 0


def _process(container: Container, root: Overlay, place: Place, granted: frozenset[str]) -> Process:
    config, host = container.config, container.host
    account = place.accounts.find(root, config.user, host.group_add or ())
    return replace(
        _confined(host, place, account.user, granted),
        args=(container.definition.path, *container.definition.args),
        env=environment(config, account.home, linked=place.linked),
        cwd=config.working_dir or "/",
        seccomp=rights.seccomp_filter(host, granted, place.settings.data_root / "seccomp"),
        init=bool(host.init),
    )


def _confined(host: HostConfig, place: Place, user: User, granted: frozenset[str]) -> Process:
    """What holds for each process of a container, its first and those of exec. Raises for a user that is not mapped."""
    if place.ids:
        for gid in (user.gid, *user.groups):
            place.ids.to_host(user.uid, gid)
    limits = rights.rlimits(host)
    return Process(
        args=(),
        user=user,
        capabilities=granted,
        no_new_privileges=rights.no_new_privileges(host, place.settings.no_new_privileges),
        rlimits=limits,
        raised=rights.above_our_own(limits) if place.ids else (),
        oom_score_adj=host.oom_score_adj,
        apparmor=rights.confinement(host),
    )


def environment(config: Config, home: str, more: tuple[str, ...] = (), linked: tuple[str, ...] = ()) -> tuple[str, ...]:
    """PATH, HOSTNAME, TERM, links, what was asked for, and HOME at the end unless something set it. Later ones win."""
    entries = [DEFAULT_PATH, f"HOSTNAME={config.hostname}"]
    if config.tty:
        entries.append("TERM=xterm")
    merged = {entry.partition("=")[0]: entry for entry in (*entries, *linked, *config.env, *more)}
    merged.setdefault("HOME", f"HOME={home}")
    return tuple(merged.values())


def _system_mounts(container: Container, place: Place) -> Iterator[Filesystem | Borrowed | Bind]:
    """/proc, /dev, /sys and their like; /dev/shm is one's own, another container's, the host's (a bind), or none.

    In a user namespace the host's whole cgroup tree (``--cgroupns host``) can't be mounted once more, only bound.
    """
    host, own = container.host, {point.destination for point in container.definition.mounts}
    donor = namespaces.ipc_donor(host, place.joins_network)
    for mount in paths.default_mounts(mounts.shm_size(host), host.privileged):
        if mount.target in own:
            continue
        if mount.fstype == "cgroup2" and place.ids and host.cgroupns_mode == "host":
            top = next(path for path in place.cgroup.parents if path.is_mount())
            yield Bind(str(top), mount.target, (*mount.flags, "rprivate"))
        elif mount.target != "/dev/shm" or host.ipc_mode in ("private", "shareable"):
            yield Filesystem(mount.fstype, mount.target, mount.flags, mount.options)
        elif donor is not None:
            yield Borrowed(donor, mount.target)


def _mounts(container: Container, directory: Path) -> tuple[Filesystem | Bind, ...]:
    host = container.host
    own = {point.destination for point in container.definition.mounts}
    shared = host.network_mode.removeprefix("container:")
    files = directory if shared == host.network_mode else directory.parent / shared
    generated = tuple(
        Bind(str(files / name), target, ("rprivate",), shifted=True) for name, target in _GENERATED if target not in own
    )
    if host.ipc_mode == "host" and "/dev/shm" not in own:
        generated += (Bind("/dev/shm", "/dev/shm", ("rprivate",)),)
    return (
        *mounts.tmpfs_mounts(host),
        *mounts.volume_filesystems(container.definition.mounts),
        *generated,
        *mounts.binds(container.definition.mounts),
    )


def bind_mounts(container: Container, directory: Path) -> tuple[Bind, ...]:
    """What of the host a start mounts into the container: its volumes, its binds, its files in /etc."""
    return tuple(mount for mount in _mounts(container, directory) if isinstance(mount, Bind))


def write_etc_files(
    container: Container,
    directory: Path,
    endpoints: dict[str, EndpointRecord],
    host_gateway: str,
    linked: Iterable[tuple[str, str]] = (),
) -> None:
    """hosts, hostname and resolv.conf, anew at each start, since the address may be another. A container that shares
    another's network shares its files, too (_mounts).
    """
    config, host = container.config, container.host
    if host.network_mode == "host":
        hosts = _host_file("/etc/hosts") or etc.render_hosts(config.hostname)
        resolv = _host_file("/etc/resolv.conf")
    else:
        extra = [_host_gateway(entry, host_gateway) for entry in host.extra_hosts or ()]
        addresses = [address for endpoint in endpoints.values() for address in endpoint.addresses]
        hosts = etc.render_hosts(config.hostname, addresses, extra, config.domainname, linked)
        resolv = ""
    if host.network_mode != "host" or host.dns or host.dns_search or host.dns_options:
        resolv = resolv_conf(host, named(endpoints), any(endpoint.address6 for endpoint in endpoints.values()))
    for name, text in (("hosts", hosts), ("hostname", etc.render_hostname(config.hostname)), ("resolv.conf", resolv)):
        path = directory / name
        path.write_text(text, errors="surrogateescape")
        path.chmod(0o644)


def _host_file(path: str) -> str:
    """What the host has there, whatever its encoding; empty if nothing."""
    return Path(path).read_text(errors="surrogateescape") if os.path.exists(path) else ""


def _host_gateway(entry: str, address: str) -> str:
    name, _, wanted = entry.partition(":")
    if wanted != "host-gateway":
        return entry
    if not address:
        raise Unavailable(f"--add-host {entry}: there is no bridge, so no address of the host", "give an address")
    return f"{name}:{address}"


def exec_spec(
    container: Container, request: ExecRequest, tty: bool, size: tuple[int, ...] | None, root: int, place: Place
) -> ExecSpec:
    """The spec of an exec. ``root`` is an fd of the container's root directory, to look the user up in."""
    host = container.host
    account = users.resolve(root, request.user or container.config.user, host.group_add or ())
    granted = rights.everything() if request.privileged else rights.granted(host)
    filters = place.settings.data_root / "seccomp"
    rows, columns = (*(size or ()), 0, 0)[:2]
    process = replace(
        _confined(host, place, account.user, granted),
        args=request.cmd,
        env=environment(container.config, account.home, _with_term(request.env, tty), place.linked),
        cwd=request.working_dir or container.config.working_dir or "/",
        seccomp=b"" if request.privileged else rights.seccomp_filter(host, granted, filters),
    )
    supervision = Supervision(
        cgroup=str(place.cgroup),
        terminal=tty,
        stdin="once" if request.attach_stdin else "none",
        rows=_size(rows),
        columns=_size(columns),
        owner=place.ids.root if place.ids else None,
    )
    joined = (("user",) if place.ids else ()) + ExecSpec.namespaces
    return ExecSpec(process, container.id, supervision, joined)


def _with_term(env: tuple[str, ...], tty: bool) -> tuple[str, ...]:
    return ("TERM=xterm", *env) if tty else env


def forget_volatile(directory: Path) -> None:
    """A volatile overlay marks its work directory so that it is not mounted again after a crash; a restart may."""
    with suppress(FileNotFoundError):
        delete_tree(directory / "work/work/incompat/volatile")
