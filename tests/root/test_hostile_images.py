"""Hostile images, configs and containers, through the whole daemon: the escapes that others have paid for.

Each docstring names the way of it (the row of docs/security.md) and the runtime that had the hole. ``victim`` is a
folder of the host that every attack aims at; it must be as before. test_walker_hostile.py tries the same on the monitor
alone, where each attack also has a control that shows it work. Each test was seen to fail on a daemon with the hole,
which *Variant* in its docstring describes: a guard taken out by hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.cli import Cli, Result
from tests.support.daemon import ARCHIVES, Daemon
from tests.support.images import Item, file, symlink
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay]

RUN = ("run", "--rm", "--network", "none")
Make = Callable[..., str]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of the host, compared afterwards."""
    folder = tmp_path / "victim"
    (folder / "sub").mkdir(parents=True)
    (folder / "secret").write_text("of the host")
    (folder / "sub/secret").write_text("of the host")
    before = images.tree(folder)
    yield folder
    assert images.tree(folder) == before


def busybox_layer() -> bytes:
    with tarfile.open(ARCHIVES["busybox"]) as archive:
        (table,) = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        (name,) = table["Layers"]
        return (archive.extractfile(name) or io.BytesIO()).read()


@pytest.fixture
def make(daemon: Daemon) -> Iterator[Make]:
    """An image of busybox with hostile files on top and a hostile config, as ``evil``."""
    base = busybox_layer()

    def make(*items: Item, **config: Any) -> str:
        layers = [base, images.tar(*items)]
        archive = images.docker_archive(layers, ["evil:latest"], images.image_config(layers, Cmd=["true"], **config))
        daemon.cli.ok("load", stdin=archive)
        return "evil"

    yield make
    daemon.cli("rmi", "-f", "evil")


def harmless(result: Result) -> None:
    """Whatever it did, it was no crash of ours and told no secret."""
    assert "of the host" not in result.out + result.err and "Traceback" not in result.err, str(result)


@pytest.mark.parametrize("link", ["dev", "proc", "sys", "etc"])
@pytest.mark.parametrize("depth", [0, 12])
def test_a_system_folder_that_is_a_link_to_the_host(
    minidock: Cli, make: Make, victim: Path, link: str, depth: int
) -> None:
    """Rows 4, 7 and 9: mounts, nodes and masks are made through the image's link (CVE-2021-30465, CVE-2019-19921,
    CVE-2026-41579: runc 1.1.5 replaced a host file ``ptmx`` this way).

    Variant: path_open() looks up below the root's fd, but without RESOLVE_IN_ROOT, and mount points may be links.
    """
    make(symlink(link, "../" * depth + str(victim)[1 if depth else 0 :]))
    result = minidock(*RUN, "evil", "sh", "-c", f"cat /{link}/secret; ls /dev/zero; cat /etc/hosts")
    harmless(result)
    if link in ("etc", "dev"):
        assert "/dev/zero" in result.out and "localhost" in result.out, "what the link leads to is inside, too"
    else:
        assert result.code == 125, "procfs and sysfs are mounted on plain directories or not at all"


@pytest.mark.parametrize("name", ["dev/null", "dev/console", "dev/ptmx", "etc/hosts", "etc/resolv.conf"])
def test_a_file_that_is_a_link_to_the_host(minidock: Cli, make: Make, victim: Path, name: str) -> None:
    """Rows 4, 7 and 8: what is bound over a secret, or the console, is whatever the link leads to (CVE-2025-31133,
    CVE-2025-52565); Docker once wrote hosts through such a link.

    Variant: as above for those in /etc; for those in /dev without a /dev of the container's own over the image's.
    """
    make(symlink(name, f"{victim}/secret"))
    shell = "cat </dev/null; cat /proc/timer_list; cat /etc/hosts /etc/resolv.conf; echo $? >/dev/null; ls -l /dev"
    result = minidock(*RUN, "-t", "evil", "sh", "-c", shell)
    harmless(result)
    assert "localhost" in result.out and "No such file" not in result.out and str(victim) not in result.out, str(result)


