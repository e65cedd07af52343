"""ps, images, inspect and their like: the tables are docker's to the byte, so are --format and --filter."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.fake_daemon import Exchange, FakeDaemon
from tests.unit.conftest import ID, Minidock

OTHER = "bdef526fd268a2873459aea846b494699afb0aa8ba5e45bc81bb176850221256"


def containers() -> list[dict[str, Any]]:
    created = int(time.time()) - 3 * 3600
    first: dict[str, Any] = {"Id": ID, "Names": ["/w3"], "Image": "busybox", "ImageID": "sha256:1", "Command": "top"}
    second: dict[str, Any] = {
        "Id": OTHER,
        "Names": ["/w1"],
        "Image": "busybox",
        "ImageID": "sha256:1",
        "Labels": {"a": "b"},
    }
    second |= {"Command": "sh -c 'echo out; echo err >&2; exec sleep 1000'"}
    first |= {"Created": created, "State": "running", "Status": "Up 1 second", "SizeRw": 17, "SizeRootFs": 1984399}
    second |= {"Created": created, "State": "running", "Status": "Up 3 seconds"}
    second |= {"Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 18080, "Type": "tcp"}]}
    second |= {"Mounts": [{"Type": "volume", "Name": "vol1", "Driver": "local"}]}
    second |= {"NetworkSettings": {"Networks": {"bridge": {}}}}
    return [first, second]


PS = """\
CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS         PORTS                   NAMES
4af64a957267   busybox   "top"                    3 hours ago   Up 1 second                            w3
bdef526fd268   busybox   "sh -c 'echo out; ec…"   3 hours ago   Up 3 seconds   0.0.0.0:18080->80/tcp   w1
"""


def test_ps(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/json", containers())
    assert minidock("ps").output == PS


def test_ps_without_containers_is_the_head(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/json", [])
    assert minidock("ps").output == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"


@pytest.mark.parametrize(
    ("args", "output"),
    [
        (["-q"], "4af64a957267\nbdef526fd268\n"),
        (["-q", "--no-trunc"], f"{ID}\n{OTHER}\n"),
        (["--format", "{{.ID}}: {{.Names}} {{.Ports}}"], "4af64a957267: w3 \nbdef526fd268: w1 0.0.0.0:18080->80/tcp\n"),
        (["--format", '{{.Label "a"}}|{{.Mounts}}|{{.Networks}}'], "||\nb|vol1|bridge\n"),
        (["--format", r"table {{.Names}}\t{{.State}}"], "NAMES     STATE\nw3        running\nw1        running\n"),
        (["--format", r'table {{.Names}}\t{{.Label "a"}}'], "NAMES     a\nw3        \nw1        b\n"),
        (["-s", "--format", "{{.Size}}"], "17B (virtual 1.98MB)\n0B\n"),
        (["--no-trunc", "--format", "{{.Command}}"], '"top"\n"sh -c \'echo out; echo err >&2; exec sleep 1000\'"\n'),
    ],
)
def test_ps_in_other_forms(fake: FakeDaemon, minidock: Minidock, args: list[str], output: str) -> None:
    fake.on("GET", "/containers/json", containers())
    assert minidock("ps", *args).output == output


def test_ps_as_json_has_dockers_keys(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/json", containers())
    first = json.loads(minidock("ps", "--format", "json").output.splitlines()[0])
    assert list(first) == (
        "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Platform Ports RunningFor Size"
        " State Status"
    ).split(" ")


@pytest.mark.parametrize(
    ("args", "request_line"),
    [
        ([], "GET /containers/json"),
        (["-a"], "GET /containers/json?all=1"),
        (["-a=false", "--size=true"], "GET /containers/json?size=1"),
        (["-l"], "GET /containers/json?limit=1"),
        (["-n", "3"], "GET /containers/json?limit=3"),
        (["-n=3", "-l"], "GET /containers/json?limit=3"),
        (["--format", "{{.Size}}"], "GET /containers/json?size=1"),
        (
            ["-f", "name=w", "-f=label=a=b", "--filter=name=v"],
            'GET /containers/json?filters={"name":{"w":true,"v":true},"label":{"a=b":true}}',
        ),
    ],
)
def test_what_ps_asks_for(fake: FakeDaemon, minidock: Minidock, args: list[str], request_line: str) -> None:
    fake.on("GET", "/containers/json", [])
    assert minidock("ps", *args).exit_code == 0
    assert fake.seen() == [request_line]


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (["extra"], 1, "'minidock ps' accepts no arguments; see 'minidock ps --help'"),
        (["--foo"], 125, "unknown flag: --foo; see 'minidock ps --help'"),
        (["-x"], 125, "unknown shorthand flag: 'x' in -x; see 'minidock ps --help'"),
        (["-n"], 125, "flag needs an argument: 'n' in -n; see 'minidock ps --help'"),
        (["-n", "x"], 125, "invalid argument for \"-n, --last\" flag: 'x' is not a valid integer"),
        (["-a=maybe"], 125, 'invalid argument "maybe" for "-a" flag: give true or false'),
        (["-f", "foo"], 125, '"foo" for "-f, --filter" flag: bad format of filter (expected name=value)'),
        (["--format", "{{.Nosuch}}"], 1, "no field 'Nosuch' in the data"),
        (["--format", "{{"], 1, "lacks its }}"),
    ],
)
def test_bad_use_of_ps(fake: FakeDaemon, minidock: Minidock, args: list[str], code: int, complaint: str) -> None:
    fake.on("GET", "/containers/json", containers())
    result = minidock("ps", *args)
    assert result.exit_code == code
    assert result.stderr.startswith("minidock: ") and complaint in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout


def images() -> list[dict[str, Any]]:
    created = int(time.time()) - 11 * 86400
    tagged = {"Id": f"sha256:{ID}", "RepoTags": ["alpine:3.23", "localhost:5000/a/b:latest"], "Size": 1984414}
    tagged |= {"RepoDigests": ["alpine@sha256:77"]}
    dangling = {"Id": f"sha256:{OTHER}", "RepoTags": [], "RepoDigests": [], "Size": 0}
    return [{**image, "Created": created, "SharedSize": -1, "Containers": -1} for image in (tagged, dangling)]


IMAGES = """\
REPOSITORY           TAG       IMAGE ID       CREATED       SIZE
alpine               3.23      4af64a957267   11 days ago   1.98MB
localhost:5000/a/b   latest    4af64a957267   11 days ago   1.98MB
<none>               <none>    bdef526fd268   11 days ago   0B
"""


def test_images(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/images/json", images())
    assert minidock("images").output == IMAGES


@pytest.mark.parametrize(
    ("args", "output"),
    [
        (["-q"], "4af64a957267\nbdef526fd268\n"),
        (["-q", "--no-trunc"], f"sha256:{ID}\nsha256:{OTHER}\n"),
        (["--digests", "--format", "{{.Tag}} {{.Digest}}"], "3.23 sha256:77\nlatest <none>\n<none> <none>\n"),
        (["--format", "{{.Repository}}:{{.Tag}} {{.VirtualSize}}"], None),
    ],
)
def test_images_in_other_forms(fake: FakeDaemon, minidock: Minidock, args: list[str], output: str | None) -> None:
    fake.on("GET", "/images/json", images())
    shown = minidock("images", *args).output
    assert shown == (output or "alpine:3.23 1.984MB\nlocalhost:5000/a/b:latest 1.984MB\n<none>:<none> 0B\n")


def test_images_of_one_repository(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/images/json", [])
    minidock("images", "-a", "--filter", "dangling=true", "alpine")
    assert fake.seen() == ['GET /images/json?all=1&filters={"dangling":{"true":true},"reference":{"alpine":true}}']


def test_inspect_looks_among_all_kinds(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/volumes/v", {"Name": "v"})
    result = minidock("inspect", "v")
    assert result.stdout == '[\n    {\n        "Name": "v"\n    }\n]\n'
    assert fake.seen() == ["GET /containers/v/json", "GET /images/v/json", "GET /networks/v", "GET /volumes/v"]


def test_inspect_goes_on_after_what_is_not_there(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/c/json", {"Name": "/c"})
    result = minidock("inspect", "nosuch", "c", "--format", "{{.Name}}")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "/c\n", "minidock: No such object: nosuch\n")


def test_inspect_of_one_kind(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/images/library/x:1/json", {"Id": "sha256:1"})
    assert minidock("inspect", "--type", "image", "library/x:1", "-f", "{{.Id}}").stdout == "sha256:1\n"
    assert fake.seen() == ["GET /images/library/x:1/json"]
    assert minidock("inspect", "--type", "foo", "x").exit_code == 1


def test_top(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/c/top", {"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 60"]]})
    assert minidock("top", "c", "-o", "pid,cmd").output == f"{'PID':20}CMD\n{'1':20}sleep 60\n"
    assert fake.seen() == ["GET /containers/c/top?ps_args=-o pid,cmd"]


def frames(*pieces: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([number, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for number, text in pieces)


def test_logs_are_sorted_into_stdout_and_stderr(fake: FakeDaemon, minidock: Minidock) -> None:
    data = frames((1, b"out\n"), (2, b"err\n"), (1, b"more"))
    kind = "application/vnd.docker.multiplexed-stream"
    fake.on("GET", "/containers/c/logs", lambda exchange: exchange.chunks([data[:3], data[3:]], kind))
    result = minidock("logs", "c")
    assert (result.stdout, result.stderr) == ("out\nmore", "err\n")
    assert fake.seen() == ["GET /containers/c/logs?stderr=1&stdout=1&tail=all"]


def test_logs_of_a_terminal_are_taken_as_they_are(fake: FakeDaemon, minidock: Minidock) -> None:
    kind = "application/vnd.docker.raw-stream"
    fake.on("GET", "/containers/c/logs", lambda exchange: exchange.chunks([b"\1\0\0\0raw"], kind))
    assert minidock("logs", "c").stdout == "\1\0\0\0raw"


def test_what_logs_asks_for(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/containers/c/logs", lambda exchange: exchange.chunks([]))
    minidock("logs", "-ft", "--tail", "5", "--since", "2026-01-02T03:04:05.5Z", "--until=1700000000", "c")
    [query] = [request.query for request in fake.requests]
    assert {key: text for key, [text] in query.items()} == {
        "stdout": "1", "stderr": "1", "follow": "1", "timestamps": "1", "tail": "5",
        "since": "1767323045.500000000", "until": "1700000000.000000000",
    }  # fmt: skip
    assert minidock("logs", "--since", "never", "c").exit_code == 125
    assert minidock("logs", "--tail", "x", "c").exit_code == 125


def test_doctor_fails_if_a_check_does(fake: FakeDaemon, minidock: Minidock) -> None:
    checks = [
        {"Name": "kernel", "Status": "ok", "Detail": "6.1", "Hint": ""},
        {"Name": "overlay", "Status": "warn", "Detail": "old", "Hint": "take a newer one"},
    ]
    fake.on("GET", "/minidock/doctor", {"Checks": checks})
    result = minidock("doctor")
    assert result.exit_code == 0
    assert result.output == (
        "CHECK     STATUS    DETAIL\nkernel    ok        6.1\noverlay   warning   old\n\noverlay: take a newer one\n"
    )
    fake.on("GET", "/minidock/doctor", {"Checks": [{**checks[0], "Status": "fail"}]})
    result = minidock("doctor", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["Checks"][0]["Status"] == "fail"


STEPS = [
    {"Kind": "overlay", "Fields": [], "Text": f"upper=/x/{ID}/upper"},
    {"Kind": "execve", "Fields": ["1"], "Text": "sh"},
]


def test_plan_is_a_table_of_steps(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/minidock/plan", {"Steps": STEPS, "Warnings": ["no memory controller"]})
    result = minidock("plan", "--rm", "-v", "/a:/b", "alpine", "sh", "-c", "x")
    assert result.stdout == "#   STEP      WHAT\n1   overlay   upper=/x/4af64a957267/upper\n2   execve    sh\n"
    assert result.stderr == "WARNING: no memory controller\n"
    body = fake.requests[0].json
    assert (body["Image"], body["Cmd"]) == ("alpine", ["sh", "-c", "x"])
    assert body["HostConfig"]["AutoRemove"] and body["HostConfig"]["Binds"] == ["/a:/b"]
    assert json.loads(minidock("plan", "--json", "alpine").stdout)["Steps"] == STEPS


def test_the_plan_of_a_container_shows_results(fake: FakeDaemon, minidock: Minidock) -> None:
    done = [{**STEPS[0], "Errno": 0, "Usec": 470}, {**STEPS[1], "Errno": 2, "Usec": 9}, {**STEPS[1], "Errno": None}]
    fake.on("GET", "/minidock/containers/c/plan", {"Steps": done, "Warnings": []})
    assert minidock("inspect", "--plan", "c").stdout.splitlines() == [
        "#   STEP      RESULT                               TIME     WHAT",
        "1   overlay   ok                                   470 µs   upper=/x/4af64a957267/upper",
        "2   execve    ENOENT (no such file or directory)   9 µs     sh",
        "3   execve    -                                             sh",
    ]
    assert minidock("inspect", "--plan", "nosuch").exit_code == 1


def test_version_without_a_daemon_shows_the_clients_half(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.stop()
    result = minidock("version")
    assert result.exit_code == 1 and result.stdout.startswith("Client:\n Version:")
    assert "Server" not in result.stdout and "cannot reach the daemon" in result.stderr


def test_version_and_info_by_template(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("GET", "/version", {"Version": "0.1", "ApiVersion": "1.45"})
    fake.on("GET", "/info", {"NCPU": 2, "MemTotal": 25276514304, "Warnings": ["WARNING: none"], "Driver": "overlay2"})
    assert minidock("version", "-f", "{{.Server.ApiVersion}} {{.Client.Os}}").stdout == "1.45 linux\n"
    assert minidock("info", "--format", "{{.NCPU}}").stdout == "2\n"
    shown = minidock("info").stdout
    assert " CPUs: 2\n Total Memory: 23.54GiB\n" in shown and shown.endswith("\nWARNING: none\n")


def test_an_answer_that_never_ends_is_left_by_a_closed_pipe(fake: FakeDaemon, environment: dict[str, str]) -> None:
    import subprocess
    import sys

    def forever(exchange: Exchange) -> None:
        exchange.chunks((b"line\n" * 1000 for _ in iter(int, 1)), "application/vnd.docker.raw-stream")

    fake.on("GET", "/containers/c/logs", forever)
    command = f"{sys.executable} -m minidock.cli.main logs c | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"line\n", b"")


HISTORY = f"""\
IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
0123456789ab   3 hours ago   /bin/sh -c #(nop)  CMD ["sh"]                   0B        why
<missing>      N/A           {"x" * 44}…   4.26MB    below
"""


def test_history(fake: FakeDaemon, minidock: Minidock) -> None:
    top = {"Id": "sha256:" + "0123456789abcdef" * 4, "Created": int(time.time()) - 3 * 3600, "Comment": "why"}
    top |= {"CreatedBy": '/bin/sh -c #(nop)  CMD ["sh"]', "Size": 0, "Tags": ["x:1"]}
    below = {"Id": "<missing>", "Created": 0, "CreatedBy": "x" * 60, "Size": 4261550, "Tags": None, "Comment": "below"}
    fake.on("GET", "/images/x/history", [top, below])
    assert minidock("history", "x").output == HISTORY
    assert minidock("history", "-q", "x").output == "0123456789ab\n<missing>\n"
    assert minidock("history", "--format", "{{.Size}}", "-H=false", "x").output == "0\n4261550\n"


def test_what_was_found_can_not_write_on_the_terminal(fake: FakeDaemon, minidock: Minidock) -> None:
    found = {"name": "x", "description": "a\x1b[2J" + "b" * 60, "star_count": 3, "is_official": True}
    fake.on("GET", "/images/search", [found])
    heading, row = minidock("search", "x").output.splitlines()
    assert heading.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert "  a [2J" + "b" * 39 + "…   3" in row and row.endswith("[OK]")
