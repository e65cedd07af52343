"""What a test may need of its machine, by marker: each name has a probe that answers None or the reason it lacks.

For conftest.py, which turns a reason into a skip (a failure in strict mode). A probe tries the thing itself (an overlay
is mounted, a bridge is made, each in a namespace of its own); it guesses nothing from versions. Read next:
impossible.py.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from minidock.linux import apparmor, userns
from minidock.wire.errors import Unavailable
from tests.support.sshd import find_sshd

TOP = Path(__file__).resolve().parents[2]

CAP_SYS_RESOURCE = 24


def _root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def in_namespace(flags: str, script: str) -> str | None:
    """None if the shell script succeeds in new namespaces, else its last line of error."""
    if lacks := _root():
        return lacks
    with tempfile.TemporaryDirectory(prefix="minidock-needs-") as scratch:
        done = subprocess.run(
            ["unshare", flags, "--", "sh", "-ec", script], cwd=scratch, capture_output=True, text=True, check=False
        )
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


def _overlay() -> str | None:
    script = "mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m"
    lacks = in_namespace("-m", script)
    return lacks and f"no overlay mount here: {lacks}"


def _userns_remap() -> str | None:
    if lacks := _root():
        return lacks
    try:
        userns.try_out(Path("/tmp"))
    except Unavailable as error:
        return error.message
    lacks = in_namespace("-Urmpf", "mount -t proc proc /proc")
    return lacks and f"no new /proc in a user namespace here: {lacks}"


def _bridge() -> str | None:
    script = """
        ip link add br0 type bridge
        ip link add veth0 type veth peer name veth1
        ip link set veth0 master br0
        nft add table inet t
        nft 'add chain inet t c { type nat hook postrouting priority 100; }'
        nft add rule inet t c masquerade
    """
    lacks = in_namespace("-n", script)
    return lacks and f"no bridge with veth and nftables masquerade here: {lacks}"


def _ipv6() -> str | None:
    script = """
        ip link add br0 type bridge
        ip address add fd00::1/64 dev br0 nodad
        nft add table ip6 t
        nft 'add chain ip6 t c { type nat hook postrouting priority 100; }'
        nft add rule ip6 t c masquerade
    """
    lacks = in_namespace("-n", script)
    return lacks and f"no IPv6 with nftables masquerade here: {lacks}"


def _macvlan() -> str | None:
    lacks = in_namespace("-n", "ip link add v0 type veth; ip link add link v0 name m0 type macvlan mode bridge")
    return lacks and f"no macvlan here: {lacks}"


def _ipvlan() -> str | None:
    lacks = in_namespace("-n", "ip link add v0 type veth; ip link add link v0 name i0 type ipvlan mode l2")
    return lacks and f"no ipvlan here: {lacks}"


def _program(name: str) -> Callable[[], str | None]:
    def probe() -> str | None:
        return None if shutil.which(name) else f"no {name} on PATH (make setup-test brings it)"

    return probe


@functools.cache
def program_of(name: str, version: str) -> str | None:
    """The path of a program whose version begins so, on PATH or where `make setup-test` puts what it unpacks."""
    folders = [*os.get_exec_path(), str(TOP / ".cache/tools/bin")]
    for path in [Path(folder, one) for folder in folders for one in (name, f"{name}-{version}")]:
        if os.access(path, os.X_OK):
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if f" version {version}." in told.replace(" version v", " version "):
                return str(path)
    return None


def _program_of(name: str, version: str) -> Callable[[], str | None]:
    def probe() -> str | None:
        return None if program_of(name, version) else f"no {name} of version {version}"

    return probe


def _sshd() -> str | None:
    return None if find_sshd() and shutil.which("ssh") else "no sshd or ssh (make setup-test brings them)"


def _registry() -> str | None:
    return _program("docker-registry")() or _program("skopeo")()


def _capability(number: int, name: str) -> Callable[[], str | None]:
    def probe() -> str | None:
        status = Path("/proc/self/status").read_text()
        held = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd"))
        return None if held >> number & 1 else f"{name} is not in the bounding set"

    return probe


def _apparmor() -> str | None:
    if not apparmor.enabled():
        return "no AppArmor in this kernel"
    return None if apparmor.parser() else "no apparmor_parser to load profiles with"


def _fuse() -> str | None:
    script = "exec 3<>/dev/fuse; mkdir m; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none m"
    lacks = in_namespace("-m", script)
    return lacks and f"no FUSE here: {lacks}"


def cgroup2_mount() -> Path | None:
    """Where cgroup v2 is mounted: alone at /sys/fs/cgroup, or beside v1 (hybrid)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def _cgroup2() -> str | None:
    mount = cgroup2_mount()
    if mount is None:
        return "no cgroup v2 is mounted"
    return None if os.access(mount, os.W_OK) else f"cgroup v2 at {mount} is not writable"


