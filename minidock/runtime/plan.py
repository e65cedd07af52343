"""The plan: a container's start as a list of kernel steps. This file answers "what is a container?".

``container_plan`` reads from top to bottom as what happens to a process until it is "in a container"; ``exec_plan``
does the same for a process that joins one. Python only decides here: a plan is plain data. The monitor carries it out
in C, step by step (csrc/walk.c), and reports which step failed with which errno. Each kind of step has a page in
docs/steps/.

Steps before ``clone3`` are the monitor's own, those after it happen in the child; nothing of Python runs in between.
The order is the point: each comment says what must come before or after, and csrc/ says why in detail.

The wire form: the magic line, then for each step the number of its fields and the fields, each as a length (32 bits,
little-endian), the bytes and a NUL. Field 0 is the kind. Numbers are decimal text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minidock.runtime import capabilities
from minidock.runtime.device_bpf import compile_rules
from minidock.runtime.spec import Bind, Borrowed, Directory, ExecSpec, Filesystem, Overlay, Process, Spec, Supervision

MAGIC = b"minidock-plan 1\n"
_U32 = struct.Struct("<I")

Field = str | bytes
"""Text, or raw bytes for a program of the kernel's (a seccomp filter, eBPF)."""


@dataclass(frozen=True)
class Step:
    """One kernel step: its kind and its fields, as in the table of docs/steps/README.md."""

    kind: str
    fields: tuple[Field, ...] = ()

    @property
    def text(self) -> str:
        """One line for people: what the step is about."""
        return _describe(self)


Plan = tuple[Step, ...]


def step(kind: str, *fields: Field | int) -> Step:
    """A step; numbers become decimal text."""
    return Step(kind, tuple(str(field) if isinstance(field, int) else field for field in fields))


def container_plan(spec: Spec) -> Plan:
    """What a container is."""
    process, supervision = spec.process, spec.supervision
    return (
        # The monitor makes ready: a log, pipes; and who may open which device.
        *_supervision(supervision),
        *_device_rules(spec),
        # A process can't change its own pid namespace, only that of the children it will have.
        *_donated_pids(spec),
        *(_birth(spec) if spec.namespaces.user is None else _birth_as_nobody(spec, spec.namespaces.user)),
        *(_mount(mount) for mount in spec.mounts if isinstance(mount, Filesystem | Borrowed)),
        *_devices(spec),
        *(step("symlink", to, path) for to, path in spec.links),
        # The user's mounts come last, so that they cover what is there and nothing covers them.
        *_binds(spec),
        *([step("console")] if supervision.terminal else []),
        # Doors into the kernel: set what was asked for while /proc/sys can be written, then close them.
        *(step("sysctl", name, value) for name, value in spec.sysctl.items()),
        *([step("oom_score_adj", process.oom_score_adj)] if spec.namespaces.user is None else []),
        *(step("mask", path) for path in spec.masked_paths),
        *(step("readonly", path) for path in spec.readonly_paths),
        # From here the host's files are out of reach.
        step("pivot_root"),
        *([step("remount_ro")] if spec.readonly_root else []),
        *([step("hostname", spec.hostname)] if spec.hostname else []),
        *([step("domainname", spec.domainname)] if spec.domainname else []),
        *_identity(process),
    )


def _birth(spec: Spec) -> Iterator[Step]:
    """A child that sees only itself: new namespaces, born inside the container's cgroup."""
    yield step("clone3", ",".join(spec.namespaces.new), spec.supervision.cgroup)
    yield from (step("setns", f"fd:{fd}", kinds) for fd, kinds in spec.namespaces.join)
    # The cgroup namespace's root is the cgroup one is in when it is made, so not before clone3.
    yield from _apart(spec, ["cgroup"] if spec.namespaces.own_cgroup else [])
    # A file tree of its own: nothing mounted from here on can be seen by the host, and nothing stays.
    if "mnt" in spec.namespaces.new:
        yield step("private", *_propagation(spec))
    yield _root(spec.root)


def _apart(spec: Spec, made_here: list[str]) -> Iterator[Step]:
    if made_here:
        yield step("unshare", ",".join(made_here))
    yield step("session")
    yield step("keyring", f"_ses.{spec.ident}")


