"""The doctor's judgement, on machines that are described instead of had: each ailment named, each with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minidock.linux import doctor, doctor_cgroup, doctor_kernel, doctor_network, doctor_storage, mountinfo
from minidock.linux.check import Check, guarded
from minidock.wire.errors import Unavailable

WSL = "5.15.90.1-microsoft-standard-WSL2"
PLAIN = "6.8.0-40-generic"
V2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
)
TABLE = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t14\t1\nblkio\t7\t1\t1\npids\t0\t1\t0\n"


@pytest.mark.parametrize(
    ("release", "status", "words"),
    [
        (PLAIN, "ok", "Linux 6.8"),
        ("5.15.0", "ok", "5.15"),
        ("5.14.21", "fail", "boot a newer kernel"),
        ("4.19.128-microsoft-standard", "fail", "wsl --update"),
        ("10.0", "ok", "10.0"),
        ("unknown", "warn", "not a version"),
    ],
)
def test_kernel_version(release: str, status: str, words: str) -> None:
    check = doctor_kernel.version(release)
    assert check.status == status
    assert words in check.detail + check.hint


# -- cgroup -----------------------------------------------------------------------------------------------------------


def controller(name: str, mounts: str, release: str = PLAIN, available: frozenset[str] = frozenset()) -> Check:
    return doctor_cgroup.controller(name, mountinfo.parse(mounts), available, TABLE, release)


def test_a_controller_in_v2_is_fine() -> None:
    assert controller("memory", V2, available=frozenset({"memory"})).status == "ok"


@pytest.mark.parametrize(
    ("release", "cure"),
    [
        (WSL, r"%UserProfile%\.wslconfig, section [wsl2]: kernelCommandLine = cgroup_no_v1=all; then wsl --shutdown"),
        (PLAIN, "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 on the kernel command line"),
    ],
)
def test_a_hybrid_machine_learns_who_holds_the_controller_and_how_to_get_it(release: str, cure: str) -> None:
    check = controller("memory", V1 + V2, release)
    assert check.status == "warn"
    assert check.detail.startswith("bound to cgroup v1 at /sys/fs/cgroup/memory; without it: no -m,")
    assert cure in check.hint


def test_io_is_called_blkio_in_v1() -> None:
    assert "bound to cgroup v1 at /sys/fs/cgroup/blkio" in controller("io", V1 + V2).detail


@pytest.mark.parametrize(
    ("name", "detail", "hint"),
    [
        ("pids", "switched off at boot", "boot with cgroup_enable=pids"),
        ("memory", "not in the cgroup2 tree", "cgroup_no_v1=all"),
        ("cpuset", "not in this kernel", "a kernel that has it"),
    ],
)
def test_a_controller_that_nobody_has(name: str, detail: str, hint: str) -> None:
    check = controller(name, V2)
    assert (check.status, check.detail.partition(";")[0]) == ("warn", detail)
    assert hint in check.hint


@pytest.mark.parametrize(
    ("mounts", "status", "words"),
    [
        (V2, "ok", "at /sys/fs/cgroup/unified (unified)"),
        (V1 + V2, "ok", "hybrid"),
        (V1, "fail", "not mounted"),
        (V2.replace("rw,nosuid", "ro"), "fail", "read-only"),
    ],
)
def test_the_tree(mounts: str, status: str, words: str) -> None:
    check = doctor_cgroup.tree(mountinfo.parse(mounts), WSL)
    assert check.status == status
    assert words in check.detail
    assert bool(check.hint) is (status == "fail")


# -- what the kernel lets us do ---------------------------------------------------------------------------------------


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_namespaces(tmp_path: Path) -> None:
    make(tmp_path, {f"self/ns/{name}": "" for name in doctor_kernel.NAMESPACES})
    assert doctor_kernel.namespaces(tmp_path).status == "ok"
    (tmp_path / "self/ns/ipc").unlink()
    assert doctor_kernel.namespaces(tmp_path).detail == "not in this kernel: ipc"


@pytest.mark.parametrize(("filter", "status"), [("0", "ok"), ("2", "warn")])
def test_a_filter_on_the_daemon_itself(tmp_path: Path, filter: str, status: str) -> None:
    check = doctor_kernel.system_calls(make(tmp_path, {"self/status": f"Name:\tx\nSeccomp:\t{filter}\n"}))
    assert check.status == status


@pytest.mark.parametrize(("text", "status"), [("kill errno trace\n", "ok"), ("kill\n", "fail"), (None, "fail")])
def test_seccomp(tmp_path: Path, text: str | None, status: str) -> None:
    if text:
        make(tmp_path, {"sys/kernel/seccomp/actions_avail": text})
    assert doctor_kernel.seccomp(tmp_path).status == status


@pytest.mark.parametrize(("limit", "status"), [("15000\n", "ok"), ("0\n", "warn"), (None, "warn")])
def test_user_namespaces(tmp_path: Path, limit: str | None, status: str) -> None:
    make(tmp_path, {"self/ns/user": ""} | ({"sys/user/max_user_namespaces": limit} if limit else {}))
    assert doctor_kernel.user_namespaces(tmp_path).status == status


def test_apparmor_is_told_and_only_the_missing_program_is_an_ailment(tmp_path: Path) -> None:
    assert "not in this kernel" in doctor_kernel.apparmor(tmp_path, "/sbin/apparmor_parser").detail
    make(tmp_path, {"module/apparmor/parameters/enabled": "Y\n", "kernel/security/apparmor/profiles": ""})
    assert doctor_kernel.apparmor(tmp_path, "/sbin/apparmor_parser").status == "ok"
    without = doctor_kernel.apparmor(tmp_path)
    assert (without.status, without.hint) == ("warn", "install the package apparmor")


class Capabilities:
    """Stands for prctl.cap_effective: everything but ``lacking``."""

    def __init__(self, *lacking: str) -> None:
        self._lacking = lacking

    def __getattr__(self, name: str) -> bool:
        return name not in self._lacking


@pytest.mark.parametrize(
    ("lacking", "status", "words"),
    [((), "ok", "all"), (("sys_admin", "net_raw"), "fail", "CAP_SYS_ADMIN"), (("net_raw",), "warn", "CAP_NET_RAW")],
)
def test_capabilities(monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...], status: str, words: str) -> None:
    monkeypatch.setattr("prctl.cap_effective", Capabilities(*lacking))
    check = doctor_kernel.capabilities()
    assert check.status == status
    assert words in check.detail


@pytest.mark.parametrize(("lacking", "status"), [((), "ok"), (("sys_resource",), "warn")])
def test_sys_resource(monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...], status: str) -> None:
    monkeypatch.setattr("prctl.cap_effective", Capabilities(*lacking))
    assert doctor_kernel.sys_resource().status == status


# -- network ----------------------------------------------------------------------------------------------------------


def chain(name: str, policy: str, family: str = "ip", table: str = "filter", hook: str = "forward") -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name, "hook": hook, "policy": policy}}


def last_rule(*statements: dict[str, Any], table: str = "filter") -> list[dict[str, Any]]:
    """A chain that accepts, but for what its one rule says."""
    rule = {"family": "ip", "table": table, "chain": "FORWARD", "expr": [{"counter": {"packets": 1}}, *statements]}
    return [chain("FORWARD", "accept", table=table), {"rule": rule}]


def rule(table: str, interface: str) -> dict[str, Any]:
    match = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface}}
    return {"rule": {"family": "ip", "table": table, "chain": "FORWARD", "expr": [match, {"accept": None}]}}


DROP = chain("FORWARD", "drop")
DOCKER = {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}
REJECT: dict[str, Any] = {"xt": {"type": "target", "name": "REJECT"}}
UFW = {"chain": {"family": "ip", "table": "filter", "name": "ufw-user-forward"}}


@pytest.mark.parametrize(
    ("ruleset", "hint"),
    [
        ([DROP], "iptables -I FORWARD -i minidock0 -j ACCEPT;"),
        ([DROP, DOCKER, UFW], "iptables -I DOCKER-USER -i minidock0 -j ACCEPT;"),
        ([DROP, UFW], "ufw route allow in on minidock0"),
        ([DROP, rule("minidock-minidock0", "minidock0")], "iptables -I FORWARD"),
        ([DROP, rule("filter", "docker0")], "iptables -I FORWARD"),
        (last_rule(REJECT), "iptables -I FORWARD -i minidock0 -j ACCEPT;"),
        (last_rule({"drop": None}), "iptables -I FORWARD -i minidock0 -j ACCEPT;"),
    ],
)
def test_a_policy_that_drops_what_we_forward(ruleset: list[dict[str, Any]], hint: str) -> None:
    check = doctor_network.judge_forwarding(ruleset, "minidock0")
    assert check.status == "warn"
    assert check.detail.startswith("chain ip filter FORWARD drops")
    assert check.hint.startswith(hint)


@pytest.mark.parametrize(
    "ruleset",
    [
        [],
        [chain("FORWARD", "accept")],
        last_rule({"xt": None}),
        last_rule({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth7"}}, {"drop": None}),
        last_rule({"reject": {"type": "icmpx"}}, table="firewalld"),
        [chain("INPUT", "drop", hook="input")],
        [chain("FORWARD", "drop", family="ip6")],
        [DROP, rule("filter", "minidock0")],
        [chain("FORWARD", "drop", family="ip6"), rule("filter", "minidock0")],
    ],
)
def test_a_policy_that_lets_us_pass(ruleset: list[dict[str, Any]]) -> None:
    assert doctor_network.judge_forwarding(ruleset, "minidock0").status == "ok"


def test_each_chain_that_drops_has_its_way_through() -> None:
    check = doctor_network.judge_forwarding([DROP, chain("forward", "drop", family="inet", table="fw")], "minidock0")
    assert check.detail.startswith("chain ip filter FORWARD, inet fw forward drops")
    assert [hint.split(" ")[0] for hint in check.hint.split("; ")] == ["iptables"] * 2 + ["nft"] * 3


def test_ipv6_has_a_policy_of_its_own() -> None:
    ruleset = [chain("FORWARD", "drop", family="ip6"), rule("filter", "minidock0")]
    check = doctor_network.judge_forwarding(ruleset, "minidock0", "ip6")
    assert check.status == "warn" and check.hint.startswith("ip6tables -I FORWARD -i minidock0 -j ACCEPT; ip6tables")


def test_ip_forward(tmp_path: Path) -> None:
    make(tmp_path, {"sys/net/ipv4/ip_forward": "0\n"})
    assert doctor_network.ip_forward(tmp_path).detail.startswith("off; the daemon switches it on")
    make(tmp_path, {"sys/net/ipv4/ip_forward": "1\n"})
    assert doctor_network.ip_forward(tmp_path).detail == "on"


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_space_is_told_of_the_first_directory_that_exists(tmp_path: Path) -> None:
    assert doctor_storage.nearest(tmp_path / "a" / "b") == tmp_path
    assert str(tmp_path) in doctor_storage.space(tmp_path / "a" / "b").detail


def test_a_check_that_fails_is_an_answer() -> None:
    def missing() -> Check:
        raise FileNotFoundError(2, "No such file or directory", "/proc/nothing")

    def refused() -> Check:
        raise Unavailable("no luck", "try again")

    assert guarded("x", missing).detail == "can't be looked at: /proc/nothing: ENOENT (no such file or directory)"
    assert guarded("x", refused) == Check("x", "fail", "no luck", "try again")


def test_json_is_in_dockers_spelling() -> None:
    assert doctor.as_json([Check("nft", "ok", "works")]) == [
        {"Name": "nft", "Status": "ok", "Detail": "works", "Hint": ""}
    ]
