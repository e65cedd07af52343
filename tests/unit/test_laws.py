"""Laws on the sources themselves: who may import whom, what may not be called, how long things may be.

What a reviewer would otherwise have to see each time. A law that fails names the file and line; if the law is wrong,
change the law here, with its reason. Read next: ../support/sources.py, ../../docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from minidock.api.router import ROUTES
from tests.support import openapi, sources
from tests.support.sources import TOP, Function

# Imports go down only. Two columns meet nowhere but in wire/ and db.py: the client knows nothing of the engine.
RANKS = {"cli": 2, "client": 1}
RANKS |= {"daemon": 9, "api": 8, "engine": 7}
RANKS |= {"image": 6, "network": 6, "cgroup": 6, "runtime": 6, "linux": 5, "build": 5, "_shim": 4}
CLIENT_SIDE = {"cli", "client"}
STORE = {"db", "schema"}
SHARED = {"wire", *STORE, "__init__"}

# What is never called in minidock/, and why.
BANNED_CALLS = {
    "extract": "tarfile's extraction follows links out of its folder; unpack through openat2 instead",
    "extractall": "tarfile's extraction follows links out of its folder; unpack through openat2 instead",
    "select.select": "has no room for descriptors from 1024 on; use poll",
    "os.chroot": "chroot is no boundary: an open descriptor escapes it",
    "os.fork": "forking the daemon is slow and unsafe with threads; the monitor is spawned",
    "os.system": "a shell reads its argument",
    "os.popen": "a shell reads its argument",
    "urlopen": "follows redirects with the credentials of the first host",
    "asyncio.wait_for": "in Python 3.11 a result hides that we are cancelled; asyncio.timeout does not",
}
BANNED_MODULES = {
    "pickle": "loading runs code",
    "marshal": "loading runs code",
    "shelve": "loading runs code",
    "urllib.request": "follows redirects with the credentials of the first host",
    "aiohttp": "its import takes longer than a whole client run",
}

MOST_LINES_OF_FUNCTION = 60
MOST_LINES_OF_FILE = 400
MOST_MEDIAN = 15


def room(path: Path) -> str:
    """The part a file belongs to: `engine` for minidock/engine/stop.py, `daemon` for minidock/daemon.py."""
    return path.relative_to(TOP / "minidock").parts[0].removesuffix(".py")


def may_import(importer: str, imported: str) -> bool:
    if imported in SHARED or importer == imported:
        return imported not in STORE or importer not in CLIENT_SIDE
    if importer in SHARED or (importer in CLIENT_SIDE) != (imported in CLIENT_SIDE):
        return False
    return RANKS[importer] > RANKS[imported]


def imported_room(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "minidock":
        return None
    known = RANKS.keys() | SHARED
    return parts[1] if len(parts) > 1 and parts[1] in known else "__init__"


def test_imports_go_down_only() -> None:
    wrong = [
        f"{sources.place(path, line)}: {room(path)} imports {name}"
        for path in sources.python_files("minidock")
        for line, name in sources.imports(path)
        if (target := imported_room(name)) and not may_import(room(path), target)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_import_law_can_fail() -> None:
    assert may_import("daemon", "engine") and may_import("engine", "linux") and may_import("cli", "wire")
    assert not may_import("engine", "api") and not may_import("cli", "engine") and not may_import("linux", "runtime")
    assert not may_import("image", "network") and not may_import("api", "client") and not may_import("wire", "linux")
    assert not may_import("cli", "db") and may_import("image", "db")


def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    found = [node for node in ast.walk(sources.tree(path)) if isinstance(node, ast.Call)]
    return [(node.lineno, ast.unparse(node.func), node) for node in found]


def banned(path: Path) -> list[str]:
    wrong = []
    for line, name, call in calls(path):
        reason = BANNED_CALLS.get(name) or BANNED_CALLS.get(name.rpartition(".")[2]) if "." in name else None
        reason = reason or BANNED_CALLS.get(name)
        if any(k.arg == "shell" and getattr(k.value, "value", False) is not False for k in call.keywords):
            reason = "a shell reads its argument"
        if any(k.arg == "redirect" and getattr(k.value, "value", True) is not False for k in call.keywords):
            reason = "urllib3 would follow redirects with the credentials of the first host"
        wrong += [f"{line}: {name}: {reason}"] if reason else []
    for line, name in sources.imports(path):
        wrong += [
            f"{line}: import {name}: {why}"
            for module, why in BANNED_MODULES.items()
            if f"{name}.".startswith(f"{module}.")
        ]
    return wrong


def test_nothing_banned_is_called() -> None:
    wrong = [f"{sources.place(path)}:{line}" for path in sources.python_files("minidock") for line in banned(path)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "archive.extractall('x')",
        "os.fork()",
        "select.select([], [], [])",
        "subprocess.run('ls', shell=True)",
        "import pickle",
        "from urllib import request",
        "pool.request('GET', u, redirect=True)",
    ],
)
def test_the_ban_can_fail(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TOP", tmp_path)
    file = tmp_path / "bad.py"
    file.write_text(code + "\n")
    assert banned(file)


@pytest.mark.parametrize("part", ["engine", "api"])
def test_the_map_of_a_large_part_names_each_module(part: str) -> None:
    """Its ``__init__.py`` is where a reader looks what is where. Seen to fail on that of api, which left some out."""
    told = (TOP / "minidock" / part / "__init__.py").read_text()
    modules = [path.stem for path in (TOP / "minidock" / part).glob("*.py") if path.stem != "__init__"]
    assert not [name for name in modules if not re.search(rf"\b{name}\b", told)]


def too_long(functions: list[Function]) -> list[str]:
    return [f"{f.where}: {f.name} has {f.length} lines" for f in functions if f.length > MOST_LINES_OF_FUNCTION]


def python_functions() -> list[Function]:
    return [
        f
        for path in sources.python_files("minidock", "rootfs", "bench", "tests")
        for f in sources.python_functions(path)
    ]


def c_functions() -> list[Function]:
    return [f for path in sources.c_files() for f in sources.c_functions(path)]


def test_functions_are_short() -> None:
    wrong = too_long(python_functions() + c_functions())
    assert not wrong, f"at most {MOST_LINES_OF_FUNCTION} lines:\n" + "\n".join(wrong)


def test_half_of_all_functions_are_under_fifteen_lines() -> None:
    assert median(f.length for f in python_functions()) < MOST_MEDIAN
    assert median(f.length for f in c_functions()) < MOST_MEDIAN


def test_files_are_short() -> None:
    files = sources.python_files("minidock", "rootfs", "bench", "tests/support") + sources.c_files()
    lengths = {sources.place(path): len(path.read_text().splitlines()) for path in files}
    wrong = [f"{name}: {length} lines" for name, length in lengths.items() if length > MOST_LINES_OF_FILE]
    assert not wrong, f"at most {MOST_LINES_OF_FILE} lines:\n" + "\n".join(wrong)


def test_every_module_opens_by_saying_what_it_is() -> None:
    least = dict.fromkeys(sources.python_files("minidock", "rootfs", "bench"), 3)
    least |= dict.fromkeys(sources.python_files("tests"), 1)
    texts = {path: ast.get_docstring(sources.tree(path)) or "" for path in least if path.name != "__init__.py"}
    wrong = [sources.place(path) for path, text in texts.items() if len(text.splitlines()) < least[path]]
    wrong += [sources.place(path) for path in sources.c_files() if not re.match(r"/\* .+\n \*", path.read_text())]
    assert not wrong, "no opening comment in:\n" + "\n".join(wrong)


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    files = sources.python_files("minidock", "rootfs", "bench", "tests") + sources.c_files()
    wrong = [
        sources.place(path, number)
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if mark.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_step_kind_tells_why_and_in_which_order() -> None:
    kinds = re.findall(r"^STEP\((\w+),", (TOP / "csrc/steps.def").read_text(), re.MULTILINE)
    code = "\n".join(path.read_text() for path in sources.c_files())
    wrong = []
    for kind in kinds:
        found = re.search(rf"/\*(?P<comment>(?:(?!\*/).)*)\*/\s*int step_{kind}\(", code, re.DOTALL)
        comment = found["comment"] if found else ""
        missing = [word for word in ("Why:", "Order:", "See:") if word not in comment]
        wrong += [f"step_{kind}: no {', '.join(missing)} in its comment"] if missing else []
    assert kinds and not wrong, "\n".join(wrong)


# -- the tests --------------------------------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """The names that a file's imports from minidock/ and tests/ stand for in it."""
    found = [node for node in ast.walk(sources.tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in found if re.match(r"from (minidock|tests)\b", ast.unparse(node))]
    return {alias.asname or alias.name for node in ours for alias in node.names}


def private(path: Path) -> Iterator[str]:
    """Where a file reaches for what another module has for itself: by an import, a dot, or a patch."""
    hidden, names = re.compile(r"(.*\.)?_[^_.]\w*"), imported(path)
    for name in names:
        if hidden.fullmatch(name):
            yield f"{sources.place(path)}: imports {name}"
    for node in ast.walk(sources.tree(path)):
        if isinstance(node, ast.Attribute) and hidden.fullmatch(node.attr) and ast.unparse(node.value) in names:
            yield f"{sources.place(path, node.lineno)}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            texts = [str(one.value) for one in node.args[:2] if isinstance(one, ast.Constant)]
            yield from (f"{sources.place(path, node.lineno)}: sets {text}" for text in texts if hidden.fullmatch(text))


def test_tests_know_only_what_is_public() -> None:
    """What is private changes its shape without a look at the tests."""
    wrong = [line for path in sources.python_files("tests") for line in private(path)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "from minidock.engine.execs import Execs, _Collected",
        "from minidock.engine import restore\nrestore._settle()",
        "from minidock.engine import execs as module\nmodule._start()",
        "monkeypatch.setattr(restore, '_settle', None)",
        "monkeypatch.setattr('minidock.engine.restore._settle', None)",
    ],
)
def test_the_law_on_what_is_private_can_fail(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TOP", tmp_path)
    file = tmp_path / "bad.py"
    file.write_text(code + "\n")
    assert len(list(private(file))) == 1


# -- the page of the API ----------------------------------------------------------------------------------------------


def test_every_route_stands_in_the_page_of_the_api_and_conversely() -> None:
    served = {(route.method, openapi.path_of(route)) for route in ROUTES}
    assert served - openapi.described() == set(), "served, and not in docs/openapi.yaml"
    assert openapi.described() - served == set(), "in docs/openapi.yaml, and not served"
