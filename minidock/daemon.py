"""minidockd: the daemon. Flags, lock, what the machine must have, restore, serve, orderly stop.

It stays in the foreground and logs to stderr; its start-up ends with ``API listen on …``. SIGTERM and SIGINT stop the
daemon and no container: their monitors keep them, and the next daemon finds them.
Read next: engine/engine.py (what it can do), api/router.py (how it is asked).
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

import click
import prctl

from minidock.api import listen, tls
from minidock.api.server import Server
from minidock.cgroup.find import choose_base, find_cgroup2, own_cgroup
from minidock.cgroup.tree import CgroupTree
from minidock.db import Database
from minidock.engine import rights
from minidock.engine.containers import Containers
from minidock.engine.engine import Engine
from minidock.engine.events import Events
from minidock.engine.networking.ports import Ports
from minidock.engine.parts import Parts
from minidock.engine.settings import Settings
from minidock.engine.trash import Trash
from minidock.engine.volumes import Volumes
from minidock.image.model import RegistryConfig
from minidock.image.store import ImageStore
from minidock.linux import doctor, doctor_network, idmap, shim, systemd, userns
from minidock.linux.pool import pool
from minidock.network import pools
from minidock.network.bridge import Bridge
from minidock.network.ports import PortTable
from minidock.runtime.memfd import load_binary
from minidock.wire.errors import Error, InvalidArgument, Unavailable
from minidock.wire.version import API_VERSION, VERSION

log = logging.getLogger("minidockd")

_THREADS = 32  # for what blocks: each slow upload or download holds one
DEFAULT_HOST = "unix:///run/minidock.sock"
DEFAULT_CONFIG = Path("/etc/minidock/daemon.json")
_TLS = Path("/etc/minidock")
_PATH = click.Path(path_type=Path, readable=False)  # who may not read it is told to be root
_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}

_CONFIG_KEYS = {
    "hosts": "host",
    "data-root": "data_root",
    "exec-root": "exec_root",
    "group": "group",
    "pidfile": "pidfile",
    "bip": "bip",
    "bridge": "bridge",
    "ipv6": "ipv6",
    "fixed-cidr-v6": "fixed_cidr_v6",
    "default-address-pools": "default_address_pool",
    "registry-mirrors": "registry_mirror",
    "insecure-registries": "insecure_registry",
    "userns-remap": "userns_remap",
    "log-level": "log_level",
    "no-new-privileges": "no_new_privileges",
    "cgroup-parent": "cgroup_parent",
    "tls": "tls",
    "tlsverify": "tlsverify",
    "tlscacert": "tlscacert",
    "tlscert": "tlscert",
    "tlskey": "tlskey",
}
"""daemon.json's keys, Docker's, and the flags that they stand for."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-H", "--host", multiple=True, help=f"Socket to listen on (default {DEFAULT_HOST}); repeatable.")
@click.option("--data-root", type=_PATH, default=Path("/var/lib/minidock"), show_default=True)
@click.option("--exec-root", type=_PATH, default=Path("/run/minidock"), show_default=True)
@click.option("-G", "--group", default="minidock", show_default=True, help="Group of the unix socket.")
@click.option("-p", "--pidfile", type=_PATH, help="File to write the daemon's pid to.")
@click.option("--bip", default="", help="Address of the bridge with its prefix (default: one that is free).")
@click.option(
    "--ready-sandboxes",
    type=click.IntRange(0, 64),
    default=3,
    show_default=True,
    help="Network sandboxes to hold ready for containers that are yet to start.",
)
@click.option("--ipv6", is_flag=True, help="IPv6 on the default bridge, too; other networks ask for it themselves.")
@click.option("--fixed-cidr-v6", default="", help="IPv6 subnet of the default bridge (default: a private one).")
@click.option(
    "--default-address-pool", multiple=True, help="Where networks get subnets from: base=CIDR,size=PREFIX; repeatable."
)
@click.option("-b", "--bridge", default="minidock0", show_default=True, help='Bridge to use; "none" for no bridge.')
@click.option("--registry-mirror", multiple=True, help="Registry mirror for Docker Hub images; repeatable.")
@click.option("--insecure-registry", multiple=True, help="Registry to talk to by HTTP or without checks; repeatable.")
@click.option("--userns-remap", default="", help="User whose ids containers get: default, USER[:GROUP], UID[:GID].")
@click.option("-l", "--log-level", type=click.Choice(list(_LEVELS)), default="info", show_default=True)
@click.option("--config-file", type=_PATH, default=DEFAULT_CONFIG, show_default=True)
@click.option(
    "--allow-insecure-tcp", is_flag=True, help="Let -H tcp://127.0.0.1:PORT serve clients without certificates."
)
@click.option(
    "--no-new-privileges", is_flag=True, help="Containers gain no privileges by execve, unless they ask for it."
)
@click.option("--cgroup-parent", default="", help="Parent cgroup of containers that ask for none: NAME or /PATH.")
@click.option("--tls", is_flag=True, help="TLS on TCP sockets; implied by --tlsverify.")
@click.option("--tlsverify", is_flag=True, help="TLS on TCP sockets, for clients with a certificate of our authority.")
@click.option("--tlscacert", type=_PATH, default=_TLS / "ca.pem", show_default=True, help="The authority.")
@click.option("--tlscert", type=_PATH, default=_TLS / "cert.pem", show_default=True, help="The daemon's certificate.")
@click.option("--tlskey", type=_PATH, default=_TLS / "key.pem", show_default=True, help="Its key.")
@click.option("--doctor", "examine", is_flag=True, help="Say as JSON what this machine has and lacks, and end.")
@click.version_option(VERSION, "-v", "--version", message="minidockd version %(version)s, API " + API_VERSION)
@click.pass_context
def main(context: click.Context, /, **flags: Any) -> None:
    """The minidock daemon: containers behind a Docker-compatible API."""
    try:
        flags = _with_config_file(context, flags)
        if flags["examine"]:
            checks = doctor.checks(flags["data_root"], flags["bridge"], flags["group"])
            click.echo(json.dumps({"Checks": doctor.as_json(checks)}, indent=2))
            return
        logging.basicConfig(
            level=_LEVELS[flags["log_level"]],
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        _run(flags)
    except Error as error:
        sys.exit(f"minidockd: {error}")
    except OSError as error:
        sys.exit(f"minidockd: {error.filename or 'start'}: {(error.strerror or str(error)).lower()}")


def _run(flags: dict[str, Any]) -> None:
    """The daemon's loop, from start to end.

    The process ends without waiting for its threads: a pull under way would hold up the stop for as long as its
    registry likes. What such a thread leaves lies in tmp/, which the next start empties.
    """
    shim.one_heap()
    loop = asyncio.new_event_loop()
    loop.set_default_executor(pool(_THREADS, "minidockd"))
    loop.run_until_complete(_Daemon(flags).run())
    logging.shutdown()
    os._exit(0)


def _with_config_file(context: click.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """The flags, with what daemon.json says where a flag was not given. A key in both is refused, as in Docker."""
    path: Path = flags["config_file"]
    explicit = {name for name in flags if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if not path.exists() and "config_file" not in explicit:
        return flags
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"read {path}: {error}", "it must be a JSON object") from None
    for key, value in (given if isinstance(given, dict) else {"": given}).items():
        name = _CONFIG_KEYS.get(key)
        if name is None:
            raise InvalidArgument(f"{path}: unknown key {key!r}", f"one of {', '.join(_CONFIG_KEYS)}")
        if name in explicit:
            raise InvalidArgument(f"{path}: {key} is given there and as a flag", "give it in one place")
        flags[name] = _config_value(path, key, value, flags[name])
    return flags


def _config_value(path: Path, key: str, value: Any, default: Any) -> Any:
    if key == "default-address-pools" and isinstance(value, list):
        return tuple(f"base={pool.get('base')},size={pool.get('size')}" for pool in value if isinstance(pool, dict))
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InvalidArgument(f"{path}: {key} must be a list of strings")
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(value, str) and (key != "log-level" or value in _LEVELS):
        return Path(value) if isinstance(default, Path) or key == "pidfile" else value
    raise InvalidArgument(f"{path}: invalid value for {key}: {value!r}")


class _Daemon:
    """One run of the daemon; what it opens is closed in the opposite order."""

    def __init__(self, flags: dict[str, Any]) -> None:
        self._flags = flags
        self._settings = Settings(
            flags["data_root"].absolute(),
            flags["exec_root"].absolute(),
            flags["bridge"],
            flags["bip"],
            flags["group"],
            flags["registry_mirror"],
            flags["insecure_registry"],
            flags["ready_sandboxes"],
            flags["ipv6"],
            flags["fixed_cidr_v6"],
            flags["default_address_pool"],
            flags["no_new_privileges"],
            flags["cgroup_parent"],
            idmap.from_setting(flags["userns_remap"]) if flags["userns_remap"] else None,
        )
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """From the lock to the orderly stop, in which all that must be kept is written and closed."""
        if os.geteuid() != 0:
            raise Unavailable("minidockd must be root", "start it with sudo")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        prctl.set_name("minidockd")
        os.umask(0o022)
        _raise_nofile()
        with ExitStack() as opened:
            _make_roots(self._settings)
            opened.enter_context(_lock(self._settings.data_root))
            self._write_pidfile(opened)
            if self._settings.remap:
                userns.try_out(self._settings.data_root / "tmp", self._settings.remap)
            engine = Engine(self._parts(opened))
            await engine.restore()
            gc.freeze()  # what is there by now stays: no collection need look at it, 20 ms each
            context = self._tls()
            sockets = self._listen(opened)
            await self._serve(Server(engine, sockets, context), engine, sockets)

    async def _serve(self, server: Server, engine: Engine, sockets: list[socket.socket]) -> None:
        serving = asyncio.get_running_loop().create_task(server.serve())
        paths = [host.removeprefix("unix://") for host in self._hosts() if not host.startswith("tcp://")]
        for place in paths + [listen.port_of(one) for one in sockets if one.family != socket.AF_UNIX]:
            log.info("API listen on %s", place)
        asyncio.get_running_loop().run_in_executor(None, rights.prepare, self._settings.data_root / "seccomp")
        asyncio.get_running_loop().run_in_executor(None, _tell_of_firewalls, self._settings.bridge)
        stopping = asyncio.get_running_loop().create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        machine_stops = await asyncio.to_thread(systemd.machine_stops)
        log.info("stopping; containers %s", "too, as this machine does" if machine_stops else "stay")
        await server.shutdown()
        if machine_stops:
            await engine.see_out()
        await engine.close()
        if serving.done() and (failure := serving.exception()):
            raise failure
        serving.cancel()

    def _hosts(self) -> tuple[str, ...]:
        return self._flags["host"] or (DEFAULT_HOST,)

    def _tls(self) -> ssl.SSLContext | None:
        """What TCP sockets speak, None for plain. Raises InvalidArgument for certificates that are not right."""
        flags = self._flags
        if not flags["tls"] and not flags["tlsverify"]:
            return None
        return tls.Material(flags["tlscacert"], flags["tlscert"], flags["tlskey"], flags["tlsverify"]).context()

    def _listen(self, opened: ExitStack) -> list[socket.socket]:
        """A socket for each --host; the unix ones go with the daemon."""
        sockets, insecure, verified = listen.inherited(), self._flags["allow_insecure_tcp"], self._flags["tlsverify"]
        listen.check_inherited(sockets, insecure, verified)
        for host in () if sockets else self._hosts():
            if host.startswith("unix://"):
                path = Path(host.removeprefix("unix://"))
                sockets.append(listen.open_unix(path, self._flags["group"]))
                opened.callback(path.unlink, missing_ok=True)
            else:
                sockets.append(listen.open_tcp(host, insecure, verified))
        for one in sockets:
            opened.callback(one.close)
        return sockets

    def _write_pidfile(self, opened: ExitStack) -> None:
        path: Path | None = self._flags["pidfile"]
        if path:
            path.write_text(f"{os.getpid()}\n")
            opened.callback(path.unlink, missing_ok=True)

    def _parts(self, opened: ExitStack) -> Parts:
        settings = self._settings
        db = Database(settings.data_root / "minidock.db")
        opened.callback(db.close)
        binary = load_binary()
        opened.callback(os.close, binary)
        registry = RegistryConfig(settings.mirrors, settings.insecure_registries)
        containers, trash, events = Containers(db), Trash(settings.data_root), Events()
        bridge, no_bridge = _bridge(settings, db)
        return Parts(
            settings=settings,
            images=ImageStore(settings.data_root, db, registry, trash.take),
            containers=containers,
            volumes=Volumes(settings.data_root / "volumes", db, trash, events, containers.using_volume),
            events=events,
            trash=trash,
            cgroups=_cgroups(settings, opened),
            db=db,
            bridge=bridge,
            no_bridge=no_bridge,
            monitor_binary=binary,
            ports=Ports(containers, PortTable(settings.instance)),
        )


def _raise_nofile() -> None:
    """As many files as we may have: each attached client and each monitor costs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _make_roots(settings: Settings) -> None:
    """The directories, unreachable for everyone else from the first moment."""
    before = os.umask(0o077)
    try:
        for root in (settings.data_root, settings.exec_root):
            root.mkdir(parents=True, exist_ok=True)
            root.chmod(0o710)
        for name in ("containers", "content", "layers", "seccomp", "tmp", "trash", "volumes"):
            (settings.data_root / name).mkdir(mode=0o711 if name == "volumes" else 0o700, exist_ok=True)
        (settings.exec_root / "monitors").mkdir(mode=0o700, exist_ok=True)
    finally:
        os.umask(before)


@contextmanager
def _lock(data_root: Path) -> Iterator[None]:
    """One daemon a data root: a lock that goes with the process, however it ends."""
    with (data_root / "minidock.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another minidockd uses {data_root}", "stop it, or give another --data-root") from None
        yield


def _cgroups(settings: Settings, opened: ExitStack) -> CgroupTree:
    mount = find_cgroup2()
    tree = CgroupTree(choose_base(settings.instance, mount, own_cgroup(mount)), mount)
    opened.callback(tree.close)
    tree.setup()
    return tree


def _bridge(settings: Settings, db: Database) -> tuple[Bridge | None, str]:
    """The default network, or the reason why there is none; ``none`` and ``host`` work on any machine."""
    if settings.bridge == "none":
        try:
            Bridge(settings.bridge, None, db, settings.instance).down()
        except (Error, OSError) as error:
            log.warning("the bridge of an earlier daemon stays: %s", error)
        return None, "the daemon was started with --bridge none"
    try:
        subnet = IPv4Interface(settings.bip) if settings.bip else None
    except ValueError as error:
        raise InvalidArgument(f"invalid --bip: {error}", "write it as 172.30.0.1/16") from None
    bridge = Bridge(settings.bridge, subnet, db, settings.instance, _gateway6(settings))
    try:
        bridge.up()
    except Unavailable as error:
        log.warning("network bridge is not available: %s", error)
        return None, str(error)
    return bridge, ""


def _tell_of_firewalls(bridge: str) -> None:
    """A warning where the rules of others keep containers from the network, which no rule of ours can change."""
    found = doctor_network.forward_policy(bridge)
    if found.status != "ok":
        log.warning("%s; hint: %s", found.detail, found.hint)


def _gateway6(settings: Settings) -> IPv6Interface | None:
    """The default bridge's IPv6 address, with --ipv6 or --fixed-cidr-v6."""
    if not settings.ipv6 and not settings.fixed_cidr_v6:
        return None
    if not settings.fixed_cidr_v6:
        return pools.default_bridge6(settings.instance)
    try:
        return pools.first_address(IPv6Network(settings.fixed_cidr_v6))
    except ValueError as error:
        raise InvalidArgument(f"invalid --fixed-cidr-v6: {error}", "write it as 2001:db8:1::/64") from None


if __name__ == "__main__":
    main()
