"""What a container is: the data, without any verb.

``Definition`` is what was asked for (config.py) as it was resolved, ``State`` is where the container stands;
``TRANSITIONS`` is the whole state machine.

    created ──start──▶ running ◀──unpause/pause──▶ paused
       │                  │ exit                      │ exit
       │                  ▼                           ▼
       └──────rm──────▶ exited ◀──────────────────────┘      exited ──start──▶ running
                          │ rm                               exited ──restart policy──▶ restarting ──▶ running
                          ▼
                       removing ──▶ (gone)        one that fails stays so, and the next rm goes on with it

See: Docker Engine API 1.45, ContainerInspect. Read next: ``config.py``, ``engine.py``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from minidock.engine.codec import key
from minidock.engine.config import Config, EndpointWish, HostConfig
from minidock.network.ports import PublishedPort
from minidock.wire import names


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
    subpath: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


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
    gateway6: str = ""  # of a network with IPv6, as the two that follow
    address6: str = ""
    prefix6: int = 0

    @property
    def addresses(self) -> list[str]:
        """Both, or the one that it has."""
        return [self.address, self.address6] if self.address6 else [self.address]


class Status(enum.Enum):
    """Docker's seven words; no container is ever ``dead`` here, but clients filter by it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.RUNNING, Status.REMOVING}),
    Status.RUNNING: frozenset({Status.PAUSED, Status.EXITED, Status.RESTARTING}),
    Status.PAUSED: frozenset({Status.RUNNING, Status.EXITED, Status.RESTARTING}),
    Status.RESTARTING: frozenset({Status.RUNNING, Status.EXITED}),
    Status.EXITED: frozenset({Status.RUNNING, Status.REMOVING, Status.RESTARTING}),
    Status.REMOVING: frozenset(),
    Status.DEAD: frozenset(),
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
    build: str = ""  # the build that it is a step of: it ends with it

    def wanted_at_boot(self, state: State) -> bool:
        """Whether a container that stands so, and does not run, is to run because the daemon has started."""
        policy = self.host.restart_policy.name
        if not state.started_at:
            return False
        return policy == "always" or (policy == "unless-stopped" and not state.stopped_by_hand)


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
    def shown(self) -> str:
        """For log lines."""
        return f"{names.short_id(self.id)} ({self.name})"

    @property
    def networks(self) -> dict[str, EndpointWish]:
        """What it is connected to, or will be when it starts, by the network's name."""
        if self.state.networks is not None:
            return self.state.networks
        return self.definition.networks or {self.host.network_mode: EndpointWish()}