def cgroup_controllers(wanted: tuple[str, ...]) -> str | None:
    """For the marker cgroup(CONTROLLER...): the reason why one of them can't be used, if any."""
    if lacks := _root() or _cgroup2():
        return lacks
    mount = cgroup2_mount()
    assert mount is not None
    have = (mount / "cgroup.controllers").read_text().split()
    missing = [name for name in wanted if name not in have]
    return f"cgroup v2 at {mount} has no controller {', '.join(missing)}" if missing else None


_HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def _hugetlb() -> str | None:
    lacks = cgroup_controllers(("hugetlb",))
    return lacks or (None if _HUGEPAGES.is_dir() else "this kernel has no huge pages of 2 MiB")


def _hugepages() -> str | None:
    free = int((_HUGEPAGES / "free_hugepages").read_text()) if _HUGEPAGES.is_dir() else 0
    return None if free >= 8 else f"{free} of 8 huge pages of 2 MiB are free (sysctl vm.nr_hugepages=8)"


NEEDS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "root": ("root", _root),
    "overlay": ("overlay mounts, as root", _overlay),
    "userns_remap": ("layers with shifted ids, and a user namespace's own /proc, as root", _userns_remap),
    "ipv6": ("IPv6 and its nftables in a network namespace, as root", _ipv6),
    "iptables": ("iptables by nf_tables, as in Debian", _program("iptables-nft")),
    "macvlan": ("macvlan interfaces in a network namespace, as root", _macvlan),
    "ipvlan": ("ipvlan interfaces in a network namespace, as root", _ipvlan),
    "bridge": ("bridges, veth pairs and nftables in a network namespace, as root", _bridge),
    "cgroup2": ("a writable cgroup v2 tree, with or without controllers", _cgroup2),
    "fuse": ("FUSE, as root", _fuse),
    "docker_cli": ("the real docker CLI", _program("docker")),
    "docker_cli_28": ("the real docker CLI of version 28", _program_of("docker", "28")),
    "docker_cli_20": ("the real docker CLI of version 20.10, as in Debian 12", _program_of("docker", "20.10")),
    "compose_1": ("docker-compose 1, as in Debian 12", _program_of("docker-compose", "1")),
    "compose_2": ("docker-compose 2.26, as in Debian 13", _program_of("docker-compose", "2.26")),
    "registry": ("Debian's docker-registry, and skopeo to fill it", _registry),
    "sshd": ("an ssh server to start, and a client for it", _sshd),
    "strace": ("strace, to look and to inject faults", _program("strace")),
    "zsh": ("zsh, to complete in", _program("zsh")),
    "fish": ("fish, to complete in", _program("fish")),
    "apparmor": ("AppArmor in the kernel, and the program that loads profiles", _apparmor),
    "hugetlb": ("huge pages of 2 MiB, and cgroup v2's controller for them, as root", _hugetlb),
    "hugepages": ("eight free huge pages of 2 MiB, a matter of a sysctl", _hugepages),
    "cap_sys_resource": ("CAP_SYS_RESOURCE", _capability(CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE")),
}


@functools.cache
def lacking(need: str) -> str | None:
    """The reason why this machine can't serve the need, or None. Probed once a session."""
    return NEEDS[need][1]()
