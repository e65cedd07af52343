"""The flags of run, create and plan: what create body they make, and what of them is refused before any request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_daemon import FakeDaemon
from tests.unit.conftest import ID, Minidock

CREATED = {"Id": ID, "Warnings": []}


@pytest.fixture
def body(fake: FakeDaemon, minidock: Minidock) -> Any:
    """body("-e", "A=b") → what `minidock create -e A=b alpine` sends."""
    fake.on("POST", "/containers/create", CREATED, 201)

    def send(*flags: str) -> Any:
        result = minidock("create", *flags, "alpine")
        assert result.exit_code == 0, result.output
        return fake.requests[-1].json

    return send


def test_the_shape_is_dockers(body: Any) -> None:
    plain = body()
    assert plain["HostConfig"].pop("LogConfig") == {"Type": "", "Config": {}}
    assert plain == {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": True, "AttachStderr": True,
        "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "alpine",
        "Volumes": {}, "WorkingDir": "", "Entrypoint": None, "Labels": {}, "NetworkingConfig": {"EndpointsConfig": {}},
        "HostConfig": {
            "NetworkMode": "default", "AutoRemove": False, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "ReadonlyRootfs": False, "Privileged": False, "ConsoleSize": [0, 0],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["-it"], {"Tty": True, "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}),
        (["-i", "-a", "stdout"], {"OpenStdin": True, "StdinOnce": False, "AttachStdin": False, "AttachStderr": False}),
        (["-t=true", "-i=false"], {"Tty": True, "OpenStdin": False}),
        (["-e", "A=b c", "-eB=1", "-e=C=2"], {"Env": ["A=b c", "B=1", "C=2"]}),
        (["-w", "/w", "-u", "1:2", "-h", "hh"], {"WorkingDir": "/w", "User": "1:2", "Hostname": "hh"}),
        (["--entrypoint", "a b"], {"Entrypoint": ["a b"]}),
        (["--entrypoint="], {"Entrypoint": [""]}),
        (["-l", "a=b", "--label", "c"], {"Labels": {"a": "b", "c": ""}}),
        (["--stop-signal", "INT", "--stop-timeout", "0"], {"StopSignal": "INT", "StopTimeout": 0}),
        (["-v", "/anonymous"], {"Volumes": {"/anonymous": {}}}),
    ],
)
def test_the_portable_half(body: Any, flags: list[str], wanted: dict[str, Any]) -> None:
    sent = body(*flags)
    assert {key: sent[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--rm", "--privileged", "--read-only"], {"AutoRemove": True, "Privileged": True, "ReadonlyRootfs": True}),
        (["--init"], {"Init": True}),
        (["-v", "/a:/b:ro", "-v", "vol:/c", "-v", "/d"], {"Binds": ["/a:/b:ro", "vol:/c"]}),
        (["--tmpfs", "/t:size=1m", "--tmpfs", "/u"], {"Tmpfs": {"/t": "size=1m", "/u": ""}}),
        (["-m", "64m", "--memory-swap", "-1"], {"Memory": 64 << 20, "MemorySwap": -1}),
        (["--memory-reservation", "1g", "--shm-size", "1m"], {"MemoryReservation": 1 << 30, "ShmSize": 1 << 20}),
        (["--cpus", "1.5", "-c", "512"], {"NanoCpus": 1_500_000_000, "CpuShares": 512}),
        (
            ["--hugetlb-limit", "2MB=64m", "--hugetlb-limit", "1GB=-1"],
            {"HugepageLimits": [{"PageSize": "2MB", "Limit": 64 << 20}, {"PageSize": "1GB", "Limit": -1}]},
        ),
        (["--cpuset-cpus", "0-1", "--pids-limit", "-1"], {"CpusetCpus": "0-1", "PidsLimit": -1}),
        (
            ["--ulimit", "nofile=10:20", "--ulimit=core=0"],
            {"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}, {"Name": "core", "Soft": 0, "Hard": 0}]},
        ),
        (["--ulimit", "memlock=-1"], {"Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}]}),
        (["--cap-add", "sys_admin", "--cap-add", "ALL"], {"CapAdd": ["CAP_SYS_ADMIN", "ALL"]}),
        (["--cap-drop", "CAP_CHOWN"], {"CapDrop": ["CAP_CHOWN"]}),
        (["--security-opt", "no-new-privileges"], {"SecurityOpt": ["no-new-privileges"]}),
        (["--security-opt", "seccomp=unconfined"], {"SecurityOpt": ["seccomp=unconfined"]}),
        (["--network", "none"], {"NetworkMode": "none"}),
        (["--net=host"], {"NetworkMode": "host"}),
        (["--dns", "1.1.1.1", "--dns-search", "x.y"], {"Dns": ["1.1.1.1"], "DnsSearch": ["x.y"]}),
        (["--add-host", "a:1.2.3.4", "--add-host", "b=::1"], {"ExtraHosts": ["a:1.2.3.4", "b:::1"]}),
        (["--add-host", "c:host-gateway"], {"ExtraHosts": ["c:host-gateway"]}),
        (["--group-add", "5"], {"GroupAdd": ["5"]}),
        (
            ["--device", "/dev/fuse", "--device", "/dev/sda:/dev/xvda:r"],
            {
                "Devices": [
                    {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
                    {"PathOnHost": "/dev/sda", "PathInContainer": "/dev/xvda", "CgroupPermissions": "r"},
                ]
            },
        ),
        (
            ["--device-read-bps", "/dev/sda:1mb", "--device-write-iops", "/dev/sda:9", "--blkio-weight", "300"],
            {
                "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1 << 20}],
                "BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 9}],
                "BlkioWeight": 300,
            },
        ),
        (["--device-cgroup-rule", "c 1:* rm"], {"DeviceCgroupRules": ["c 1:* rm"]}),
        (["--sysctl", "net.a=1", "--sysctl", "kernel.sem=1 2"], {"Sysctls": {"net.a": "1", "kernel.sem": "1 2"}}),
        (["--ipc", "host", "--pid", "container:a"], {"IpcMode": "host", "PidMode": "container:a"}),
        (["--uts", "host", "--cgroupns", "host"], {"UTSMode": "host", "CgroupnsMode": "host"}),
        (["--userns", "host"], {"UsernsMode": "host"}),
        (["--log-driver", "none"], {"LogConfig": {"Type": "none", "Config": {}}}),
        (["--log-opt", "max-size=1m"], {"LogConfig": {"Type": "", "Config": {"max-size": "1m"}}}),
    ],
)
def test_the_half_about_the_host(body: Any, flags: list[str], wanted: dict[str, Any]) -> None:
    sent = body(*flags)["HostConfig"]
    assert {key: sent[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave",
            {
                "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True,
                "BindOptions": {"Propagation": "rslave"},
            },
        ),
        ("type=volume,target=/v,volume-nocopy", {"Type": "volume", "Target": "/v", "VolumeOptions": {"NoCopy": True}}),
        ("source=x,destination=/v,ro=false", {"Type": "volume", "Source": "x", "Target": "/v", "ReadOnly": False}),
        (
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}},
        ),
        ('type=bind,"src=/a,b",dst=/b', {"Type": "bind", "Source": "/a,b", "Target": "/b"}),
    ],
)  # fmt: skip
def test_mounts(body: Any, text: str, wanted: dict[str, Any]) -> None:
    assert body("--mount", text)["HostConfig"]["Mounts"] == [wanted]


def test_relative_sources_are_the_callers(body: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sent = body("-v", "./x:/x", "-v", ".:/y:ro", "-v", "named:/z", "--mount", "type=bind,src=../q,dst=/q")["HostConfig"]
    assert sent["Binds"] == [f"{tmp_path}/x:/x", f"{tmp_path}:/y:ro", "named:/z"]
    assert sent["Mounts"][0]["Source"] == f"{tmp_path.parent}/q"


def test_files_of_variables_and_labels(body: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CALLER", "here")
    monkeypatch.delenv("NOT_SET", raising=False)
    file = tmp_path / "f"
    file.write_text("A=1\n# no\n\n  B=x y \nFROM_CALLER\nNOT_SET\nC=\nD=one\x0cline\u2028\n")
    sent = body("--env-file", str(file), "-e", "A=2", "-e", "FROM_CALLER", "-e", "NOT_SET", "--label-file", str(file))
    assert sent["Env"] == [
        "A=1",
        "B=x y ",
        "FROM_CALLER=here",
        "C=",
        "D=one\x0cline\u2028",
        "A=2",
        "FROM_CALLER=here",
        "NOT_SET",
    ]
    assert sent["Labels"] == {
        "A": "1",
        "B": "x y ",
        "FROM_CALLER": "",
        "NOT_SET": "",
        "C": "",
        "D": "one\x0cline\u2028",
    }


def test_a_seccomp_profile_is_sent_along(body: Any, tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert body("--security-opt", f"seccomp={profile}")["HostConfig"]["SecurityOpt"] == [
        'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'
    ]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--memory", "xx"], 'invalid argument "xx" for "-m, --memory" flag: invalid size'),
        (["--memory-swap", "-2"], 'for "--memory-swap" flag'),
        (["--cpus", "abc"], 'invalid argument "abc" for "--cpus" flag'),
        (["--cpus", "-1"], "out of range"),
        (["--cpus", "nan"], "out of range"),
        (["--pids-limit", "x"], 'invalid argument "x" for "--pids-limit" flag'),
        (["--hugetlb-limit", "2MB"], 'invalid argument "2MB" for "--hugetlb-limit" flag: bad format'),
        (["--stop-timeout", "x"], 'invalid argument "x" for "--stop-timeout" flag'),
        (["-e", "=x"], 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        (["-e", ""], "invalid environment variable"),
        (["-l", "=x"], "empty name"),
        (["--env-file", "/nosuch"], "open /nosuch: no such file or directory"),
        (["--mount", "foo"], "invalid field 'foo' must be a key=value pair"),
        (["--mount", "type=bind,source=/x"], "target is required"),
        (["--mount", "type=bind,target=/x"], "source is required"),
        (["--mount", "type=foo,target=/x"], "is not supported"),
        (["--mount", "type=bind,src=/x,dst=/x,foo=1"], "unexpected key 'foo'"),
        (["--mount", "type=bind,src=/x,dst=/x,tmpfs-size=1"], "cannot mix"),
        (["--mount", "type=bind,src=/x,dst=/x,bind-propagation=x"], "invalid propagation"),
        (["--mount", "type=tmpfs,dst=/x,tmpfs-mode=9"], "octal"),
        (["--ulimit", "foo"], "invalid ulimit argument: foo"),
        (["--ulimit", "foo=1"], "invalid ulimit type: foo"),
        (["--ulimit", "nofile=5:3"], "must be less than or equal"),
        (["--add-host", "foo"], 'bad format for add-host: "foo"'),
        (["--add-host", "foo:bar"], "not correctly formatted"),
        (["--dns", "foo"], "IP address is not correctly formatted: foo"),
        (["--security-opt", "foo"], "invalid --security-opt"),
        (["--security-opt", "seccomp=/nosuch"], "opening seccomp profile (/nosuch)"),
        (["-a", "foo"], "valid streams are STDIN, STDOUT, STDERR"),
        (["--pull", "foo"], "invalid pull option: 'foo'"),
        (["--detach-keys", "ctrl-"], "no key"),
    ],
)
def test_bad_values_are_refused_at_once(fake: FakeDaemon, minidock: Minidock, flags: list[str], complaint: str) -> None:
    result = minidock("run", *flags, "alpine")
    assert (result.exit_code, fake.requests) == (125, [])
    assert result.stderr.startswith("minidock: ") and complaint in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("entry", ["A B=1", "=1"])
def test_a_bad_line_in_an_env_file(minidock: Minidock, tmp_path: Path, entry: str) -> None:
    file = tmp_path / "f"
    file.write_text(f"GOOD=1\n{entry}\n")
    result = minidock("run", "--env-file", str(file), "alpine")
    assert result.exit_code == 125 and f"invalid env file ({file})" in result.stderr


def test_flags_end_where_the_command_begins(body: Any, fake: FakeDaemon, minidock: Minidock) -> None:
    minidock("create", "--name", "n", "alpine", "ls", "-i=false", "--rm=false", "--", "-e=A")
    assert fake.requests[-1].json["Cmd"] == ["ls", "-i=false", "--rm=false", "--", "-e=A"]
    assert fake.requests[-1].query == {"name": ["n"]}


def test_the_cidfile_is_written_once(fake: FakeDaemon, minidock: Minidock, tmp_path: Path) -> None:
    fake.on("POST", "/containers/create", CREATED, 201)
    file = tmp_path / "cid"
    assert minidock("create", "--cidfile", str(file), "alpine").stdout == f"{ID}\n"
    assert file.read_text() == ID
    again = minidock("create", "--cidfile", str(file), "alpine")
    assert again.exit_code == 1 and "container ID file found" in again.stderr
    assert minidock("run", "--cidfile", str(file), "alpine").exit_code == 125
    assert len(fake.requests) == 1


def test_without_its_cidfile_no_container_is_made(fake: FakeDaemon, minidock: Minidock, tmp_path: Path) -> None:
    fake.on("POST", "/containers/create", CREATED, 201)
    result = minidock("run", "-d", "--cidfile", str(tmp_path / "nosuch/cid"), "alpine")
    assert (result.exit_code, fake.requests) == (127, [])  # docker's code for it, too
    assert "failed to create the container ID file" in result.stderr


def test_a_create_that_fails_leaves_no_cidfile(fake: FakeDaemon, minidock: Minidock, tmp_path: Path) -> None:
    fake.on("POST", "/containers/create", {"message": "no"}, 409)
    file = tmp_path / "cid"
    assert minidock("create", "--cidfile", str(file), "alpine").exit_code == 1
    assert not file.exists()


def test_warnings_go_to_stderr(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/create", {"Id": ID, "Warnings": ["no memory controller"]}, 201)
    result = minidock("create", "-m", "64m", "alpine")
    assert (result.stdout, result.stderr) == (f"{ID}\n", "WARNING: no memory controller\n")


def test_odd_bytes_reach_the_daemon(fake: FakeDaemon, minidock: Minidock) -> None:
    fake.on("POST", "/containers/create", CREATED, 201)
    minidock("create", "-e", 'A=é"\\ \n\t', "alpine", "printf", "\x07")
    assert fake.requests[-1].json["Env"] == ['A=é"\\ \n\t']
    assert json.loads(fake.requests[-1].body)["Cmd"] == ["printf", "\x07"]