def test_a_working_folder_behind_a_link(minidock: Cli, make: Make, victim: Path) -> None:
    """Row 5: MkdirAll for WORKDIR made directories on the host (CVE-2024-45310).

    Variant: the step `workdir` before `pivot_root`, by a path_open() without RESOLVE_IN_ROOT.
    """
    make(symlink("link", str(victim)), WorkingDir="/link/made")
    assert minidock.ok(*RUN, "evil", "pwd") == f"{victim}/made", "made inside, where the link leads there"


@pytest.mark.parametrize("number", range(3, 12))
def test_a_working_folder_behind_a_descriptor(minidock: Cli, make: Make, victim: Path, number: int) -> None:
    """Row 2: WORKDIR /proc/self/fd/N of a leaked host directory (CVE-2024-21626).

    Variant: the step `workdir` is chdir(2) and no more, and the old root was left open (as descriptor 5).
    """
    make(WorkingDir=f"/proc/self/fd/{number}")
    result = minidock(*RUN, "evil", "cat", f"../../../../../../{victim}/secret")
    harmless(result)
    assert result.code != 0


def program(daemon: Daemon) -> str:
    """The digest of the monitor that the daemon runs, a memfd of its own, which nothing can ever write to."""
    held = []
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed: a descriptor of a request, not the memfd
            held += [fd] if os.readlink(fd).startswith("/memfd:minidock") else []
    (memfd,) = held
    with memfd.open("rb") as file:
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    return hashlib.sha256(memfd.read_bytes()).hexdigest()


OVERWRITE = """
    while :; do
        for exe in /proc/[0-9]*/exe; do
            case $(readlink $exe) in *memfd*) echo seen; { echo evil >$exe; } 2>/dev/null && echo WRITTEN;; esac
        done
    done
"""


def test_the_runtime_s_own_program_can_not_be_written(daemon: Daemon, minidock: Cli, make: Make) -> None:
    """Row 1: an entry point ``#!/proc/self/exe`` runs the runtime inside, whose file is then overwritten on the host
    (CVE-2019-5736); a Python process that does chroot and execv is vulnerable.

    While the program runs, the kernel refuses (ETXTBSY); afterwards the seals do, so they are looked at.
    Variant: a memfd without seals; the monitor run from its file on the host.
    """
    make(file("evil", b"#!/proc/self/exe\n", mode=0o755))
    before = program(daemon)
    box = minidock.ok("run", "-d", "--network", "none", "evil", "sh", "-c", OVERWRITE)
    try:
        for _ in range(100):
            harmless(minidock("exec", box, "/evil"))
            if "seen" in (log := minidock.ok("logs", box)):
                break
        assert "seen" in log, "the control: the container does get at the program while it is there"
        harmless(minidock(*RUN, "evil", "/evil"))
        assert "WRITTEN" not in minidock.ok("logs", box)
    finally:
        minidock.ok("rm", "-f", box)
    assert program(daemon) == before


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"User": "4294967296"}, "range"),
    ({"User": "-1"}, "user"),
    ({"User": "0\n1"}, "user"),
    ({"User": "big"}, "range"),
]


@pytest.mark.parametrize(("config", "words"), CONFIGS)
def test_a_user_that_is_no_number_of_a_user(minidock: Cli, make: Make, config: Any, words: str) -> None:
    """Row 21: 2^32 wraps around to root (CVE-2024-40635, CVE-2026-46680), here straight and by /etc/passwd.

    Variant: a number modulo 2^32 and what is none taken for 0, no check of the text.
    """
    try:
        make(file("etc/passwd", b"root:x:0:0::/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\n"), **config)
    except AssertionError as refused:  # at the load already
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "id", "-u")
    assert result.code != 0 or result.out.strip() not in ("", "0"), str(result)
    harmless(result)


def test_the_daemon_s_variables_are_its_own(minidock: Cli, make: Make) -> None:
    """Row 21: a name without ``=`` in the image's Env is filled in from the host (CVE-2026-57231).

    Variant: it is filled in from os.environ.
    """
    try:
        make(Env=["HOME", "TMPDIR", "*", "A=1"])
    except AssertionError as refused:
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "env")
    harmless(result)
    assert "TMPDIR" not in result.out and "/md-" not in result.out