def _birth_as_nobody(spec: Spec, user: int) -> Iterator[Step]:
    """The same in a user namespace, by way of a child that is root of the host and does what takes that.

    It opens the layers and all files of the host that the container is to have; the process that is born from it could
    not. What is mounted behind ``userns`` belongs to the user namespace.
    """
    process = spec.process
    yield step("clone3", "mnt", "")
    yield from (step("setns", f"fd:{fd}", kinds) for fd, kinds in spec.namespaces.join)
    yield from _with_rights_of_the_host(process)
    yield step("private", *_propagation(spec))
    yield _root(spec.root, f"fd:{user}")
    for bind in _opened(spec):
        shifted = [f"fd:{user}"] if bind.shifted else []
        yield step("tree", bind.source, ",".join(bind.flags), bind.below, *shifted)
    born = [kind for kind in spec.namespaces.new if kind != "ipc"]
    yield step("userns", f"fd:{user}", ",".join(born), spec.supervision.cgroup)
    # Still the host's root by number, which is no number inside. /dev/mqueue is whose the maker of "ipc" is by number.
    yield step("user", 0, 0, "")
    own = [("ipc", "ipc" in spec.namespaces.new), ("cgroup", spec.namespaces.own_cgroup)]
    yield from _apart(spec, [kind for kind, wanted in own if wanted])


def _with_rights_of_the_host(process: Process) -> Iterator[Step]:
    """Only the host's root may lower the score again or raise a limit. The limits themselves come later, exactly."""
    yield step("oom_score_adj", process.oom_score_adj)
    yield from (step("rlimit", limit.name, _limit(limit.hard), _limit(limit.hard)) for limit in process.raised)


def _opened(spec: Spec) -> list[Bind]:
    """What of the host is opened ahead: devices, which can't be made in a user namespace, then the binds."""
    nodes = [Bind(d.source or d.path, d.path, ("nosuid", "noexec", "rprivate")) for d in spec.devices]
    return [*nodes, *(mount for mount in spec.mounts if isinstance(mount, Bind))]


def _devices(spec: Spec) -> Iterator[Step]:
    for number, d in enumerate(spec.devices):
        if spec.namespaces.user is None:
            yield step("mknod", d.path, d.type, d.major, d.minor, f"{d.mode:o}", d.uid, d.gid)
        else:
            yield step("bind", f"tree:{number}", d.path, "")


def _binds(spec: Spec) -> Iterator[Step]:
    binds = [mount for mount in spec.mounts if isinstance(mount, Bind)]
    for number, bind in enumerate(binds, len(spec.devices)):
        yield _mount(bind) if spec.namespaces.user is None else step("bind", f"tree:{number}", bind.target, "")


def exec_plan(spec: ExecSpec) -> Plan:
    """What joining a container is: the same identity, in namespaces that exist already."""
    nobody = "user" in spec.namespaces
    return (
        *_supervision(spec.supervision),
        # A process can't change its own pid namespace, only that of the children it will have.
        step("setns", "fd:0", "pid"),
        step("clone3", "", spec.supervision.cgroup),
        *(_with_rights_of_the_host(spec.process) if nobody else []),
        step("setns", "fd:0", ",".join(spec.namespaces)),
        *([step("user", 0, 0, "")] if nobody else []),
        step("session"),
        step("keyring", f"_ses.{spec.ident}"),
        *([step("tty")] if spec.supervision.terminal else []),
        *([] if nobody else [step("oom_score_adj", spec.process.oom_score_adj)]),
        *_identity(spec.process, "existing"),
    )


def _supervision(supervision: Supervision) -> Iterator[Step]:
    if supervision.log_path:
        yield step("log", supervision.log_path, supervision.log_max_size, supervision.log_max_files)
    mode = "pty" if supervision.terminal else "pipe"
    yield step("stdio", mode, supervision.stdin, supervision.rows, supervision.columns, *(supervision.owner or ()))


def _device_rules(spec: Spec) -> Iterator[Step]:
    if spec.device_rules is not None and spec.supervision.cgroup:
        yield step("devices", spec.supervision.cgroup, compile_rules(spec.device_rules))


def _donated_pids(spec: Spec) -> Iterator[Step]:
    if spec.namespaces.pid_donor is not None:
        yield step("setns", f"fd:{spec.namespaces.pid_donor}", "pid")


def _propagation(spec: Spec) -> tuple[str, ...]:
    """Mounts that the host makes later come in only if a bind asked for that; ours never go out."""
    wanted = {flag for mount in spec.mounts if isinstance(mount, Bind) for flag in mount.flags}
    return ("slave",) if wanted & {"slave", "rslave", "shared", "rshared"} else ()


