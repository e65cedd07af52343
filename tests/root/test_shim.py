"""minidock.linux.shim: opening inside a root, namespaces of one thread, views of layers, and the spawn of a memfd.

Read next: csrc/shim.c.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from minidock.linux import shim
from tests.support.busybox import BUSYBOX

CLONE_NEWUTS = 0x04000000


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Three layers, top first: c hides a file of b (a whiteout) and replaces one of a."""
    for name, files in {"a": ("kept", "replaced"), "b": ("hidden",), "c": ("replaced",)}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text(name)
    os.mknod(tmp_path / "c" / "hidden", 0o020000, os.makedev(0, 0))
    return tmp_path


def listing(view: int) -> dict[str, str]:
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=view)
    try:
        return {name: os.read(shim.openat2(view, name, os.O_RDONLY), 100).decode() for name in os.listdir(root)}
    finally:
        os.close(root)


# -- openat2 ----------------------------------------------------------------------------------------------------------


def test_a_path_stays_in_its_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("inside")
    for link, target in {
        "absolute": "/etc/passwd",
        "up": "../../../../../etc/passwd",
        "magic": "/proc/self/exe",
    }.items():
        (tmp_path / link).symlink_to(target)
    root = os.open(tmp_path, os.O_PATH)
    for path in ("/etc/passwd", "etc/passwd", "absolute", "up", "../../etc/passwd"):
        fd = shim.openat2(root, path, os.O_RDONLY)
        assert os.read(fd, 10) == b"inside" and not os.get_inheritable(fd)
        os.close(fd)
    with pytest.raises(FileNotFoundError) as raised:
        shim.openat2(root, "magic", os.O_PATH)
    assert raised.value.filename == "magic"
    with pytest.raises(OSError) as refused:
        shim.openat2(root, "absolute", os.O_RDONLY, resolve=shim.RESOLVE_BENEATH)
    assert refused.value.errno == errno.EXDEV
    with pytest.raises(ValueError):
        shim.openat2(root, "etc/passwd\0x", os.O_PATH)
    os.close(root)


def test_creating_with_a_mode(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH)
    os.close(shim.openat2(root, "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.close(root)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_only_the_thread_that_asks_is_moved() -> None:
    def own(inner: list[str]) -> None:
        old = os.open("/proc/thread-self/ns/uts", os.O_RDONLY)
        shim.unshare(CLONE_NEWUTS)
        inner.append(os.readlink("/proc/thread-self/ns/uts"))
        shim.setns(old, CLONE_NEWUTS)
        inner.append(os.readlink("/proc/thread-self/ns/uts"))
        os.close(old)

    seen: list[str] = []
    thread = threading.Thread(target=own, args=(seen,))
    thread.start()
    thread.join()
    here = os.readlink("/proc/self/ns/uts")
    assert seen[0] != here and seen[1] == here
    with pytest.raises(OSError) as raised:
        shim.setns(0, CLONE_NEWUTS)
    assert raised.value.errno == errno.EINVAL


# -- views ------------------------------------------------------------------------------------------------------------


def test_layers_as_one_tree(layers: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    view = shim.overlay_view(str(layers), "c:b:a")
    assert listing(view) == {"kept": "a", "replaced": "c"}
    with pytest.raises(OSError) as raised:
        os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=view)
    assert raised.value.errno == errno.EROFS
    assert Path("/proc/self/mountinfo").read_text() == before
    os.close(view)


def test_a_single_layer(layers: Path) -> None:
    view = shim.overlay_view(str(layers), "a")
    assert listing(view) == {"kept": "a", "replaced": "a"}
    with pytest.raises(OSError) as raised:
        os.open("kept", os.O_WRONLY, dir_fd=view)
    assert raised.value.errno == errno.EROFS
    os.close(view)


def test_the_way_of_older_kernels(layers: Path) -> None:
    """Paths of over 255 bytes are refused by fsconfig(2) as "lowerdir+" is before Linux 6.5; the thread takes over."""
    base = layers / ("x" * 200) / ("y" * 200)
    base.mkdir(parents=True)
    for name in "abc":
        (layers / name).rename(base / name)
    before, cwd = Path("/proc/self/mountinfo").read_text(), Path.cwd()
    view = shim.overlay_view(str(base), "c:b:a")
    assert listing(view) == {"kept": "a", "replaced": "c"}
    with pytest.raises(OSError):
        os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=view)
    assert (Path("/proc/self/mountinfo").read_text(), Path.cwd()) == (before, cwd)
    os.close(view)


@pytest.mark.parametrize(
    ("lowers", "error"), [("", "EINVAL"), ("a::b", "EINVAL"), ("a:nosuch", "ENOENT"), ("x", "ENOENT")]
)
def test_layers_that_are_not_there(layers: Path, lowers: str, error: str) -> None:
    with pytest.raises(OSError) as raised:
        shim.overlay_view(str(layers), lowers)
    assert errno.errorcode[raised.value.errno or 0] == error and raised.value.filename == str(layers)


# -- spawn ------------------------------------------------------------------------------------------------------------


def in_memfd(path: str) -> int:
    fd = os.memfd_create("program", os.MFD_CLOEXEC)
    os.write(fd, Path(path).read_bytes())
    return fd


SAY = """
    exec >&4
    cat <&3
    grep -E 'SigIgn|SigBlk' /proc/self/status
    for fd in /proc/self/fd/*; do echo ${fd##*/}; done
"""


def test_spawn_gives_the_fds_in_order_and_no_others() -> None:
    """The numbers collide on purpose: what is wanted as 3 is likely 4 here or the other way round."""
    read, write = os.pipe()
    program, text = in_memfd(BUSYBOX), in_memfd("/etc/hostname")
    leak = os.dup(read)
    os.set_inheritable(leak, True)
    os.lseek(text, 0, 0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    pid = shim.spawn(program, [text, write], ["busybox", "sh", "-c", SAY])
    os.close(write)
    with open(read) as file:
        lines = file.read().splitlines()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (program, text, leak):
        os.close(fd)
    assert lines[0] == Path("/etc/hostname").read_text().strip()
    assert lines[1] == "SigBlk:\t0000000000000000"
    assert int(lines[2].split()[1], 16) & ~0x180000000 == 0  # 32 and 33 are glibc's own; some versions ignore them
    # 6 is the program itself; 5, the gap before it, is the folder that the shell's glob reads, or nothing.
    assert [int(fd) for fd in lines[3:]] in ([0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 5, 6])


def test_spawn_reports_what_went_wrong() -> None:
    with pytest.raises(OSError) as raised:
        shim.spawn(0, [987], ["x"])
    assert raised.value.errno == errno.EBADF
    nothing = os.memfd_create("nothing")
    with pytest.raises(OSError) as raised:
        shim.spawn(nothing, [], ["x"])
    assert raised.value.errno in (errno.ENOEXEC, errno.EACCES)
    os.close(nothing)
