"""The patterns of .dockerignore, by docker's rules, and what the client packs by them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from minidock.cli import context
from minidock.cli.verb import Failed
from minidock.wire import ignore
from minidock.wire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("patterns", "out", "stays"),
    [
        # from moby's pkg/patternmatcher tests and the Dockerfile reference
        (["a"], ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        (["*/temp*"], ["x/temp", "x/temp.txt", "x/tempdir/y"], ["temp", "x/y/temp"]),
        (["*/*/temp*"], ["x/y/temp1"], ["x/temp1"]),
        (["temp?"], ["tempa", "tempb"], ["temp", "tempab"]),
        (["**"], ["a", "a/b"], []),
        (["**/"], ["a", "a/b"], []),
        (["**/*.go"], ["a.go", "x/y/a.go"], ["a.god", "go"]),
        (["a/**"], ["a/b", "a/b/c"], ["b", "b/a"]),
        (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b"], ["a/x", "b"]),
        (["*a*b"], ["ab", "aab", "xabaxb"], ["ba", "a/b", "abx"]),
        (["**/a*/**/*b"], ["a/b", "x/ay/b", "b/ax/a/a/xb"], ["ab", "a/x", "xa/b"]),
        (["a*b**c"], ["abc", "abXbc", "aXb/Y/c"], ["abXc", "ac"]),
        (["**/b/**"], ["b/x", "a/b/x"], ["b", "a"]),
        (["*.md", "!README.md"], ["a.md"], ["README.md"]),
        (["*.md", "!README*.md", "README-secret.md"], ["a.md", "README-secret.md"], ["README.md"]),
        (["*", "!keep", "!dir/deep"], ["x", "dir", "dir/other"], ["keep", "keep/all", "dir/deep/x"]),
        (["/a", "b/", "./c", "d/../e", " f "], ["a", "b/x", "c", "e", "f"], ["d"]),
        (["[ab]x", "[^c]y", "\\*z"], ["ax", "bx", "ay", "*z"], ["cx", "cy", "az"]),
        (["[a-cx]", "[z-a]1", "[^z-a]2"], ["b", "x", "-2"], ["d", "-", "z1", "a1"]),
        (["[\\]^]3", "[a^]4", "[!a]5"], ["]3", "a4", "^4", "!5", "a5"], ["\\3", "b4", "b5"]),
        (["a.b", "c$d", "e(f)"], ["a.b", "c$d", "e(f)"], ["axb"]),
        (["", "# no"], [], ["x"]),
    ],
)
def test_what_patterns_mean(patterns: list[str], out: list[str], stays: list[str]) -> None:
    rules = ignore.Ignore(ignore.parse("\n".join(patterns)))
    assert [path for path in out + stays if rules.excludes(path)] == out


def test_a_broken_pattern_is_an_error() -> None:
    for text in ("[a", "a[", "!", "[]", "[]a]", "[^]", "[-a]", "[a-]", "[a--]", "a\\", "[a\\"):
        with pytest.raises(InvalidArgument):
            ignore.parse(text)


ENDLESS = [("*a" * 30 + "b", "a" * 250), ("**/" * 20 + "q", "a/" * 2000), ("**/*a*a*b", "a/aaaaaa" * 500)]


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(("pattern", "path"), ENDLESS)
def test_no_pattern_takes_for_ever(pattern: str, path: str, deep: bool) -> None:
    """The variant, each wildcard as ``[^/]*``, tries all ways to share the text out among them: the daemon, which can
    do nothing else meanwhile, was gone for good with one COPY. A test that hangs fails (conftest.py)."""
    assert ignore.compiled(pattern, deep).fullmatch(path) is None


def test_wildcards_without_bounds_are_refused_where_they_multiply() -> None:
    for pattern in ("a**b", "a**/*.c", "*a*b/**/c*d*e/**/*f*g"):
        ignore.compiled(pattern, deep=True)
    with pytest.raises(InvalidArgument, match="too many wildcards in pattern"):
        ignore.compiled("**/*a" * 10 + "b", deep=True)


def packed(directory: Path, dockerfile: str = "", text: bytes | None = None) -> dict[str, tarfile.TarInfo]:
    found = context.opened(str(directory), dockerfile, text)
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.tar()))) as tar:
        return {entry.name: entry for entry in tar.getmembers()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    for name in ("Dockerfile", "a.txt", "dir/b.txt", "dir/deep/c.txt", "out/d.txt"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "link").symlink_to("/etc/passwd")
    return top


def test_a_context_is_roots_and_links_stay_links(tree: Path) -> None:
    os.chmod(tree / "a.txt", 0o640)
    if os.geteuid() == 0:  # else it belongs to somebody else than root anyhow
        os.chown(tree / "a.txt", 7, 8)
    found = packed(tree)
    assert set(found) == {
        "Dockerfile", "a.txt", "dir", "dir/b.txt", "dir/deep", "dir/deep/c.txt", "link", "out", "out/d.txt"
    }  # fmt: skip
    assert all((entry.uid, entry.gid) == (0, 0) for entry in found.values())
    assert found["link"].issym() and found["link"].linkname == "/etc/passwd" and found["a.txt"].mode == 0o640


def test_the_dockerfile_goes_along_even_if_it_is_excluded(tree: Path) -> None:
    (tree / ".dockerignore").write_text("*\n!dir/deep\n")
    assert set(packed(tree)) == {".dockerignore", "Dockerfile", "dir/deep", "dir/deep/c.txt"}


def test_an_excluded_directory_is_not_looked_into(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is, where a pattern may take something back."""
    (tree / ".dockerignore").write_text("out\ndir\n!dir/d*\n")
    seen: list[str] = []
    real = os.listdir

    def listed(path: str) -> list[str]:
        seen.append(os.path.relpath(path, tree))
        return real(path)

    monkeypatch.setattr(os, "listdir", listed)
    assert "dir/deep/c.txt" in packed(tree) and seen == [".", "dir", "dir/deep"]


def test_a_dockerfile_from_elsewhere_has_a_name_of_its_own(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "Other").write_text("FROM x")
    (tree / ".dockerignore").write_text("out")
    found = context.opened(str(tree), str(tmp_path / "Other"), None)
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.tar()))) as tar:
        assert tar.extractfile(found.dockerfile).read() == b"FROM x"  # type: ignore[union-attr]
        rules = tar.extractfile(".dockerignore").read().decode()  # type: ignore[union-attr]
    assert found.dockerfile.startswith(".dockerfile.") and rules.splitlines()[0] == "out"
    assert ignore.Ignore(ignore.parse(rules)).excludes(found.dockerfile)
    assert "Dockerfile" in packed(tree, text=b"FROM y")


def test_what_is_no_context_is_told(tree: Path) -> None:
    for path, dockerfile, message in (
        (tree / "nosuch", "", "not found"),
        (tree / "a.txt", "", "no directory"),
        (tree, "Nosuch", "unable to read the Dockerfile"),
    ):
        with pytest.raises(Failed, match=message):
            context.opened(str(path), dockerfile, None)
    (tree / ".dockerignore").write_text("[")
    with pytest.raises(Failed, match="dockerignore"):
        context.opened(str(tree), "", None)
