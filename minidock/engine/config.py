"""What a client asks for when it creates a container: the data, without any verb.

``Config`` is Docker's portable half, ``HostConfig`` the half about this host, ``EndpointWish`` what it wants of a
network. Field names are Docker's in snake_case; ``codec.py`` turns them into Docker's JSON and back, and what is None
here is null there. Nothing is checked here: ``create.py`` says what is honoured and what is refused.

See: Docker Engine API 1.45, ContainerCreate. Read next: ``model.py``, what a container is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minidock.engine.codec import key, words


@dataclass(frozen=True)
class Healthcheck:
    """How Docker finds out whether a container is well. Times in nanoseconds; 0 means the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Config:
    """The portable half: what to run and how, wherever it runs. None in cmd and entrypoint means "the image's"."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] | None = words()
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = words()
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = words()


@dataclass(frozen=True)
class LogConfig:
    """Where output is kept. ``type`` is ``json-file`` or ``none``; config: ``max-size``, ``max-file``."""

    type: str = ""
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RestartPolicy:
    """``no``, ``always``, ``unless-stopped`` or ``on-failure`` with a maximum number of tries (0: no maximum)."""

    name: str = ""
    maximum_retry_count: int = 0


@dataclass(frozen=True)
class PortBinding:
    """The host's side of a published port."""

    host_ip: str = ""
    host_port: str = ""


@dataclass(frozen=True)
class Ulimit:
    """A resource limit of setrlimit(2); -1 is unlimited."""

    name: str = ""
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True)
class HugepageLimit:
    """Bytes of huge pages of one size, such as "2MB"; 0 is none, -1 no limit. OCI's: Docker has no such field."""

    page_size: str = ""
    limit: int = 0


@dataclass(frozen=True)
class DeviceMapping:
    """A device of the host that the container gets. Permissions: letters of ``rwm``."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


@dataclass(frozen=True)
class BindOptions:
    """``--mount type=bind``: propagation, and whether a missing source is made."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False


@dataclass(frozen=True)
class VolumeOptions:
    """``--mount type=volume``."""

    no_copy: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    driver_config: Any = None
    subpath: str = ""


@dataclass(frozen=True)
class TmpfsOptions:
    """``--mount type=tmpfs``: bytes (0: half of memory) and mode (0: 1777)."""

    size_bytes: int = 0
    mode: int = 0


@dataclass(frozen=True)
class Mount:
    """One ``--mount``. ``type`` is bind, volume or tmpfs."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


@dataclass(frozen=True)
class HostConfig:
    """The half about this host: mounts, network, limits, rights. Sizes in bytes; 0 and -1 as in Docker's API."""

    binds: tuple[str, ...] | None = None
    container_id_file: str = key("ContainerIDFile", default="")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, ...] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: tuple[str, ...] | None = words()
    cap_drop: tuple[str, ...] | None = words()
    cgroupns_mode: str = ""
    dns: tuple[str, ...] | None = None
    dns_options: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = key("UTSMode", default="")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[Any, ...] | None = None
    blkio_device_read_bps: tuple[Any, ...] | None = None
    blkio_device_write_bps: tuple[Any, ...] | None = None
    blkio_device_read_iops: tuple[Any, ...] | None = key("BlkioDeviceReadIOps", default=None)
    blkio_device_write_iops: tuple[Any, ...] | None = key("BlkioDeviceWriteIOps", default=None)
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] | None = None
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[Any, ...] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = key("IOMaximumIOps", default=0)
    io_maximum_bandwidth: int = key("IOMaximumBandwidth", default=0)
    mounts: tuple[Mount, ...] | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None
    hugepage_limits: tuple[HugepageLimit, ...] | None = None


@dataclass(frozen=True)
class AddressWish:
    """The addresses that an endpoint is to have."""

    ipv4_address: str = key("IPv4Address", default="")
    ipv6_address: str = key("IPv6Address", default="")
    link_local_ips: tuple[str, ...] | None = key("LinkLocalIPs", default=None)


@dataclass(frozen=True)
class EndpointWish:
    """How a container is to be connected to a network: Docker's EndpointSettings, as far as they can be wished."""

    ipam_config: AddressWish | None = key("IPAMConfig", default=None)
    links: tuple[str, ...] | None = None
    aliases: tuple[str, ...] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
