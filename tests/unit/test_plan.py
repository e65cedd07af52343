"""The plan of a start and of an exec: which steps, in which order, and their wire form.

What a user would notice if the order were wrong is an escape or a container that does not start; here the order is held
without root, in tests/root the kernel has its say.
"""

from __future__ import annotations

import struct

import pytest

from minidock.runtime.devices import DEFAULT_NODES, DEFAULT_RULES
from minidock.runtime.plan import MAGIC, Plan, container_plan, encode, exec_plan, step
from minidock.runtime.spec import (
    Bind,
    ExecSpec,
    Filesystem,
    Namespaces,
    Overlay,
    Process,
    Rlimit,
    Spec,
    Supervision,
    User,
)

ROOT = Overlay("/c/rootfs", "/layers", ("b/diff", "a/diff"), "/c/upper", "/c/work")
CAPABILITIES = frozenset({"CAP_CHOWN", "CAP_KILL"})


def spec(**changes: object) -> Spec:
    given = {
        "process": Process(
            ("sh", "-c", "true"), ("A=1",), capabilities=CAPABILITIES, seccomp=b"\0" * 16, apparmor="p", init=True
        ),
        "root": ROOT,
        "supervision": Supervision("/cg/c", log_path="/c/log"),
        "mounts": (Filesystem("proc", "/proc", ("nosuid",)), Bind("/src", "/dst", ("rec",))),
        "devices": DEFAULT_NODES,
        "device_rules": DEFAULT_RULES,
        "masked_paths": ("/proc/kcore",),
        "readonly_paths": ("/proc/sys",),
        "hostname": "h",
        "sysctl": {"net.ipv4.ip_forward": "1"},
        **changes,
    }
    return Spec(**given)  # type: ignore[arg-type]


def kinds(plan: Plan) -> list[str]:
    return [one.kind for one in plan]


def before(plan: Plan, first: str, second: str) -> bool:
    order = kinds(plan)
    return len(order) - 1 - order[::-1].index(first) < order.index(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("devices", "clone3"),  # no instruction of the container without the guard
        ("clone3", "unshare"),  # the cgroup namespace's root is the container's cgroup, not the monitor's
        ("private", "overlay"),  # or the host would see the mounts
        ("overlay", "mount"),
        ("mount", "mknod"),  # into the new /dev, not the image's
        ("mount", "bind"),
        ("bind", "mask"),  # a bind must not uncover what is masked
        ("sysctl", "readonly"),  # /proc/sys is still writable
        ("mask", "pivot_root"),
        ("bind", "pivot_root"),  # sources are the host's
        ("pivot_root", "workdir"),
        ("pivot_root", "bounding"),  # pivot_root needs CAP_SYS_ADMIN
        ("bounding", "user"),
        ("user", "capabilities"),
        ("signals", "execve"),
        ("close_fds", "execve"),
        ("apparmor", "seccomp"),
        ("apparmor", "user"),  # the writer must be who opened the file
        ("apparmor", "init"),  # whose parent has to know the profile
    ],
)
def test_order(first: str, second: str) -> None:
    assert before(container_plan(spec()), first, second)


def test_execve_is_last_and_carries_arguments_and_environment() -> None:
    last = container_plan(spec())[-1]
    assert last == step("execve", 3, "sh", "-c", "true", "A=1")


def test_seccomp_comes_before_the_user_is_changed_unless_no_new_privs() -> None:
    plain = container_plan(spec())
    assert before(plain, "seccomp", "user") and "no_new_privs" not in kinds(plain)
    process = Process(("sh",), no_new_privileges=True, seccomp=b"\0" * 16)
    strict = container_plan(spec(process=process))
    assert before(strict, "capabilities", "seccomp") and before(strict, "no_new_privs", "seccomp")


def test_root_keeps_its_capabilities_and_another_user_only_the_bound() -> None:
    fields = {one.kind: one.fields for one in container_plan(spec())}
    assert fields["capabilities"] == ("0000000000000021", "0000000000000021")
    process = Process(("sh",), user=User(1000, 1000, (1000,)), capabilities=CAPABILITIES)
    fields = {one.kind: one.fields for one in container_plan(spec(process=process))}
    assert fields["bounding"] == ("0000000000000021",)
    assert fields["capabilities"] == ("0000000000000000", "0000000000000000")
    assert fields["user"] == ("1000", "1000", "1000")


def test_what_was_not_asked_for_is_not_there() -> None:
    plan = container_plan(Spec(Process(("true",)), ROOT))
    assert not {"log", "console", "remount_ro", "sysctl", "init", "seccomp", "rlimit", "devices"} & set(kinds(plan))


def test_what_was_asked_for_is_there() -> None:
    process = Process(("true",), init=True, rlimits=(Rlimit("nofile", 10, -1),), oom_score_adj=5)
    supervision = Supervision(terminal=True, stdin="once", rows=24, columns=80)
    plan = container_plan(spec(process=process, supervision=supervision, readonly_root=True))
    assert {"init", "console", "remount_ro", "oom_score_adj"} <= set(kinds(plan))
    assert step("rlimit", "nofile", "10", "unlimited") in plan
    assert step("stdio", "pty", "once", 24, 80) in plan
    assert before(plan, "capabilities", "init"), "the reaper must not keep what the process gave up"


def test_the_host_network_is_joined_by_not_leaving_it() -> None:
    assert "net" not in container_plan(spec())[kinds(container_plan(spec())).index("clone3")].fields[0]


