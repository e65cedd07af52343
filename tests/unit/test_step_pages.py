"""A law on the documentation: every kind of step has its page, every page has its parts, every link leads somewhere.

The comment blocks in csrc/ have a law of their own in test_laws.py. Pages of kinds that no longer exist are found too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minidock.runtime.devices import DEFAULT_LINKS, DEFAULT_NODES, DEFAULT_RULES
from minidock.runtime.paths import MASKED_PATHS, READONLY_PATHS, default_mounts
from minidock.runtime.plan import container_plan
from minidock.runtime.spec import Bind, Namespaces, Overlay, Process, Rlimit, Spec, Supervision
from tests.support.sources import TOP

PAGES = TOP / "docs" / "steps"
KINDS = re.findall(r"^STEP\((\w+),", (TOP / "csrc" / "steps.def").read_text(), re.MULTILINE)
PARTS = ("Fields:", "Code: `csrc/", "**What.**", "**Why", "## Look", "## Try it", "See: ")


def test_there_is_a_page_for_each_kind_and_none_besides() -> None:
    assert KINDS
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_says_what_why_where_and_how_to_see_it(kind: str) -> None:
    text = (PAGES / f"{kind}.md").read_text()
    assert text.startswith(f"# {kind}: ")
    assert [part for part in PARTS if part not in " ".join(text.split())] == []
    assert 15 <= len(text.splitlines()) <= 45


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_that_a_page_names_holds_the_step(kind: str) -> None:
    named = re.findall(r"`(csrc/\w+\.c)`", (PAGES / f"{kind}.md").read_text())
    assert any(f"int step_{kind}(struct walk" in (TOP / file).read_text() for file in named)


def test_the_index_lists_each_kind_once_in_its_table() -> None:
    rows = "\n".join(line for line in (PAGES / "README.md").read_text().splitlines() if line.startswith("| ["))
    assert sorted(re.findall(r"\[\w+\]\((\w+)\.md\)", rows)) == sorted(KINDS)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text()
    targets = [PAGES / target for target in re.findall(r"\]\(([^)#:]+)\)", text)]
    targets += [TOP / name for name in re.findall(r"`((?:csrc|minidock)/[\w/.-]+\.\w+)`", text)]
    assert [str(target) for target in targets if not target.exists()] == []


def test_the_index_is_in_the_order_of_a_plan() -> None:
    spec = Spec(
        process=Process(
            ("sh",), rlimits=(Rlimit("nofile", 1, 2),), oom_score_adj=5, seccomp=b"\0" * 8, apparmor="a", init=True
        ),
        root=Overlay("/t", "/b", ("l",), "/u", "/w"),
        supervision=Supervision(cgroup="/c", terminal=True, log_path="/log"),
        readonly_root=True,
        hostname="h",
        domainname="d",
        mounts=(*default_mounts(), Bind("/a", "/b")),
        namespaces=Namespaces(join=((0, "net"),)),
        devices=DEFAULT_NODES,
        links=DEFAULT_LINKS,
        device_rules=DEFAULT_RULES,
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
        sysctl={"net.ipv4.ip_forward": "1"},
    )
    in_plan = list(dict.fromkeys(step.kind for step in container_plan(spec)))
    index = re.findall(r"\[\w+\]\((\w+)\.md\)", (PAGES / "README.md").read_text())
    assert len(in_plan) > 30
    assert [kind for kind in index if kind in in_plan] == in_plan