@pytest.mark.parametrize("path", ["link/sub", "/link", "/link/sub"])
def test_a_volume_of_the_image_that_leads_out(minidock: Cli, make: Make, victim: Path, path: str) -> None:
    """Row 21: what lies at a volume's path is copied into the new volume, from the host where the path leads there
    (CVE-2022-23648).

    Paths with ".." don't come so far: unit/test_image_config.py. Variant: the copy's source opened without openat2, and
    no check of the text.
    """
    try:
        make(symlink("link", str(victim)), Volumes={path: {}})
    except AssertionError as refused:
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "sh", "-c", "find / -path /proc -prune -o -name secret -print | xargs cat")
    harmless(result)


@pytest.mark.parametrize("user", ["1_000", "+1", "٤", "0x0", " 0", "1e3", "-1", "4294967296", "root\n"])
def test_exec_takes_no_number_for_another(minidock: Cli, make: Make, user: str) -> None:
    """Row 22: crun took what it could not read for 0 (CVE-2026-30892); Python's int() reads ``1_000`` and ``٤``.

    Variants: int(), and what it can't read is 0; isdigit(), and the rest is 0. Both without the check of the text.
    """
    make()
    box = minidock.ok("run", "-d", "--network", "none", "-u", "1000", "evil", "sleep", "1000")
    try:
        result = minidock("exec", "-u", user, box, "id", "-u")
        assert result.code != 0 and not result.out, str(result)
        harmless(result)
    finally:
        minidock.ok("rm", "-f", box)


@pytest.mark.parametrize(
    "sysctl",
    ["kernel.core_pattern=|/x", "kernel/core_pattern=x", "net.../../kernel.panic=1", "net.a=1+kernel.panic=1\nx", "=1"],
)
def test_sysctls_that_are_not_the_container_s(minidock: Cli, sysctl: str) -> None:
    """Row 23: CRI-O passed ``+`` in a value on as a second setting (CVE-2022-0811).

    Refused by the daemon, before there is a process that could try. Variant: no check of names and values; not to be
    tried where the host's settings matter, since it does set them.
    """
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    result = minidock(*RUN, "--sysctl", sysctl, "busybox", "true")
    assert result.code == 125 and ("is not allowed" in result.err or "invalid" in result.err), str(result)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_no_socket_of_ours_has_an_abstract_name(daemon: Daemon, minidock: Cli) -> None:
    """Row 12: a container on the host's network reaches abstract sockets; containerd's shim had one
    (CVE-2020-15257). Variant: the daemon listens at one, too."""
    names = minidock.ok("run", "--rm", "--network", "host", "busybox", "cat", "/proc/net/unix")
    assert str(daemon.base) in names, "the control: what has a path is seen, and only the file system guards it"
    assert [line for line in names.splitlines() if " @" in line and ("minidock" in line or "md-" in line)] == []


def test_what_a_container_writes_into_our_state_is_never_run(fresh_daemon: Daemon, victim: Path) -> None:
    """Row 32: with the data root bound into a container, hooks put into a bundle ran on the host at the next start.

    Variant: a start that runs hooks.d/prestart of the container's folder.
    """
    cli = fresh_daemon.cli
    ident = cli.ok("create", "--network", "none", "busybox", "true")
    hook = json.dumps({"hooks": {"prestart": [{"path": "/state/hook"}]}, "process": {"args": ["/state/hook"]}})
    plant = f"""
        for f in "" /containers/{ident} /tmp /seccomp /trash; do
            mkdir -p /state$f/hooks.d
            for n in hook config.json; do printf '%s' '{hook}' >/state$f/$n; done
            printf '#!/bin/sh\\ntouch {victim}/ran\\n' >/state$f/hooks.d/prestart
            chmod 755 /state$f/hooks.d/prestart
        done
    """
    cli.ok(*RUN, "-v", f"{fresh_daemon.data_root}:/state", "busybox", "sh", "-c", plant)
    fresh_daemon.kill()
    fresh_daemon.start()
    assert cli.ok("start", "-a", ident) == ""
    eventually(lambda: "exited" in cli.ok("inspect", "-f", "{{.State.Status}}", ident), "the container to end")
    cli.ok("rm", ident)
