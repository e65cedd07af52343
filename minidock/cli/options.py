"""The flags of `run`, `create` and `plan`, and the create body that they make.

For run.py and plan.py. `container_options` declares the flags, one line each, in the order of their subjects;
`create_body` reads as the body's keys. Docker's CLI sends the same keys; what is not asked for is left to the daemon's
defaults. Read next: values.py, which parses the flags' values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minidock.cli import values
from minidock.cli.networking import networking
from minidock.cli.verb import BadFlag, Function, flag, parsed, value
from minidock.wire.errors import InvalidArgument
from minidock.wire.units import parse_bytes

Json = dict[str, Any]
Options = Mapping[str, Any]


def _many(*names: str, help: str) -> Callable[[Function], Function]:
    return value(*names, metavar="list", multiple=True, help=help)


_LIMITS = (
    value("-m", "--memory", metavar="bytes", help="Memory limit"),
    value("--memory-swap", metavar="bytes", help="Limit of memory plus swap: '-1' to enable unlimited swap"),
    value("--memory-reservation", metavar="bytes", help="Memory soft limit"),
    value("--cpus", metavar="decimal", help="Number of CPUs"),
    value("-c", "--cpu-shares", metavar="int", help="CPU shares (relative weight)"),
    value("--cpu-period", metavar="int", help="Limit CPU CFS (Completely Fair Scheduler) period"),
    value("--cpu-quota", metavar="int", help="Limit CPU CFS (Completely Fair Scheduler) quota"),
    value("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)"),
    value("--cpuset-mems", help="Memory nodes in which to allow execution (0-3, 0,1)"),
    value("--pids-limit", metavar="int", help="Limit the number of processes (-1 for unlimited)"),
    value("--blkio-weight", metavar="int", help="Block IO (relative weight), between 10 and 1000, or 0 to disable"),
    _many(
        "--hugetlb-limit", help="Limit of huge pages of a size: SIZE=BYTES, such as 2MB=64m (0: none, -1: unlimited)"
    ),
)

_DECLARATIONS = (
    # the process
    flag("-i", "--interactive", help="Keep STDIN open even if not attached"),
    flag("-t", "--tty", help="Allocate a pseudo-TTY"),
    _many("-a", "--attach", help="Attach to STDIN, STDOUT or STDERR"),
    _many("-e", "--env", help="Set environment variables"),
    _many("--env-file", help="Read in a file of environment variables"),
    value("-w", "--workdir", help="Working directory inside the container"),
    value("-u", "--user", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    _many("--group-add", help="Add additional groups to join"),
    value("--entrypoint", help="Overwrite the default ENTRYPOINT of the image"),
    flag("--init", help="Run an init inside the container that forwards signals and reaps processes"),
    value("--restart", help="Restart policy to apply when a container exits (default no)", default="no"),
    value("--stop-signal", help="Signal to stop the container"),
    value("--stop-timeout", metavar="int", help="Timeout (in seconds) to stop a container"),
    # whether it is well
    value("--health-cmd", help="Command to run to check health"),
    value("--health-interval", metavar="duration", help="Time between running the check (default 30s)"),
    value("--health-timeout", metavar="duration", help="Maximum time to allow one check to run (default 30s)"),
    value("--health-retries", metavar="int", help="Consecutive failures needed to report unhealthy (default 3)"),
    value("--health-start-period", metavar="duration", help="Time in which failures do not count (default 0s)"),
    value("--health-start-interval", metavar="duration", help="Time between checks in the start period (default 5s)"),
    flag("--no-healthcheck", help="Disable any container-specified HEALTHCHECK"),
    # what it is called
    value("--name", help="Assign a name to the container"),
    value("-h", "--hostname", help="Container host name"),
    value("--domainname", help="Container NIS domain name"),
    _many("-l", "--label", help="Set meta data on a container"),
    _many("--label-file", help="Read in a line delimited file of labels"),
    _many("--annotation", help="Add an annotation to the container (passed through to inspect): NAME=VALUE"),
    value("--cidfile", help="Write the container ID to the file"),
    # files
    _many("-v", "--volume", help="Bind mount a directory or file, or mount a volume: SOURCE:TARGET[:ro]"),
    _many("--mount", help="Attach a filesystem mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]"),
    value("--volume-driver", help="Volume driver for volumes that -v makes: local"),
    _many("--volumes-from", help="Mount volumes from the specified containers: NAME[:ro]"),
    _many("--tmpfs", help="Mount a tmpfs directory: TARGET[:OPTIONS]"),
    flag("--read-only", help="Mount the container's root filesystem as read only"),
    value("--shm-size", metavar="bytes", help="Size of /dev/shm"),
    # limits
    *_LIMITS,
    _many("--blkio-weight-device", help="Block IO weight (relative device weight): PATH:WEIGHT"),
    _many("--device-read-bps", help="Limit read rate (bytes per second) from a device: PATH:RATE"),
    _many("--device-read-iops", help="Limit read rate (IO per second) from a device: PATH:RATE"),
    _many("--device-write-bps", help="Limit write rate (bytes per second) to a device: PATH:RATE"),
    _many("--device-write-iops", help="Limit write rate (IO per second) to a device: PATH:RATE"),
    value("--memory-swappiness", metavar="int", help="Tune container memory swappiness (cgroup v1 only)"),
    flag("--oom-kill-disable", help="Disable the OOM killer (cgroup v1 only)"),
    value("--cpu-rt-period", metavar="int", help="Limit CPU real-time period in microseconds (cgroup v1 only)"),
    value("--cpu-rt-runtime", metavar="int", help="Limit CPU real-time runtime in microseconds (cgroup v1 only)"),
    _many("--ulimit", help="Ulimit options: TYPE=SOFT[:HARD]"),
    value("--oom-score-adj", metavar="int", help="Tune the host's OOM preferences (-1000 to 1000)"),
    # rights
    _many("--cap-add", help="Add Linux capabilities"),
    _many("--cap-drop", help="Drop Linux capabilities"),
    flag("--privileged", help="Give extended privileges to this container"),
    _many("--security-opt", help="Security options: no-new-privileges, seccomp=unconfined, seccomp=FILE"),
    _many("--device", help="Add a host device to the container: HOST[:CONTAINER][:rwm]"),
    _many("--device-cgroup-rule", help="Add a rule to the cgroup allowed devices list, such as 'c 188:* rwm'"),
    _many("--sysctl", help="Sysctl options: NAME=VALUE"),
    # namespaces
    value("--runtime", help="Runtime to use for this container: minidock, of which runc is another name"),
    value("--cgroup-parent", help="Parent cgroup: NAME below the daemon's own, or /PATH of one that exists"),
    value("--cgroupns", help="Cgroup namespace to use: host or private"),
    value("--ipc", help="IPC mode to use: private, shareable, none, host or container:NAME"),
    value("--pid", help="PID namespace to use: host or container:NAME"),
    value("--userns", help="User namespace to use: host"),
    value("--uts", help="UTS namespace to use: host"),
    # network
    _many("-p", "--publish", help="Publish a container's port to the host: [[ADDRESS:]PORT:]PORT[/PROTOCOL]"),
    flag("-P", "--publish-all", help="Publish all exposed ports to random ports"),
    _many("--expose", help="Expose a port or a range of ports"),
    _many("--network", "--net", "network", help="Connect the container to a network: NAME, none, host, container:NAME"),
    _many("--network-alias", help="Add network-scoped alias for the container"),
    _many("--link", help="Add link to another container: NAME[:ALIAS]"),
    value("--ip", help="IPv4 address (e.g., 172.30.100.104)"),
    value("--ip6", help="IPv6 address (e.g., 2001:db8::33)"),
    value("--mac-address", help="Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    _many("--dns", help="Set custom DNS servers"),
    _many("--dns-search", help="Set custom DNS search domains"),
    _many("--dns-option", help="Set DNS options"),
    _many("--add-host", help="Add a custom host-to-IP mapping: NAME:ADDRESS"),
    # logs and images
    value("--log-driver", help="Logging driver for the container: json-file or none"),
    _many("--log-opt", help="Log driver options, such as max-size=10m"),
    value("--pull", help="Pull image before running: always, missing, never (default missing)", default="missing"),
    value("--platform", help="Set platform if the daemon can choose among several"),
    flag("-q", "--quiet", help="Suppress the pull output"),
)


def container_options(function: Function) -> Function:
    """Declares all flags that say what the container is to be."""
    for declare in reversed(_DECLARATIONS):
        function = declare(function)
    return function


def limit_options(function: Function) -> Function:
    """Declares the flags of the limits alone, which `update` has too."""
    for declare in reversed(_LIMITS):
        function = declare(function)
    return function


def create_body(image: str, command: Sequence[str], options: Options, console: Sequence[int] = (0, 0)) -> Json:
    """The body of ``POST /containers/create``. ``console``: rows and columns of the terminal. Raises BadFlag."""
    attached = _attached(options)
    return {
        "Hostname": options["hostname"] or "",
        "Domainname": options["domainname"] or "",
        "User": options["user"] or "",
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "Tty": options["tty"],
        "OpenStdin": options["interactive"],
        "StdinOnce": "stdin" in attached and options["interactive"],
        "Env": environment(options["env"], options["env_file"]) or None,
        "Cmd": list(command) or None,
        "Image": image,
        "Volumes": {text: {} for text in options["volume"] if values.bind(text) is None},
        "WorkingDir": options["workdir"] or "",
        "Entrypoint": None if options["entrypoint"] is None else [options["entrypoint"]],
        "Labels": _labels(options),
        **_given(
            StopSignal=options["stop_signal"],
            StopTimeout=one("--stop-timeout", options["stop_timeout"], values.integer),
            Healthcheck=_healthcheck(options),
        ),
        **_given(ExposedPorts=_exposed(options)),
        "HostConfig": _host_config(options, console),
        "NetworkingConfig": {"EndpointsConfig": networking(options)[1]},
    }


def _healthcheck(options: Options) -> Json:
    wanted = _given(
        Test=["CMD-SHELL", options["health_cmd"]] if options["health_cmd"] else None,
        Interval=one("--health-interval", options["health_interval"], values.duration),
        Timeout=one("--health-timeout", options["health_timeout"], values.duration),
        Retries=one("--health-retries", options["health_retries"], values.integer),
        StartPeriod=one("--health-start-period", options["health_start_period"], values.duration),
        StartInterval=one("--health-start-interval", options["health_start_interval"], values.duration),
    )
    if wanted and options["no_healthcheck"]:
        raise BadFlag("--no-healthcheck conflicts with --health-* options")
    return {"Test": ["NONE"]} if options["no_healthcheck"] else wanted


def _host_config(options: Options, console: Sequence[int]) -> Json:
    wanted = _given(
        Binds=[entry for text in options["volume"] if (entry := values.bind(text)) is not None],
        VolumesFrom=list(options["volumes_from"]),
        Mounts=_each("--mount", options["mount"], values.mount),
        Tmpfs=dict(_each("--tmpfs", options["tmpfs"], values.tmpfs)),
        ShmSize=one("--shm-size", options["shm_size"], parse_bytes),
        OomScoreAdj=one("--oom-score-adj", options["oom_score_adj"], values.integer),
        ContainerIDFile=options["cidfile"],
        GroupAdd=list(options["group_add"]),
        Ulimits=_each("--ulimit", options["ulimit"], values.ulimit),
        Init=options["init"] or None,
        PortBindings=_port_bindings(options),
        PublishAllPorts=options["publish_all"] or None,
        Links=list(options["link"]),
    )
    wanted |= {
        "NetworkMode": networking(options)[0],
        "AutoRemove": bool(options.get("rm")),
        "RestartPolicy": parsed("--restart", options["restart"], values.restart_policy),
        "ReadonlyRootfs": options["read_only"],
        "Privileged": options["privileged"],
        "ConsoleSize": list(console),
        "LogConfig": {
            "Type": options["log_driver"] or "",
            "Config": dict(_each("--log-opt", options["log_opt"], values.label)),
        },
    }
    return wanted | limits(options) | _rights(options) | _names(options)


def limits(options: Options) -> Json:
    """The keys of HostConfig for the limits that were given."""
    return _given(
        Memory=one("-m, --memory", options["memory"], parse_bytes),
        MemorySwap=one("--memory-swap", options["memory_swap"], values.memory_or_unlimited),
        MemoryReservation=one("--memory-reservation", options["memory_reservation"], parse_bytes),
        NanoCpus=one("--cpus", options["cpus"], values.cpus),
        CpuShares=one("-c, --cpu-shares", options["cpu_shares"], values.integer),
        CpuPeriod=one("--cpu-period", options["cpu_period"], values.integer),
        CpuQuota=one("--cpu-quota", options["cpu_quota"], values.integer),
        CpusetCpus=options["cpuset_cpus"],
        CpusetMems=options["cpuset_mems"],
        PidsLimit=one("--pids-limit", options["pids_limit"], values.integer),
        BlkioWeight=one("--blkio-weight", options["blkio_weight"], values.integer),
        HugepageLimits=_each("--hugetlb-limit", options["hugetlb_limit"], values.hugetlb_limit),
    )


_NO_PATHS_ARE_SHUT = "systempaths=unconfined"


def _rights(options: Options) -> Json:
    security = _each("--security-opt", options["security_opt"], values.security_option)
    open_paths: Json = {"MaskedPaths": [], "ReadonlyPaths": []} if _NO_PATHS_ARE_SHUT in security else {}
    return open_paths | _given(
        CapAdd=_each("--cap-add", options["cap_add"], values.capability),
        CapDrop=_each("--cap-drop", options["cap_drop"], values.capability),
        SecurityOpt=[option for option in security if option != _NO_PATHS_ARE_SHUT],
        Devices=_each("--device", options["device"], values.device),
        DeviceCgroupRules=_each("--device-cgroup-rule", options["device_cgroup_rule"], values.device_rule),
        Annotations=dict(_each("--annotation", options["annotation"], values.label)),
        VolumeDriver=options["volume_driver"],
        Runtime=options["runtime"],
        Sysctls=dict(_each("--sysctl", options["sysctl"], values.label)),
        BlkioWeightDevice=_each("--blkio-weight-device", options["blkio_weight_device"], values.weight),
        BlkioDeviceReadBps=_each("--device-read-bps", options["device_read_bps"], values.rate_in_bytes),
        BlkioDeviceWriteBps=_each("--device-write-bps", options["device_write_bps"], values.rate_in_bytes),
        BlkioDeviceReadIOps=_each("--device-read-iops", options["device_read_iops"], values.rate),
        BlkioDeviceWriteIOps=_each("--device-write-iops", options["device_write_iops"], values.rate),
        OomKillDisable=options["oom_kill_disable"] or None,
        CpuRealtimePeriod=one("--cpu-rt-period", options["cpu_rt_period"], values.integer),
        CpuRealtimeRuntime=one("--cpu-rt-runtime", options["cpu_rt_runtime"], values.integer),
        MemorySwappiness=one("--memory-swappiness", options["memory_swappiness"], values.integer),
        CgroupnsMode=options["cgroupns"],
        CgroupParent=options["cgroup_parent"],
        IpcMode=options["ipc"],
        PidMode=options["pid"],
        UsernsMode=options["userns"],
        UTSMode=options["uts"],
    )


def _names(options: Options) -> Json:
    return _given(
        Dns=_each("--dns", options["dns"], values.address),
        DnsSearch=list(options["dns_search"]),
        DnsOptions=list(options["dns_option"]),
        ExtraHosts=_each("--add-host", options["add_host"], values.extra_host),
    )


def _port_bindings(options: Options) -> dict[str, list[Json]]:
    if not options["publish"]:
        return {}
    from minidock.cli import publish

    return publish.bindings(_each("-p, --publish", options["publish"], publish.publish))


def _exposed(options: Options) -> dict[str, Json]:
    """What is published is exposed, too."""
    found: dict[str, Json] = {port: {} for port in _port_bindings(options)}
    if options["expose"]:
        from minidock.cli.publish import expose

        found |= {port: {} for many in _each("--expose", options["expose"], expose) for port in many}
    return found


def _given(**keys: Any) -> Json:
    """The keys that the user asked for. A 0 is kept: it may be a wish."""
    return {key: wanted for key, wanted in keys.items() if wanted is not None and wanted not in ("", [], {})}


def one(name: str, text: str | None, parse: Callable[[str], Any]) -> Any:
    """The parsed value of a flag; None if it was not given. Raises BadFlag."""
    return None if text is None else parsed(name, text, parse)


def _each(name: str, texts: Iterable[str], parse: Callable[[str], Any]) -> list[Any]:
    return [parsed(name, text, parse) for text in texts]


def _attached(options: Options) -> set[str]:
    """The streams to attach: those of -a, or output always and input with -i; none with -d."""
    if options.get("detach"):
        return set()
    named = {text.lower() for text in options["attach"]}
    if unknown := named - {"stdin", "stdout", "stderr"}:
        raise BadFlag(
            f'invalid argument "{min(unknown)}" for "-a, --attach" flag: valid streams are STDIN, STDOUT, STDERR'
        )
    return named or {"stdout", "stderr", *(["stdin"] if options["interactive"] else [])}


def environment(entries: Iterable[str], files: Iterable[str]) -> list[str]:
    """The variables of -e and --env-file. Raises BadFlag."""
    found = [values.variable(entry) for path in files for entry in _lines("env", path)]
    # a file's bare name that the caller has not set says nothing; on the command line it unsets the image's
    return [entry for entry in found if "=" in entry] + _each("-e, --env", entries, values.variable)


def _labels(options: Options) -> dict[str, str]:
    entries = [entry for path in options["label_file"] for entry in _lines("label", path)]
    return dict([*map(values.label, entries), *_each("-l, --label", options["label"], values.label)])


def _lines(kind: str, path: str) -> list[str]:
    try:
        return list(values.file_lines(kind, path))
    except InvalidArgument as error:
        raise BadFlag(error.message, error.hint) from None