def _root(root: Overlay | Directory, *user: str) -> Step:
    if isinstance(root, Directory):
        return step("rootfs", root.path, "0")
    options = "volatile" if root.volatile else ""
    return step("overlay", root.target, root.base, ":".join(root.lowers), root.upper, root.work, options, *user)


def _mount(mount: Filesystem | Bind | Borrowed) -> Step:
    if isinstance(mount, Borrowed):
        return step("borrow", f"fd:{mount.fd}", mount.target)
    if isinstance(mount, Bind):
        return step("bind", mount.source, mount.target, ",".join(mount.flags), *([mount.below] if mount.below else []))
    return step("mount", mount.fstype, mount.target, ",".join(mount.flags), ",".join(mount.options))


def _identity(process: Process, *workdir: str) -> Iterator[Step]:
    """Who the process is and what it may do; the same for a container's first process and for exec.

    Only the working directory is not: a start makes it, an exec finds it.

    seccomp comes as late as it can, so that it need not allow what the set-up does. Without no_new_privs loading a
    filter takes CAP_SYS_ADMIN, so it must come before the change of user; with it, it comes right before execve.
    """
    held = capabilities.hex_mask(process.capabilities)
    # A user who is not root keeps no capability, only the bound on what setuid programs may give it back.
    effective = held if process.user.uid == 0 else capabilities.hex_mask(())
    yield step("workdir", process.cwd, *workdir)
    yield step("bounding", held)
    yield step("signals")
    yield step("close_fds")
    # Only asked for here; it is execve that brings it, for the program alone.
    if process.apparmor:
        yield step("apparmor", process.apparmor)
    # Behind all that opens a file of its own: a limit of three open files is the program's to get along with.
    yield from (step("rlimit", limit.name, _limit(limit.soft), _limit(limit.hard)) for limit in process.rlimits)
    if process.seccomp and not process.no_new_privileges:
        yield step("seccomp", process.seccomp)
    yield step("user", process.user.uid, process.user.gid, ",".join(str(gid) for gid in process.user.groups))
    yield step("capabilities", effective, effective)
    if process.no_new_privileges:
        yield step("no_new_privs")
        if process.seccomp:
            yield step("seccomp", process.seccomp)
    if process.init:
        yield step("init")
    yield step("execve", len(process.args), *process.args, *process.env)


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)


def encode(plan: Iterable[Step]) -> bytes:
    """The plan as the monitor reads it (csrc/plan.c). Raises ValueError for a NUL within a text field."""
    parts = [MAGIC]
    for one in plan:
        fields = (one.kind, *one.fields)
        parts.append(_U32.pack(len(fields)))
        for field in fields:
            if isinstance(field, str):
                if "\0" in field:
                    raise ValueError(f"a NUL in a field of the {one.kind} step")
                field = field.encode("utf-8", "surrogateescape")
            parts += (_U32.pack(len(field)), field, b"\0")
    return b"".join(parts)


def show(field: Field) -> str:
    """A field as text: a program is shown by its number of instructions, which have 8 bytes in BPF and eBPF alike."""
    return f"{len(field) // 8} instructions" if isinstance(field, bytes) else field


def _describe(one: Step) -> str:
    fields = [show(field) for field in one.fields]
    match one.kind:
        case "mount":
            return f"{fields[0]} → {fields[1]}  {' '.join(part for part in fields[2:] if part)}".rstrip()
        case "bind":
            return f"{fields[0]} → {fields[1]}  {fields[2]}".rstrip()
        case "symlink":
            return f"{fields[1]} → {fields[0]}"
        case "overlay":
            shifted = f"shifted by {fields[6]}" if len(fields) > 6 else ""
            return f"lower={fields[2]} upper={fields[3]} work={fields[4]} → {fields[0]}  {fields[5]} {shifted}".rstrip()
        case "tree" if len(fields) > 3:
            return f"{fields[0]} {fields[1]} {fields[2]} shifted by {fields[3]}".replace("  ", " ")
        case "clone3":
            return f"{fields[0].replace(',', '|') or 'no new namespaces'}" + (
                f"  into cgroup {fields[1]}" if fields[1] else ""
            )
        case "stdio":
            return f"{fields[0]}, stdin {fields[1]}"
        case "execve":
            return " ".join(fields[1 : 1 + int(fields[0])])
        case "capabilities":
            return f"permitted={fields[0]} effective={fields[1]} inheritable=0 ambient=0"
        case "user":
            return f"uid={fields[0]} gid={fields[1]} groups={fields[2] or 'none'}"
    return " ".join(fields)
