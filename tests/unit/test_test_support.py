"""The test infrastructure's own tests: strict mode, the time limit, the ledger's arithmetic, the terminal driver.

A guard that can't fail guards nothing: each is seen to fail here. Read next: ../conftest.py, ../support/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ledger, procfs
from tests.support.sources import TOP
from tests.support.terminal import Terminal
from tests.support.wait import eventually

SKIPS = """
import pytest

def test_skip():
    pytest.skip("no such program")

def test_lacking():
    pytest.skip("apparmor: no AppArmor in this kernel")

@pytest.mark.cgroup("nonesuch")
def test_controller():
    pass

def test_passes():
    pass
"""


def pytest_on(code: str, folder: Path, **env: str) -> str:
    """What pytest, with our conftest as a plugin, says of a file with this code."""
    (folder / "test_it.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MINIDOCK_", "PYTEST_"))}
    environment = {**clean, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, check=False).stdout


def test_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert "1 passed, 3 skipped" in pytest_on(SKIPS, tmp_path)


def test_a_skip_is_a_failure_in_strict_mode_unless_the_machine_lacks_it_for_good(tmp_path: Path) -> None:
    out = pytest_on(SKIPS, tmp_path, MINIDOCK_TEST_STRICT="1")
    assert "1 failed, 1 passed, 1 skipped, 1 error" in out
    assert "FAILED test_it.py::test_skip" in out and "ERROR test_it.py::test_controller" in out


def test_a_module_that_skips_itself_fails_in_strict_mode(tmp_path: Path) -> None:
    code = "import pytest\npytest.importorskip('nonesuch')\ndef test_it(): pass\n"
    assert "1 skipped" in pytest_on(code, tmp_path)
    assert "1 error" in pytest_on(code, tmp_path, MINIDOCK_TEST_STRICT="1")


def test_a_test_that_hangs_is_cut_off(tmp_path: Path) -> None:
    code = "import pytest, time\n@pytest.mark.time_limit(0.2)\ndef test_it(): time.sleep(60)\ndef test_next(): pass\n"
    out = pytest_on(code, tmp_path)
    assert "1 failed, 1 passed" in out and "longer than 0.2 s" in out


def test_the_ledger_names_what_is_left_and_what_is_gone() -> None:
    before = {"links": Counter(["lo", "minidock0"]), "leases": Counter(["10.0.0.2"]), "processes": Counter(["sh 7"])}
    after = {"links": Counter(["lo", "minidock0", "md1"]), "leases": Counter[str](), "processes": Counter(["sh 8"])}
    assert ledger.differences(before, after) == [
        "leases: gone: 10.0.0.2",
        "links: left behind: md1",
        "processes: left behind: sh 8",
    ]
    assert ledger.differences(before, before) == []


def test_the_ledger_lets_the_thread_pools_fill_up_and_no_other_thread_stay() -> None:
    def threads(*names: str) -> ledger.Ledger:
        return {"threads of daemon 0": Counter(["minidockd", *names])}

    assert ledger.differences(threads(), threads("slow_0", "slow_63", "trash_0")) == []
    for leaked in (("slow_64",), ("slow_0", "slow_0"), ("minidockd",), ("python",)):
        assert len(ledger.differences(threads(), threads(*leaked))) == 1


def test_a_process_is_ours_by_its_environment_its_folder_or_its_open_files(tmp_path: Path) -> None:
    file = tmp_path / "held"
    file.touch()
    with (
        file.open() as held,
        subprocess.Popen(["sleep", "60"], env={"TMPDIR": str(tmp_path)}) as by_environment,
        subprocess.Popen(["sleep", "60"], cwd=tmp_path) as by_folder,
        subprocess.Popen(["sleep", "60"], stdin=held) as by_file,
        subprocess.Popen(["sleep", "60"]) as stranger,
    ):
        ours = {by_environment.pid, by_folder.pid, by_file.pid}
        started = (by_environment, by_folder, by_file, stranger)
        eventually(lambda: all(procfs.open_files(p.pid) for p in started), "the processes to run")
        found = {process.pid for process in procfs.processes_of(str(tmp_path), set(), set())}
        for process in started:
            process.kill()
    assert found == ours


def test_a_zombie_child_of_a_daemon_is_ours() -> None:
    with subprocess.Popen(["true"]) as child:
        eventually(lambda: "Z" in Path(f"/proc/{child.pid}/stat").read_text(), "the child to end")
        lines = [str(process) for process in procfs.processes_of("/nonesuch", set(), {os.getpid()})]
    assert f"true (pid {child.pid}, zombie)" in lines


@pytest.fixture
def shell() -> Terminal:
    return Terminal(["sh"], {"PATH": os.environ["PATH"], "PS1": "> "}, rows=30, columns=90)


def test_the_terminal_is_a_terminal(shell: Terminal) -> None:
    shell.expect("> ")
    shell.type("stty size; tty\n")
    shell.expect("30 90\r\n/dev/pts/")
    shell.resize(40, 100)
    shell.type("stty size\n")
    shell.expect("40 100")
    shell.type("stty raw\n")
    eventually(lambda: shell.modes() != shell.modes_before, "the modes to change")
    shell.type("exit 7\n")
    assert shell.wait() == 7
    shell.close()


def test_ctrl_c_typed_at_the_terminal_is_a_signal(shell: Terminal) -> None:
    shell.expect("> ")
    shell.type("sh -c 'echo ready; exec sleep 60'\n")
    shell.expect("ready\r\n")
    shell.type("\x03")
    shell.expect("> ")
    shell.type("echo code $?\n")
    shell.expect("code 130")
    with pytest.raises(AssertionError, match="never showed"):
        shell.expect("nonesuch", timeout=0.1)
    shell.close()
