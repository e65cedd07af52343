"""The Makefile and the scripts behind it: `make help` lists every target, and every script says what it is."""

from __future__ import annotations

import re
import subprocess

from tests.support.sources import TOP


def test_make_help_lists_every_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=TOP, capture_output=True, text=True, check=True)
    listed = {line.split()[1]: line.split()[2:] for line in done.stdout.splitlines()}
    assert listed.keys() == targets
    assert all(len(words) > 2 for words in listed.values())


def test_every_script_parses_and_says_what_it_is() -> None:
    for script in sorted((TOP / "scripts").glob("*.sh")):
        subprocess.run(["bash", "-n", script], check=True)
        head = script.read_text().splitlines()[:8]
        assert sum(line.startswith("# ") for line in head) >= 2 and "Read next:" in script.read_text(), script.name


def test_who_reads_on_comes_through_all_pages_of_the_readme() -> None:
    path = re.findall(r"^\| \[[^]]+\]\(docs/([^)]+)\) \| .*\?", (TOP / "README.md").read_text(), re.MULTILINE)
    assert len(path) == 6
    for page, following in zip(path, path[1:], strict=False):
        last = TOP / "docs" / ("steps/execve.md" if page == "steps/README.md" else page)
        links = re.findall(r"\(([^()]+\.md)\)", last.read_text().rpartition("\n\n")[2])
        assert (last.parent / links[-1]).resolve() == (TOP / "docs" / following).resolve(), page


def test_every_relative_link_of_the_documents_leads_somewhere() -> None:
    wrong = []
    for document in [*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md"), *(TOP / "rootfs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target and not (document.parent / target).exists():
                wrong.append(f"{document.relative_to(TOP)}: {target}")
    assert not wrong, "\n".join(wrong)
