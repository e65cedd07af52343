"""What the engine wants to run, in the words of the OCI runtime specification, resolved to the last detail.

Names follow config.json of the OCI runtime spec (process, root, mounts, linux), so that a config.json can become a
``Spec`` without translation in thought. Nothing is left to be looked up: users are numbers, capabilities are masks, the
seccomp profile is a filter, namespaces to join are fds. ``plan.py`` needs nothing else.

Beyond OCI's words: the rootfs may be an overlay yet to be mounted, and ``Supervision`` says what the monitor keeps
(log, stdio), since with us the monitor is part of the runtime.
See: https://github.com/opencontainers/runtime-spec/blob/main/config.md and config-linux.md
"""

from __future__ import annotations

from dataclasses import dataclass, field

from minidock.runtime.devices import DeviceNode, DeviceRule


@dataclass(frozen=True)
class User:
    """process.user: numbers only; the primary gid is always among ``groups`` (CVE-2022-36109)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rlimit:
    """process.rlimits: ``name`` as in setrlimit(2) without RLIMIT_, lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True)
class Process:
    """process: what is executed and as whom. ``seccomp`` is a filter (struct sock_filter[]), empty for unconfined.

    ``raised``: those of ``rlimits`` that are above the daemon's own, which only root of the host may set.
    ``apparmor``: a profile that is loaded, by name; empty for none.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    capabilities: frozenset[str] = frozenset()
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    raised: tuple[Rlimit, ...] = ()
    oom_score_adj: int = 0
    seccomp: bytes = b""
    apparmor: str = ""
    init: bool = False


@dataclass(frozen=True)
class Overlay:
    """root: layers to be mounted by overlayfs. ``lowers`` are relative to ``base``, top first."""

    target: str
    base: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    volatile: bool = False


@dataclass(frozen=True)
class Directory:
    """root: a directory that is there already, as in an OCI bundle."""

    path: str


@dataclass(frozen=True)
class Filesystem:
    """mounts: a file system made for this container: proc, tmpfs, …"""

    fstype: str
    target: str
    flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bind:
    """mounts: a file or directory of the host. Flags: ro, rec, and one of the propagation words.

    ``below``: what in the source is meant, resolved as if the source were the root; "" for all of it. ``shifted``: its
    owners are numbers of the user namespace, if there is one, as those of the layers are; else they are the host's.
    """

    source: str
    target: str
    flags: tuple[str, ...] = ()
    below: str = ""
    shifted: bool = False


@dataclass(frozen=True)
class Borrowed:
    """A mount of a container that runs, at the same place; ``fd``: the index of its pidfd among those of the spawn."""

    fd: int
    target: str


@dataclass(frozen=True)
class Namespaces:
    """linux.namespaces: which are made anew, and which are joined through an fd given at spawn (its index).

    ``pid_donor``: the fd of the container whose pid namespace is joined; only the child's children can be moved there.
    ``user``: the fd of the user namespace that all others belong to; None for the host's.
    """

    new: tuple[str, ...] = ("mnt", "pid", "uts", "ipc")
    own_cgroup: bool = True
    join: tuple[tuple[int, str], ...] = ()
    pid_donor: int | None = None
    user: int | None = None


@dataclass(frozen=True)
class Supervision:
    """What the monitor keeps for the process. Empty ``log_path``: no log. ``stdin`` is none, open or once.

    ``owner``: user and group of the pipes, where that is not the host's root.
    """

    cgroup: str = ""
    terminal: bool = False
    stdin: str = "none"
    rows: int = 0
    columns: int = 0
    log_path: str = ""
    log_max_size: int = 0
    log_max_files: int = 1
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Spec:
    """A container to be started."""

    process: Process
    root: Overlay | Directory
    ident: str = ""
    supervision: Supervision = Supervision()
    readonly_root: bool = False
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Filesystem | Bind | Borrowed, ...] = ()
    namespaces: Namespaces = Namespaces()
    devices: tuple[DeviceNode, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    device_rules: tuple[DeviceRule, ...] | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecSpec:
    """A further process for a container that runs; fd 0 of the spawn is the container's pidfd."""

    process: Process
    ident: str = ""
    supervision: Supervision = Supervision()
    namespaces: tuple[str, ...] = ("mnt", "net", "ipc", "uts", "cgroup")
