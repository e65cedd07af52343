"""The seccomp profile of a container: which system calls it may make.

Some 360 of the kernel's calls are harmless in a container, about 40 need a capability to be, and the rest (keyrings,
io_uring, kexec, userfaultfd …) only add attack surface. The default profile, ``seccomp-default.json``, is our own in
Docker's format and with Docker's decisions; each of its rules says in a comment what it is for. It differs from the
profile of Docker Engine 29 (moby/profiles 0.2.3) in two places, on purpose:

* ``socketcall`` is not allowed. It is 32-bit x86's one call for all socket work; its arguments lie in memory where a
  filter can't look, so allowing it gives away the rule on socket families. 32-bit libraries use the calls of their own
  that socket(2) and its kin got in Linux 4.3.
* Socket families are compared by their low 32 bits, which is what the kernel looks at. Docker's rule ``family > 40``
  compares 64 and lets a family of 2^32 + 38 pass, which the kernel then takes for AF_ALG. What is above 47 is refused:
  no such family exists.

A profile is resolved for a capability set, this architecture and this kernel, then compiled by libseccomp
(seccomp_bpf.py). That takes some 20 ms, so programs are kept: in memory, and in a directory of the daemon's that the
next daemon finds again.

Serves runtime/plan.py (step ``seccomp``). Read next: seccomp_syntax.py, seccomp_bpf.py, docs/steps/seccomp.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from minidock.runtime.seccomp_bpf import Call, Filter, build, library_version
from minidock.runtime.seccomp_syntax import SIZE_LIMIT, Condition, Document, Rule, parse
from minidock.wire.errors import InvalidArgument

_DEFAULT = Path(__file__).with_name("seccomp-default.json")

# uname's machine → (name in archMap, Go's name, used in includes and excludes).
_MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "i686": ("SCMP_ARCH_X86", "x86"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
}


@dataclass(frozen=True)
class Host:
    """What a profile is resolved for, beside the capabilities: uname's machine, and the kernel's major and minor."""

    machine: str
    kernel: tuple[int, int]

    @classmethod
    def this(cls) -> Host:
        system = os.uname()
        found = re.match(r"(\d+)\.(\d+)", system.release)
        return cls(system.machine, (int(found[1]), int(found[2])) if found else (0, 0))


@dataclass(frozen=True)
class SeccompProfile:
    """A profile that was read and found sound. Two are equal when their texts are: ``digest`` is the text's sha256."""

    digest: str
    source: str = field(compare=False)
    document: Document = field(compare=False, repr=False)

    @classmethod
    def load(cls, path: Path | None = None) -> SeccompProfile:
        """The profile in a file, or the default one. Raises InvalidArgument."""
        if path is None:
            return _default()
        try:
            with path.open("rb") as file:
                text = file.read(SIZE_LIMIT + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidArgument(f"seccomp profile {path}: {reason}", "give a file, or unconfined") from None
        return cls.parse(text, path.name)

    @classmethod
    def parse(cls, text: str | bytes, source: str = "as given") -> SeccompProfile:
        """The profile in a text, as the docker CLI sends it; ``source`` is for messages. Raises InvalidArgument."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return cls(hashlib.sha256(data).hexdigest(), source, parse(data, source))

    def resolve(self, capabilities: frozenset[str], host: Host) -> Filter:
        """What is left of the profile on this host for these capabilities."""
        native, go_name = self._native(host)
        rules = self.document.rules
        calls = [
            Call(name, rule.action, rule.arguments)
            for rule in rules
            if _applies(rule, capabilities, go_name, host.kernel)
            for name in rule.names
        ]
        names = dict.fromkeys((native, *self.document.architectures, *self.document.arch_map.get(native, ())))
        return Filter(
            default=self.document.default,
            architectures=tuple(name.removeprefix("SCMP_ARCH_").lower() for name in names),
            calls=tuple(dict.fromkeys(calls)),
            mentioned=frozenset(name for rule in rules for name in rule.names),
        )

    def _native(self, host: Host) -> tuple[str, str]:
        if host.machine not in _MACHINES:
            raise InvalidArgument(f"seccomp profile {self.source}: no support for {host.machine}", "use unconfined")
        return _MACHINES[host.machine]


@lru_cache(maxsize=64)
def compile_profile(profile: SeccompProfile, capabilities: frozenset[str], cache: Path | None = None) -> bytes:
    """The program for a container with these capabilities (``CAP_…``): bytes of ``struct sock_filter[]``.

    ``cache`` is a directory to keep programs in (made if missing); what is wrong with it costs time, not the start.
    Raises InvalidArgument for a rule that can't be expressed or a machine that the profile does not cover.
    """
    wanted = profile.resolve(capabilities, Host.this())
    if cache is None:
        return build(wanted)
    path = cache / f"{_key(wanted)}.bpf"
    program = _read(path)
    if program is None:
        program = build(wanted)
        with contextlib.suppress(OSError):
            _write(path, program)
    return program


@lru_cache(maxsize=1)
def _default() -> SeccompProfile:
    return SeccompProfile.parse(_DEFAULT.read_bytes(), "default")


def _applies(rule: Rule, capabilities: frozenset[str], arch: str, kernel: tuple[int, int]) -> bool:
    """Docker's rules: all that ``includes`` asks for must hold, and nothing that ``excludes`` names."""
    wanted, unwanted = rule.includes, rule.excludes
    return (
        _holds(wanted, arch, kernel)
        and wanted.capabilities <= capabilities
        and not unwanted.capabilities & capabilities
        and arch not in unwanted.arches
        and not (unwanted.kernel and kernel >= unwanted.kernel)
    )


def _holds(wanted: Condition, arch: str, kernel: tuple[int, int]) -> bool:
    return (not wanted.arches or arch in wanted.arches) and (not wanted.kernel or kernel >= wanted.kernel)


def _key(wanted: Filter) -> str:
    """Everything that the program depends on; the number in front changes with our own part of the compiler."""
    text = "\n".join(("1", library_version(), os.uname().machine, *_lines(wanted)))
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(wanted: Filter) -> Iterator[str]:
    yield f"{wanted.default} {wanted.architectures} {sorted(wanted.mentioned)}"
    yield from (repr(call) for call in wanted.calls)


_DIGEST_SIZE = hashlib.sha256().digest_size


def _read(path: Path) -> bytes | None:
    """A kept program; None if there is none or the file is not what was written (a crash, a full disk)."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, program = stored[:_DIGEST_SIZE], stored[_DIGEST_SIZE:]
    return program if hashlib.sha256(program).digest() == digest else None


def _write(path: Path, program: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file, contextlib.ExitStack() as undo:
        undo.callback(Path(file.name).unlink, missing_ok=True)
        file.write(hashlib.sha256(program).digest() + program)
        file.flush()
        Path(file.name).replace(path)
