"""What a container may do, from HostConfig: capabilities, seccomp, AppArmor, no_new_privs, devices, limits, sysctls.

``check`` refuses at create what can't be granted, so that a start does not fail for it; the other functions give the
start what it needs. The lists and rules themselves are runtime's.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from minidock.engine.config import HostConfig
from minidock.linux import apparmor
from minidock.runtime import capabilities, devices
from minidock.runtime.devices import DeviceNode, DeviceRule
from minidock.runtime.seccomp import SeccompProfile, compile_profile
from minidock.runtime.spec import Rlimit
from minidock.wire.devices import DeviceMapping, check_mapping
from minidock.wire.errors import Error, InvalidArgument

_SYSCTL = re.compile(r"[a-z0-9_]+(\.[a-zA-Z0-9_*/-]+)+", re.ASCII)
_SYSCTL_ALLOWED = ("net.", "fs.mqueue.")
_SYSCTL_KERNEL = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
                  "kernel.shmmni", "kernel.shm_rmid_forced")  # fmt: skip
_APPARMOR_HINT = "unconfined, or one that aa-status lists"
_RLIMIT_LOCKS = 10  # the one that Python has no name for
_RLIMITS = (
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
).split()


def check(host: HostConfig) -> None:
    """Raises InvalidArgument or NotImplemented for rights that can't be given."""
    granted(host)
    no_new_privileges(host)
    seccomp_profile(host)
    _check_apparmor(host)
    rlimits(host)
    sysctls(host)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    for device in host.devices or ():
        _mapping(device.path_on_host, device.path_in_container, device.cgroup_permissions)
    for rule in host.device_cgroup_rules or ():
        devices.parse_rule(rule)


def granted(host: HostConfig) -> frozenset[str]:
    """The capabilities, by Docker's rules."""
    return capabilities.tweak(host.cap_add or (), host.cap_drop or (), host.privileged)


def everything() -> frozenset[str]:
    """``--privileged``: all that the daemon has itself."""
    return capabilities.own_bounding()


def _options(host: HostConfig) -> Iterator[tuple[str, str]]:
    """--security-opt as (name, value); both ``name=value`` and the older ``name:value``."""
    for option in host.security_opt or ():
        name, separator, value = option.partition("=" if "=" in option else ":")
        yield name, value if separator else "true"


def no_new_privileges(host: HostConfig, otherwise: bool = False) -> bool:
    """What ``--security-opt no-new-privileges`` says, ``otherwise`` where it is not given.

    Raises InvalidArgument for an unknown option. ``label`` is for SELinux: without it Docker passes it over, too.
    """
    wanted = otherwise
    for name, value in _options(host):
        if name == "no-new-privileges":
            if value not in ("true", "false"):
                raise InvalidArgument(f"invalid --security-opt: no-new-privileges={value}", "true or false")
            wanted = value == "true"
        elif name not in ("apparmor", "seccomp", "label"):
            raise InvalidArgument(f"invalid --security-opt: {name!r}", "one of apparmor, no-new-privileges, seccomp")
    return wanted


def apparmor_profile(host: HostConfig) -> str:
    """The name of the AppArmor profile, ``unconfined`` included; empty on a host that has none to give.

    As with Docker the default needs a kernel with AppArmor and the program that loads it, and exec has what its
    container has, ``exec --privileged`` too.
    """
    chosen = _chosen_apparmor(host)
    if not apparmor.enabled() or not (chosen or host.privileged or apparmor.parser()):
        return ""
    return chosen or (apparmor.UNCONFINED if host.privileged else apparmor.DEFAULT)


def _chosen_apparmor(host: HostConfig) -> str:
    return ([""] + [value for name, value in _options(host) if name == "apparmor"])[-1]


def _check_apparmor(host: HostConfig) -> None:
    """Raises InvalidArgument for a profile that was asked for and that the host lacks; Docker runs without it."""
    chosen = _chosen_apparmor(host)
    if chosen in ("", apparmor.UNCONFINED):
        return
    if not apparmor.enabled():
        raise InvalidArgument(f"--security-opt apparmor={chosen}: this kernel has no AppArmor", _APPARMOR_HINT)
    if chosen not in apparmor.loaded() and not (chosen == apparmor.DEFAULT and apparmor.parser()):
        raise InvalidArgument(f"--security-opt apparmor={chosen}: no such profile is loaded", _APPARMOR_HINT)


def confinement(host: HostConfig) -> str:
    """What a start asks the kernel for: the profile, empty for unconfined. Our own is loaded if it has gone.

    Somebody may have unloaded it (aa-teardown, an upgrade of the apparmor package). Raises Unavailable.
    """
    _check_apparmor(host)
    profile = apparmor_profile(host)
    if profile == apparmor.DEFAULT and profile not in apparmor.loaded():
        apparmor.load_default()
    return "" if profile == apparmor.UNCONFINED else profile