def test_another_container_s_pid_namespace_is_joined_before_the_clone() -> None:
    """Only children are moved by setns(2) to a pid namespace; the network's is joined by the child itself."""
    shared = Namespaces(new=("mnt", "ipc"), own_cgroup=False, join=((0, "net"),), pid_donor=1)
    plan = container_plan(spec(namespaces=shared))
    assert [one.fields for one in plan if one.kind in ("setns", "clone3", "unshare")] == [
        ("fd:1", "pid"), ("mnt,ipc", "/cg/c"), ("fd:0", "net")
    ]  # fmt: skip


def test_exec_joins_the_pid_namespace_before_it_forks_and_the_others_after() -> None:
    plan = exec_plan(ExecSpec(Process(("ps",), capabilities=CAPABILITIES), "c", Supervision("/cg/c")))
    order = kinds(plan)
    assert order.index("setns") < order.index("clone3") < len(order) - 1 - order[::-1].index("setns")
    assert plan[order.index("setns")].fields == ("fd:0", "pid")
    assert before(plan, "capabilities", "execve")
    assert not {"overlay", "pivot_root", "mount", "mask"} & set(order)


REMAPPED = Namespaces(join=((0, "net"),), user=1)


def remapped(**changes: object) -> Plan:
    mounts = (
        Filesystem("proc", "/proc"),
        Bind("/src", "/dst", ("rec", "ro")),
        Bind("/vol", "/v", (), "b", shifted=True),
    )
    raised = Process(("sh",), raised=(Rlimit("nofile", 5, 9),), rlimits=(Rlimit("nofile", 5, 9),), oom_score_adj=7)
    return container_plan(spec(**{"namespaces": REMAPPED, "mounts": mounts, "process": raised, **changes}))


def test_in_a_user_namespace_all_that_takes_the_host_s_root_comes_before_it_is_joined() -> None:
    plan = remapped()
    order = kinds(plan)
    at = order.index("userns")
    assert set(order[order.index("clone3") : at]) == {
        "clone3", "setns", "oom_score_adj", "rlimit", "private", "overlay", "tree"
    }  # fmt: skip
    assert not {"overlay", "tree", "oom_score_adj", "mknod"} & set(order[at:])
    assert plan[order.index("clone3")].fields == ("mnt", ""), "the first process sees the host, from its own cgroup"
    assert plan[at].fields == ("fd:1", "mnt,pid,uts", "/cg/c") and plan[at + 1] == step("user", 0, 0, "")
    assert plan[at + 2] == step("unshare", "ipc,cgroup")
    assert plan[order.index("overlay")].fields[-1] == "fd:1"
    limits = [one.fields for one in plan if one.kind == "rlimit"]
    assert limits == [("nofile", "9", "9"), ("nofile", "5", "9")], "raised by the host's root, then set exactly"


def test_what_is_bound_in_a_user_namespace_was_opened_ahead() -> None:
    plan = remapped()
    trees = [one.fields for one in plan if one.kind == "tree"]
    binds = [one.fields[:2] for one in plan if one.kind == "bind"]
    nodes = [node.path for node in DEFAULT_NODES]
    assert [fields[0] for fields in trees] == [*nodes, "/src", "/vol"]
    assert binds == [(f"tree:{n}", path) for n, path in enumerate([*nodes, "/dst", "/v"])]
    assert trees[-2:] == [("/src", "rec,ro", ""), ("/vol", "", "b", "fd:1")], "only what is ours is shifted"
    shared = remapped(namespaces=Namespaces(new=("mnt", "uts"), pid_donor=1, user=2))
    assert next(one for one in shared if one.kind == "userns").fields[:2] == ("fd:2", "mnt,uts")


def test_exec_in_a_user_namespace() -> None:
    joined = ("user", *ExecSpec.namespaces)
    plan = exec_plan(ExecSpec(Process(("ps",)), "c", Supervision("/cg/c", owner=(100000, 100001)), joined))
    order = kinds(plan)
    joins = len(order) - 1 - order[::-1].index("setns")
    assert order.index("clone3") < order.index("oom_score_adj") < joins and plan[joins + 1] == step("user", 0, 0, "")
    assert order.count("oom_score_adj") == 1 and plan[joins].fields[1] == "user,mnt,net,ipc,uts,cgroup"
    assert plan[0] == step("stdio", "pipe", "none", 0, 0, 100000, 100001)


def test_the_wire_form_is_what_the_monitor_reads() -> None:
    data = encode([step("hostname", "hé"), step("seccomp", b"\0\1")])
    assert data.startswith(MAGIC)
    at = len(MAGIC)
    for wanted in ((b"hostname", "hé".encode()), (b"seccomp", b"\0\1")):
        assert struct.unpack_from("<I", data, at) == (2,)
        at += 4
        for field in wanted:
            assert struct.unpack_from("<I", data, at) == (len(field),)
            assert data[at + 4 : at + 5 + len(field)] == field + b"\0"
            at += 5 + len(field)
    assert at == len(data)


def test_a_nul_in_a_text_field_is_refused() -> None:
    with pytest.raises(ValueError, match="hostname"):
        encode([step("hostname", "a\0b")])


@pytest.mark.parametrize("plan", [container_plan(spec()), remapped(), exec_plan(ExecSpec(Process(("true",))))])
def test_every_step_reads_well(plan: Plan) -> None:
    for one in plan:
        assert "b'" not in one.text and "\n" not in one.text
