"""`build`: Dockerfiles through our client, the docker CLI and docker-py; what is cached, and what a failure leaves.

Images of a test are pruned behind it, so that the ledger balances.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.busybox import BUSYBOX
from tests.support.cli import Cli
from tests.support.daemon import Daemon
from tests.support.images import directory, file, symlink, tar
from tests.support.wait import eventually

pytestmark = [pytest.mark.overlay, pytest.mark.time_limit(240)]

THREE = """
ARG FROM=alpine
FROM $FROM AS one
ARG WORD=none
ENV GREETING="hello $WORD"
RUN echo $GREETING > /greeting && echo loud >&2
FROM busybox AS two
WORKDIR /made/here
COPY --from=one /greeting .
RUN ["/bin/sh", "-c", "cat greeting > copy"]
FROM scratch
COPY --from=one / /
COPY --from=two /made/here /got
COPY --chown=1000:405 --chmod=640 a* /files/
CMD ["cat", "/got/copy"]
"""


class Context:
    """A directory with a Dockerfile; ``build`` builds it with our client, and says what was printed."""

    def __init__(self, path: Path, cli: Cli) -> None:
        self.path, self._cli = path, cli

    def write(self, dockerfile: str = "", **files: str) -> None:
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            (self.path / name).write_text(text)

    def build(self, *options: str, code: int = 0, stdin: bytes | None = None) -> str:
        done = self._cli("build", "-t", "t:1", "--network", "none", *options, str(self.path), stdin=stdin, timeout=120)
        assert done.code == code, str(done)
        return done.out + done.err

    def run(self, command: str) -> str:
        return self._cli.ok("run", "--rm", "--network", "none", "-u", "0", "t:1", "sh", "-c", command)


@pytest.fixture
def context(tmp_path: Path, minidock: Cli) -> Iterator[Context]:
    (tmp_path / "context").mkdir()
    yield Context(tmp_path / "context", minidock)
    left = minidock.ok("ps", "-aq").split()
    if left:
        minidock.ok("rm", "-f", *left)
    for tag in "123":
        minidock("rmi", f"t:{tag}")
    minidock.ok("image", "prune", "-f")
    assert not left


def classic(docker: Cli) -> Cli:
    return Cli(docker.program, {**docker.env, "DOCKER_BUILDKIT": "0"})


def config(cli: Cli) -> Any:
    return json.loads(cli.ok("inspect", "t:1"))[0]["Config"]


@pytest.mark.docker_cli
def test_three_stages_by_three_clients(context: Context, minidock: Cli, docker_cli: Cli, docker_api: Any) -> None:
    """The second and third build are all cache, so all three clients are told of one image."""
    context.write(THREE, a1="one", a2="two", b="no")
    options = ("--network", "none", "-t", "t:1", "--build-arg", "WORD=you", "--label", "l=v")
    first = classic(docker_cli).ok("build", *options, str(context.path), timeout=120)
    assert "Step 5/15 : RUN echo $GREETING" in first and "Using cache" not in first and "loud" in first
    ident = docker_cli.ok("inspect", "-f", "{{.Id}}", "t:1")
    again = context.build("-t", "t:2", "--build-arg", "WORD=you", "--label", "l=v")
    assert again.count("Using cache") == 11 and "Running in" not in again
    assert f"Successfully built {ident[7:19]}\nSuccessfully tagged t:1\nSuccessfully tagged t:2\n" in again
    image, lines = docker_api.images.build(
        path=str(context.path), tag="t:3", network_mode="none", buildargs={"WORD": "you"}, labels={"l": "v"}, rm=True
    )
    assert image.id == ident and {"aux": {"ID": ident}} in list(lines)
    assert docker_cli.ok("run", "--rm", "--network", "none", "t:1") == "hello you"
    shown = context.run("stat -c %u:%g:%a /files /files/a1; cat /files/*").split()
    assert shown == ["1000:405:755", "1000:405:640", "onetwo"]
    assert config(docker_cli)["Labels"] == {"l": "v"} and config(docker_cli)["Cmd"] == ["cat", "/got/copy"]
    told = docker_cli.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}", "t:1").splitlines()
    assert told[0] == "/bin/sh -c #(nop)  LABEL l=v" and told[1] == '/bin/sh -c #(nop)  CMD ["cat" "/got/copy"]'
    assert told[2].startswith("/bin/sh -c #(nop) COPY --chown=1000:405 --chmod=640 multi:")


def test_the_cache_looks_at_contents_modes_and_words_and_not_at_times(context: Context) -> None:
    text = "FROM busybox\nARG A=1\nCOPY f /f\nRUN echo $A > /a\nENV B=1\n"
    context.write(text, f="x")
    assert "Using cache" not in context.build()
    os.utime(context.path / "f", (1, 1))
    assert context.build().count("Using cache") == 4
    assert context.build("--build-arg", "A=1").count("Using cache") == 4
    assert context.build("--build-arg", "A=2").count("Using cache") == 2, "an argument counts where it is in use: RUN"
    assert context.run("cat /a") == "2"
    os.chmod(context.path / "f", 0o600)
    assert context.build().count("Using cache") == 1
    os.chmod(context.path / "f", 0o644)
    (context.path / "f").write_text("y")
    assert context.build().count("Using cache") == 1
    context.write(text.replace("B=1", "B=2"), f="y")
    assert context.build().count("Using cache") == 3
    assert "Using cache" not in context.build("--no-cache")
    assert context.build("--build-arg", "http_proxy=p").count("Using cache") == 4, "proxies say nothing of the image"


def test_a_step_that_changes_no_file_has_no_layer(context: Context, minidock: Cli) -> None:
    context.write("FROM alpine\nRUN true\nWORKDIR /etc\nRUN echo x > /new && rm /etc/motd\nUSER 1\n")
    context.build()
    base, ours = (json.loads(minidock.ok("inspect", name))[0]["RootFS"]["Layers"] for name in ("alpine", "t:1"))
    assert ours[:-1] == base
    assert context.run("cat /new; test -e /etc/motd || echo gone; pwd") == "x\ngone\n/etc"


COPIES = """
FROM alpine
RUN mkdir /there && ln -s /there /link && ln -s two /there/ln && mkdir -m 700 /there/deep && chown 5:6 /there/deep
COPY d /new
COPY d/ /there/
COPY d/one.txt /link/renamed
COPY d/one.txt /there/ln
COPY d/*.txt d/deep /many/
COPY to-d /followed
COPY link /links/
COPY ["with blank", "/b l/"]
WORKDIR /work
COPY d/one.txt .
COPY --chown=nobody d /owned/by
COPY --chown=3:4 d/one.txt /owned2/x/y
ADD x.tar /unpacked
ADD x.tar.xz x.tar.gz /other/
COPY x.tar /x.tar
COPY <<ONE <<'TWO' /texts/
"$PATH"
ONE
$PATH
TWO
"""
COPIED = """
b l 0:0 755|b l/with blank 0:0 644
followed 0:0 755|followed/deep 0:0 750|followed/deep/three 0:0 644|followed/inside 0:0 777|followed/one.txt 0:0 644
links 0:0 755|links/link 0:0 644|many 0:0 755|many/one.txt 0:0 644|many/three 0:0 644
new 0:0 755|new/deep 0:0 750|new/deep/three 0:0 644|new/inside 0:0 777|new/one.txt 0:0 644
other 0:0 755|other/in 7:8 755|other/in/f 7:8 600
owned 0:0 755|owned/by 65534:65534 755|owned/by/deep 65534:65534 750|owned/by/deep/three 65534:65534 644
owned/by/inside 65534:65534 777|owned/by/one.txt 65534:65534 644|owned2 3:4 755|owned2/x 3:4 755|owned2/x/y 3:4 644
texts 0:0 755|texts/ONE 0:0 644|texts/TWO 0:0 644
there 0:0 755|there/deep 0:0 750|there/deep/three 0:0 644|there/inside 0:0 777|there/ln 0:0 777|there/one.txt 0:0 644
there/renamed 0:0 644|there/two 0:0 644
unpacked 0:0 755|unpacked/in 7:8 755|unpacked/in/f 7:8 600|work 0:0 755|work/one.txt 0:0 644|x.tar 0:0 644
"""


def test_copy_and_add(context: Context) -> None:
    """Owners, modes and places are those that dockerd 20.10 gave for the same Dockerfile (the heredocs apart)."""
    context.write(COPIES)
    (context.path / "d/deep").mkdir(parents=True)
    for name in ("d/one.txt", "d/deep/three", "with blank"):
        (context.path / name).write_text(name)
    (context.path / "d/deep").chmod(0o750)
    for name, to in (("to-d", "d"), ("d/inside", "one.txt"), ("link", "d/one.txt")):
        (context.path / name).symlink_to(to)
    inner = tar(directory("in", uid=7, gid=8), file("in/f", b"tarred", uid=7, gid=8, mode=0o600))
    for name, data in (("x.tar", inner), ("x.tar.xz", lzma.compress(inner)), ("x.tar.gz", gzip.compress(inner))):
        (context.path / name).write_bytes(data)
    context.build()
    places = "b\\ l followed links many new other owned owned2 texts there unpacked work x.tar"
    found = context.run(f"cd / && find {places} | sort | while read -r f; do stat -c '%n %u:%g %a' \"$f\"; done")
    assert found.splitlines() == COPIED.strip().replace("|", "\n").splitlines()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    shown = context.run("cd /; cat texts/ONE texts/TWO there/two; readlink there/ln; readlink new/inside")
    assert shown.splitlines() == [
        f'"{path}"', "$PATH", "d/one.txttwo", "one.txt"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY nosuch /", "COPY failed: file not found in build context or excluded by .dockerignore: stat nosuch:"),
        ("COPY ../x /", "COPY failed: forbidden path outside the build context: ../x ()"),
        ("COPY out /", "stat out: file does not exist"),
        ("COPY excluded /", "stat excluded: file does not exist"),
        ("COPY no* /", "COPY failed: no source files were specified"),
        ("COPY f* /x", "the destination must be a directory and end with a /"),
        ("COPY f /etc/passwd/x", "mkdir /etc/passwd: not a directory"),
        ("COPY --chown=nosuch f /", "unable to find user nosuch"),
        ("COPY --from=0 /nosuch /", "file not found in 0: stat nosuch"),
        ('RUN ["nosuch"]', 'exec: "nosuch": executable file not found in $PATH'),
        ("WORKDIR /etc/passwd", "mkdir /etc/passwd: not a directory"),
    ],
)
def test_a_step_that_can_not_be_done_says_why(context: Context, line: str, message: str) -> None:
    context.write(f"FROM busybox\nFROM busybox\n{line}\n", f="1", f2="2", excluded="3")
    (context.path / "out").symlink_to("/etc/hostname")
    (context.path / ".dockerignore").write_text("excl*\n")
    assert message in context.build(code=1)


def test_no_link_leads_out_of_a_stage_or_a_context(context: Context, minidock: Cli, tmp_path: Path) -> None:
    """A vulnerable builder resolves the target's links, or those of ``--from``, with the host's root as "/"."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "secret").write_text("secret")
    up = "../" * 20 + str(victim).lstrip("/")
    context.write(
        f"FROM busybox AS trap\nRUN ln -s {up} /up && ln -s {victim} /abs\n"
        f"RUN mkdir -p {victim} && echo own > {victim}/secret\n"
        "FROM trap\nCOPY f /up/\nCOPY f /abs/g\nADD f /up/new/dir/\nWORKDIR /abs/work\n"
        "COPY --from=trap /up/secret /taken\nCOPY --from=trap /abs /all\n",
        f="mine",
    )
    context.build()
    assert sorted(path.name for path in victim.iterdir()) == ["secret"]
    assert context.run(f"cat /taken /all/secret; ls {victim}").split() == [
        "own", "own", "f", "g", "new", "secret", "work"
    ]  # fmt: skip
    for hostile in (file("../escaped", b"x"), symlink("d", str(victim)), file("a/../../x", b"x")):
        archive = tar(hostile, file("d/planted", b"x"), file("Dockerfile", b"FROM busybox\nCOPY d /d\n"))
        done = minidock("build", "-t", "t:1", "-", stdin=archive)
        assert done.code == 1 and "unpack" in done.err, str(done)
    assert sorted(path.name for path in victim.iterdir()) == ["secret"]


def test_arguments_triggers_and_what_is_told_of_them(context: Context, minidock: Cli) -> None:
    context.write(
        "ARG A=outer\nFROM busybox AS base\nARG A\nARG B=$A-b\nENV B=env\nRUN echo $A $B $https_proxy > /told\n"
        "ONBUILD RUN echo triggered $A > /trigger\nONBUILD COPY f /\n"
        "FROM base\nRUN echo [$A] >> /told\n",
        f="x",
    )
    said = context.build("--build-arg", "https_proxy=secret", "--build-arg", "NONE=1")
    assert "# Executing 2 build triggers" in said and "build-args [NONE] were not consumed" in said
    assert context.run("cat /told /trigger /f") == "outer env secret\n[]\ntriggered\nx"
    assert "secret" not in minidock.ok("history", "--no-trunc", "t:1") and "OnBuild" in config(minidock)
    assert config(minidock)["OnBuild"] is None and "B=env" in config(minidock)["Env"]


def test_a_run_that_fails(context: Context, minidock: Cli, docker_api: Any) -> None:
    """Its exit code is the command's; its container stays to be looked at, unless --force-rm says otherwise."""
    context.write("FROM busybox\nRUN echo said; exit 7\n")
    said = context.build(code=7)
    assert "said" in said and "The command '/bin/sh -c echo said; exit 7' returned a non-zero code: 7" in said
    left = minidock.ok("ps", "-aq")
    assert minidock.ok("inspect", "-f", "{{.State.ExitCode}}", left) == "7"
    minidock.ok("rm", left)
    context.build("--force-rm", code=7)
    assert minidock.ok("ps", "-aq") == "" and minidock("inspect", "t:1").code == 1
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 7"):
        docker_api.images.build(path=str(context.path), forcerm=True, network_mode="none")


def test_containers_stay_if_they_shall(context: Context, minidock: Cli) -> None:
    context.write("FROM busybox\nRUN echo x > /x\nRUN true\n")
    context.build("--rm=false")
    kept = minidock.ok("ps", "-aq").split()
    assert len(kept) == 2 and "A /x" in minidock.ok("diff", kept[1])
    minidock.ok("rm", *kept)


def test_a_client_that_goes_ends_the_build(context: Context, minidock: Cli) -> None:
    context.write("FROM busybox\nRUN echo begun; sleep 1000\n")
    with minidock.start("build", "--network", "none", str(context.path)) as process:
        assert process.stdout
        while (line := process.stdout.readline()) != b"begun\n":
            assert line, "the build ended early"
        assert minidock.ok("ps", "-q") != ""
        process.kill()
    eventually(lambda: minidock.ok("ps", "-aq") == "", "the step's container to go", timeout=30)


def test_a_crash_in_the_middle_leaves_nothing_but_the_cache(fresh_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo 1 > /1\nCOPY f /\nRUN echo begun; sleep 1000\n")
    (tmp_path / "f").write_text("f")
    cli = fresh_daemon.cli
    with cli.start("build", "--network", "none", str(tmp_path)) as process:
        assert process.stdout
        while (line := process.stdout.readline()) != b"begun\n":
            assert line, "the build ended early"
        fresh_daemon.kill()
    fresh_daemon.start()
    assert cli.ok("ps", "-aq") == "" and not list((fresh_daemon.data_root / "tmp").iterdir())
    assert cli.ok("doctor", "--leaks") == "nothing is left behind"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo 1 > /1\nCOPY f /\n")
    said = cli.ok("build", "--network", "none", "-t", "t:1", str(tmp_path))
    assert said.count("Using cache") == 2
    cli.ok("rmi", "t:1")


def test_images_in_the_middle(context: Context, minidock: Cli, docker_cli: Cli) -> None:
    """Hidden without -a, kept by prune as long as something stands on them, gone with the last that does."""
    context.write("FROM busybox\nENV A=1\nENV B=1\n")
    context.build()
    top = minidock.ok("inspect", "-f", "{{.Id}}", "t:1")
    middle = minidock.ok("inspect", "-f", "{{.Parent}}", "t:1")
    listed = [
        docker_cli.ok("images", "-q", "--no-trunc", *options) for options in ((), ("-a",), ("-f", "dangling=true"))
    ]
    assert [middle in text for text in listed] == [False, True, False] and top in listed[0]
    assert minidock.ok("image", "prune", "-f").count("sha256") == 0
    refused = minidock("rmi", "-f", middle)
    assert refused.code == 1 and "image has dependent child images" in refused.err
    assert docker_cli.ok("history", "-q", "--no-trunc", "t:1").split()[:2] == [top, middle]
    minidock.ok("tag", "t:1", "t:2")
    minidock.ok("rmi", "busybox")
    assert minidock.ok("run", "--rm", "--network", "none", "t:2", "echo", "runs") == "runs"
    minidock.ok("tag", minidock.ok("inspect", "-f", "{{.Parent}}", middle), "busybox")
    minidock.ok("rmi", "t:2")
    assert minidock.ok("rmi", "t:1").splitlines() == ["Untagged: t:1", f"Deleted: {top}", f"Deleted: {middle}"]


def test_where_contexts_come_from(context: Context, daemon: Daemon, minidock: Cli, tmp_path: Path) -> None:
    """Standard input as Dockerfile, as context and as both; a file outside; a web server in the daemon's network."""
    context.write("FROM busybox AS first\nCOPY f /f\nFROM first\nRUN exit 1\n", f="content")
    ids = tmp_path / "ids"
    assert context.build("-q", "--target", "first", "--iidfile", str(ids)).strip() == ids.read_text()
    assert context.run("cat /f") == "content"
    assert "Successfully built" in context.build("-f", "-", stdin=b"FROM busybox\nCOPY . /all\n")
    assert sorted(context.run("ls -A /all").split()) == ["Dockerfile", "f"]
    assert "Successfully" in minidock.ok("build", "-t", "t:1", "-", stdin="FROM busybox\nRUN cat <<E > /e\nhe're\nE\n")
    assert context.run("cat /e") == "he're"
    served = tmp_path / "served"
    served.mkdir()
    archive = tar(file("Other", b"FROM busybox\nADD http://127.0.0.1:8099/page.txt /got/\nCOPY x /\n"), file("x", b"x"))
    (served / "c.tar.gz").write_bytes(gzip.compress(archive))
    (served / "page.txt").write_text("page")
    (served / "Dockerfile").write_text("FROM busybox\nENV ALONE=1\n")
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(served), "8099"]
    with daemon.netns.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        eventually(lambda: "1FA3" in Path(f"/proc/{server.pid}/net/tcp").read_text() or None, "the server", timeout=30)
        url = "http://127.0.0.1:8099"
        minidock.ok("build", "-t", "t:1", "--network", "none", "-f", "Other", f"{url}/c.tar.gz")
        assert context.run("cat /got/page.txt /x; stat -c %a /got/page.txt") == "pagex600"
        minidock.ok("build", "-t", "t:1", f"{url}/Dockerfile")
        assert "ALONE=1" in config(minidock)["Env"]
        missing = minidock("build", f"{url}/nosuch")
        assert missing.code == 1 and "it answered 404" in missing.err
        server.kill()
    refused = minidock("build", "https://example.com/x.git")
    assert refused.code == 1 and "git contexts are not there" in refused.err


def test_what_a_run_is_given(context: Context) -> None:
    """The same plan as any container's: limits, names, the seccomp filter; a heredoc may have its own interpreter."""
    context.write(
        "FROM busybox\nUSER 1000\nWORKDIR /tmp\n"
        "RUN (ulimit -n; grep Seccomp: /proc/self/status; cat /etc/hosts; df -k /dev/shm | tail -1; id -u) > t\n"
        "RUN <<EOF\n#!/bin/busybox echo\nEOF\n"
    )
    options = ("--ulimit", "nofile=99:100", "--add-host", "host.test:1.2.3.4", "--shm-size", "1m")
    assert "/dev/pipes/EOF\n" in context.build(*options), "the script was not run by its own interpreter"
    words = context.run("cat /tmp/t").split()
    assert words[0] == "99" and "Seccomp:" in words and words[words.index("Seccomp:") + 1] == "2"
    assert "1.2.3.4" in words and "1024" in words and words[-1] == "1000"


def test_the_cache_of_an_image_from_elsewhere(context: Context, minidock: Cli) -> None:
    """--cache-from: what came by ``load`` tells only its history, and that is enough."""
    context.write("FROM busybox\nRUN echo 1 > /1\nENV A=1\nRUN echo 2 > /2\n")
    context.build()
    ident = minidock.ok("inspect", "-f", "{{.Id}}", "t:1")
    archive = context.path.parent / "t.tar"
    minidock.ok("save", "-o", str(archive), "t:1")
    minidock.ok("rmi", "t:1")
    minidock.ok("load", "-i", str(archive))
    assert context.build("--cache-from", "t:1", "-t", "t:2").count("Using cache") == 3
    assert minidock.ok("inspect", "-f", "{{.Id}}", "t:2") == ident
    context.write("FROM busybox\nRUN echo 1 > /1\nENV A=2\nRUN echo 2 > /2\n")
    assert context.build("--cache-from", "t:2", "-t", "t:3").count("Using cache") == 1


def test_buildkit_is_refused_with_the_way_out(context: Context, docker_cli: Cli) -> None:
    """Where the docker CLI has no buildx it takes the classic builder by itself; BuildKit's own requests say how."""
    context.write("FROM busybox\n")
    asked = Cli(docker_cli.program, {**docker_cli.env, "DOCKER_BUILDKIT": "1"})
    done = asked("build", "-t", "t:1", str(context.path))
    assert done.code != 0 and ("buildx" in done.err or "DOCKER_BUILDKIT=0" in done.err), str(done)
    plain = docker_cli("build", "-t", "t:1", str(context.path))
    assert plain.code == 0 or "DOCKER_BUILDKIT=0" in plain.err, str(plain)


def test_an_image_without_layers(context: Context, minidock: Cli, tmp_path: Path) -> None:
    """Broken builds: one whose containers of such an image are not mounted, for want of a lower directory (EINVAL)."""
    context.write("FROM scratch\nENV WORD=said\n")
    context.build()
    script = ("t:1", "/busybox", "sh", "-c", "echo $WORD")
    said = minidock.ok("run", "--rm", "--network", "none", "-v", f"{BUSYBOX}:/busybox:ro", *script)
    assert said == "said"
    ident = minidock.ok("create", "t:1", "/f")
    (tmp_path / "f").write_text("here")
    minidock.ok("cp", str(tmp_path / "f"), f"{ident}:/f")
    assert minidock.ok("diff", ident) == "A /f" and "here" in minidock.ok("export", ident)
    minidock.ok("commit", ident, "t:2")
    minidock.ok("rm", ident)
    assert "t 1" in " ".join(minidock.ok("system", "df", "-v").split())
    minidock.ok("rmi", "t:2")
    context.write("FROM t:1 AS none\nFROM busybox\nCOPY --from=none / /x\n")
    context.build()