def seccomp_profile(host: HostConfig) -> SeccompProfile | None:
    """The profile; None for unconfined. The docker CLI sends a profile's text, not its path."""
    chosen = [value for name, value in _options(host) if name == "seccomp"]
    if host.privileged and not chosen:
        return None
    if not chosen or chosen[-1] in ("builtin", "default"):
        return SeccompProfile.load(None)
    if chosen[-1] == "unconfined":
        return None
    return SeccompProfile.parse(chosen[-1])


def seccomp_filter(host: HostConfig, granted: frozenset[str], cache: Path) -> bytes:
    """The filter to load, empty for unconfined."""
    profile = seccomp_profile(host)
    return compile_profile(profile, granted, cache) if profile else b""


def prepare(cache: Path) -> None:
    """Compiles the default filter and loads the default AppArmor profile, of this version, so that the first start need
    not. What fails is told by a start that needs it."""
    with suppress(Error, OSError):
        compile_profile(SeccompProfile.load(None), capabilities.DEFAULT, cache)
    with suppress(Error, OSError):
        if apparmor.enabled():
            apparmor.load_default()


def rlimits(host: HostConfig) -> tuple[Rlimit, ...]:
    """--ulimit."""
    for limit in host.ulimits or ():
        if limit.name not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}", f"one of {', '.join(_RLIMITS)}")
        if limit.hard >= 0 and (limit.soft > limit.hard or limit.soft < 0):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
    return tuple(Rlimit(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ())


def above_our_own(limits: tuple[Rlimit, ...]) -> tuple[Rlimit, ...]:
    """Those that a process of ours can only have if the host's root raises its bound first."""
    found = []
    for limit in limits:
        _, ours = resource.getrlimit(getattr(resource, f"RLIMIT_{limit.name.upper()}", _RLIMIT_LOCKS))
        if ours != resource.RLIM_INFINITY and not 0 <= limit.hard <= ours:
            found.append(limit)
    return tuple(found)


LAST_GID = (1 << 31) - 1


def _network_defaults(last_gid: int) -> dict[str, str]:
    """Docker's: in a network of its own a container may use any port and ping(8) without a capability."""
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last_gid}"}


def sysctls(host: HostConfig, last_gid: int = LAST_GID) -> dict[str, str]:
    """--sysctl, only names that belong to the container's own namespaces (CVE-2022-0811 is what else can happen).

    ``last_gid``: the largest group that there is in the container; the kernel refuses a larger one.
    """
    for name, value in (host.sysctls or {}).items():
        allowed = name.startswith(_SYSCTL_ALLOWED) or name in _SYSCTL_KERNEL
        if not _SYSCTL.fullmatch(name) or ".." in name or not allowed:
            raise InvalidArgument(
                f"sysctl '{name}' is not allowed", "net.*, fs.mqueue.* and kernel.{msg*,sem,shm*} are"
            )
        if name.startswith("net.") and host.network_mode == "host":
            raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
        if "\n" in value or len(value) > 4096:
            raise InvalidArgument(f"invalid value for sysctl '{name}': one line of text")
    return {**({} if host.network_mode == "host" else _network_defaults(last_gid)), **(host.sysctls or {})}


def _mapping(source: str, target: str, access: str) -> DeviceMapping:
    return check_mapping(DeviceMapping(source, target or source, access or "rwm"))


def device_access(host: HostConfig) -> tuple[tuple[DeviceNode, ...], tuple[DeviceRule, ...]]:
    """The nodes in /dev and the rules of the cgroup's device program."""
    nodes, rules = list(devices.DEFAULT_NODES), list(devices.DEFAULT_RULES)
    if host.privileged:
        taken = {node.path for node in nodes} | {"/dev/console", "/dev/ptmx"}
        there = devices.host_nodes(DeviceMapping("/dev", "/dev"))
        skip = ("/dev/pts/", "/dev/shm/", "/dev/mqueue/")
        nodes += [node for node in there if node.path not in taken and not node.path.startswith(skip)]
        return tuple(nodes), devices.PRIVILEGED_RULES
    for device in host.devices or ():
        mapping = _mapping(device.path_on_host, device.path_in_container, device.cgroup_permissions)
        found = devices.host_nodes(mapping)
        nodes += found
        rules += devices.rules_for(mapping, found)
    rules += [devices.parse_rule(rule) for rule in host.device_cgroup_rules or ()]
    return tuple(nodes), tuple(rules)
