"""Hostile images, configs and containers, through the whole daemon: the escapes that others have paid for.

Each docstring names the way of it (the row of docs/security.md) and the runtime that had the hole. ``victim`` is a
folder of the host that every attack aims at; it must be as before. test_walker_hostile.py tries the same on the monitor
alone, where each attack also has a control that shows it work.
"""

from __future__ import annotations

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
    CVE-2026-41579: runc 1.1.5 replaced a host file ``ptmx`` this way)."""
    make(symlink(link, "../" * depth + str(victim)[1 if depth else 0 :]))
    harmless(minidock(*RUN, "evil", "sh", "-c", f"cat /{link}/secret"))


@pytest.mark.parametrize("name", ["dev/null", "dev/console", "dev/ptmx", "dev/pts/0", "etc/hosts", "etc/resolv.conf"])
def test_a_file_that_is_a_link_to_the_host(minidock: Cli, make: Make, victim: Path, name: str) -> None:
    """Rows 4, 7 and 8: what is bound over a secret, or the console, is whatever the link leads to (CVE-2025-31133,
    CVE-2025-52565); Docker once wrote hosts through such a link."""
    make(symlink(name, f"{victim}/secret"))
    harmless(minidock(*RUN, "-t", "evil", "sh", "-c", "cat </dev/null; wc -c </proc/timer_list; cat /etc/hosts"))


def test_a_working_folder_behind_a_link(minidock: Cli, make: Make, victim: Path) -> None:
    """Row 5: MkdirAll for WORKDIR made directories on the host (CVE-2024-45310)."""
    make(symlink("link", str(victim)), WorkingDir="/link/made")
    assert minidock.ok(*RUN, "evil", "pwd") == f"{victim}/made", "made inside, where the link leads there"


@pytest.mark.parametrize("number", range(3, 12))
def test_a_working_folder_behind_a_descriptor(minidock: Cli, make: Make, victim: Path, number: int) -> None:
    """Row 2: WORKDIR /proc/self/fd/N of a leaked host directory (CVE-2024-21626)."""
    make(WorkingDir=f"/proc/self/fd/{number}")
    result = minidock(*RUN, "evil", "cat", f"../../../../../../{victim}/secret")
    harmless(result)
    assert result.code != 0


def program(daemon: Daemon) -> str:
    """The digest of the monitor that the daemon runs, a memfd of its own."""
    held = []
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed: a descriptor of a request, not the memfd
            held += [fd] if os.readlink(fd).startswith("/memfd:minidock") else []
    (memfd,) = held
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
    (CVE-2019-5736); a Python process that does chroot and execv is vulnerable."""
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
    """Row 21: 2^32 wraps around to root (CVE-2024-40635, CVE-2026-46680), here straight and by /etc/passwd."""
    try:
        make(file("etc/passwd", b"root:x:0:0::/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\n"), **config)
    except AssertionError as refused:  # at the load already
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "id", "-u")
    assert result.code != 0 or result.out.strip() not in ("", "0"), str(result)
    harmless(result)


def test_the_daemon_s_variables_are_its_own(minidock: Cli, make: Make) -> None:
    """Row 21: a name without ``=`` in the image's Env is filled in from the host (CVE-2026-57231)."""
    try:
        make(Env=["HOME", "TMPDIR", "*", "A=1"])
    except AssertionError as refused:
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "env")
    harmless(result)
    assert "TMPDIR" not in result.out and "/md-" not in result.out


@pytest.mark.parametrize("path", ["../../../../..{victim}", "{victim}/../../x/..", "link/sub", "/link"])
def test_a_volume_of_the_image_that_leads_out(minidock: Cli, make: Make, victim: Path, path: str) -> None:
    """Row 21: what lies at a volume's path is copied into the new volume, from the host where the path leads there
    (CVE-2022-23648)."""
    try:
        make(symlink("link", str(victim)), Volumes={path.format(victim=victim): {}})
    except AssertionError as refused:
        assert "Traceback" not in str(refused)
        return
    result = minidock(*RUN, "evil", "sh", "-c", "cat /link/secret; find / -xdev -name secret 2>/dev/null | xargs cat")
    harmless(result)


@pytest.mark.parametrize("user", ["1_000", "+1", "٤", "0x0", " 0", "1e3", "-1", "4294967296", "root\n"])
def test_exec_takes_no_number_for_another(minidock: Cli, make: Make, user: str) -> None:
    """Row 22: crun took what it could not read for 0 (CVE-2026-30892); Python's int() reads ``1_000`` and ``٤``."""
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
    """Row 23: CRI-O passed ``+`` in a value on as a second setting (CVE-2022-0811)."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    assert minidock(*RUN, "--sysctl", sysctl, "busybox", "true").code == 125
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_no_socket_of_ours_has_an_abstract_name(daemon: Daemon, minidock: Cli) -> None:
    """Row 12: a container on the host's network reaches abstract sockets; containerd's shim had one
    (CVE-2020-15257)."""
    names = minidock.ok("run", "--rm", "--network", "host", "busybox", "cat", "/proc/net/unix")
    assert str(daemon.base) in names, "the control: what has a path is seen, and only the file system guards it"
    assert [line for line in names.splitlines() if " @" in line and ("minidock" in line or "md-" in line)] == []


def test_what_a_container_writes_into_our_state_is_never_run(fresh_daemon: Daemon, victim: Path) -> None:
    """Row 32: with the data root bound into a container, hooks put into a bundle ran on the host at the next start."""
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
