"""What a container is: the data, without any verb.

``Config`` and ``HostConfig`` are what the client asked for, in Docker's two halves: the portable one and the one about
this host. Field names are Docker's in snake_case; ``codec.py`` turns them into Docker's JSON and back. ``State`` is
where the container stands; ``TRANSITIONS`` is the whole state machine.

    created ──start──▶ running ◀──unpause/pause──▶ paused
       │                  │ exit                      │ exit
       │                  ▼                           ▼
       └──────rm──────▶ exited ◀──────────────────────┘      exited ──start──▶ running
                          │ rm                               exited ──restart policy──▶ restarting ──▶ running
                          ▼
                       removing ──▶ (gone)        dead: removal failed and is tried again at the next rm

See: Docker Engine API 1.45, ContainerCreate and ContainerInspect. Read next: ``engine.py``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from minidock.engine.codec import key
from minidock.network.ports import PublishedPort


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
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None


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
    port_bindings: dict[str, tuple[PortBinding, ...]] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, ...] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
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


@dataclass(frozen=True)
class MountPoint:
    """One mount as ``inspect`` lists it, resolved: where it comes from and where it goes."""

    type: str
    source: str
    destination: str
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = key("RW", default=True)
    propagation: str = ""
    no_copy: bool = False
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


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


@dataclass(frozen=True)
class EndpointRecord:
    """A container's place in a network while it runs."""

    network: str
    network_id: str
    endpoint_id: str
    gateway: str
    address: str
    prefix: int
    mac: str
    interface: str = "eth0"


class Status(enum.Enum):
    """Docker's seven words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.RUNNING, Status.REMOVING, Status.EXITED}),
    Status.RUNNING: frozenset({Status.PAUSED, Status.EXITED, Status.RESTARTING}),
    Status.PAUSED: frozenset({Status.RUNNING, Status.EXITED, Status.RESTARTING}),
    Status.RESTARTING: frozenset({Status.RUNNING, Status.EXITED}),
    Status.EXITED: frozenset({Status.RUNNING, Status.REMOVING, Status.RESTARTING}),
    Status.REMOVING: frozenset({Status.DEAD}),
    Status.DEAD: frozenset({Status.REMOVING}),
}


@dataclass(frozen=True)
class ProbeResult:
    """What one probe of a health check said; -1 where it could not be run to its end. Times in nanoseconds."""

    start: int = 0
    end: int = 0
    exit_code: int = 0
    output: str = ""


@dataclass(frozen=True)
class Health:
    """What a container's health check has found: starting, healthy or unhealthy, and the latest results."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()


@dataclass(frozen=True)
class State:
    """Where a container stands. Times in nanoseconds since the epoch, 0 for never; pid 0 unless it runs."""

    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    restart_count: int = 0
    stopped_by_hand: bool = False
    health: Health | None = None
    started_at: int = 0
    finished_at: int = 0
    endpoints: dict[str, EndpointRecord] = field(default_factory=dict)  # by the network's name, while it runs
    networks: dict[str, EndpointWish] | None = None  # once connect or disconnect changed what create had
    ports: tuple[PublishedPort, ...] = ()  # published; written before the kernel is told
    stop_deadline: int = 0  # a stop is under way: when KILL follows; an intent that the next daemon carries on
    removes_volumes: bool = False  # its removal, once begun, takes its anonymous volumes along

    @property
    def endpoint(self) -> EndpointRecord | None:
        """The first of them."""
        return next(iter(self.endpoints.values()), None)

    @property
    def alive(self) -> bool:
        """Whether it has processes."""
        return self.status in (Status.RUNNING, Status.PAUSED)

    @property
    def up(self) -> bool:
        """Docker's Running: alive, or about to be started again by its restart policy."""
        return self.alive or self.status is Status.RESTARTING


@dataclass(frozen=True)
class Definition:
    """What was asked for, written to the database before anything else exists.

    Only ``update`` changes it, and of it the limits and the restart policy.
    """

    image_id: str
    config: Config
    host: HostConfig
    mounts: tuple[MountPoint, ...] = ()
    path: str = ""
    args: tuple[str, ...] = ()
    platform: str = "linux"
    networks: dict[str, EndpointWish] = field(default_factory=dict)


@dataclass
class Container:
    """A container as the engine holds it: definition, state, and the name, which may change."""

    id: str
    name: str
    created: int
    definition: Definition
    state: State = field(default_factory=State)

    @property
    def config(self) -> Config:
        """Short for definition.config."""
        return self.definition.config

    @property
    def host(self) -> HostConfig:
        """Short for definition.host."""
        return self.definition.host

    @property
    def networks(self) -> dict[str, EndpointWish]:
        """What it is connected to, or will be when it starts, by the network's name."""
        if self.state.networks is not None:
            return self.state.networks
        return self.definition.networks or {self.host.network_mode: EndpointWish()}
