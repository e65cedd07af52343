"""The JSON's shape against recordings of dockerd 26.1.5: keys and their types, which clients index without asking."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from minidock.api.render import container as render
from minidock.api.render import image as render_image
from minidock.engine.config import Config, HostConfig, HugepageLimit, LogConfig, RestartPolicy
from minidock.engine.model import Container, Definition, State, Status
from minidock.image.model import History, Image
from minidock.network.ports import PublishedPort
from minidock.wire import times
from tests.api.fake import BORN, OLD, WEB, container
from tests.api.harness import Harness

ENDPOINT = (
    "IPAMConfig Links Aliases MacAddress NetworkID EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway "
    "GlobalIPv6Address GlobalIPv6PrefixLen DriverOpts DNSNames"
).split()
ROW = (
    "Id Names Image ImageID Command Created Ports Labels State Status HostConfig NetworkSettings Mounts"
).split()  # fmt: skip
INSPECT = (
    "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform "
    "MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings"
).split()
STATE = (
    "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt"
).split()  # fmt: skip
HOST = (
    "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom "
    "ConsoleSize CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links "
    "OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize Runtime "
    "Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps "
    "BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod "
    "CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap "
    "MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth "
    "MaskedPaths ReadonlyPaths"
).split()
CONFIG = (
    "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd Image Volumes "
    "WorkingDir Entrypoint OnBuild Labels"
).split()
IMAGE = (
    "Id RepoTags RepoDigests Parent Comment Created DockerVersion Author Config Architecture Os Size GraphDriver "
    "RootFS Metadata"
).split()
IMAGE_ROW = "Containers Created Id Labels ParentId RepoDigests RepoTags SharedSize Size".split()
NETWORK = (
    "Name Id Created Scope Driver EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom ConfigOnly Containers Options "
    "Labels"
).split()
VOLUME = "CreatedAt Driver Labels Mountpoint Name Options Scope".split()
EXEC = (
    "ID Running ExitCode ProcessConfig OpenStdin OpenStderr OpenStdout CanRemove ContainerID DetachKeys Pid"
).split()  # fmt: skip
VERSION = (
    "Platform Components Version ApiVersion MinAPIVersion GitCommit GoVersion Os Arch KernelVersion BuildTime"
).split()  # fmt: skip
INFO = (
    "ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins MemoryLimit "
    "SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding BridgeNfIptables BridgeNfIp6tables "
    "Debug NFd OomKillDisable NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener "
    "KernelVersion OperatingSystem OSVersion OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal "
    "GenericResources DockerRootDir HttpProxy HttpsProxy NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes "
    "DefaultRuntime Swarm LiveRestoreEnabled Isolation InitBinary ContainerdCommit RuncCommit InitCommit "
    "SecurityOptions CDISpecDirs Warnings"
).split()


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        ("/containers/old/json", INSPECT),
        ("/images/busybox/json", IMAGE),
        ("/networks/bridge", NETWORK),
        ("/volumes/data", VOLUME),
        ("/version", VERSION),
        ("/info", INFO),
    ],
)
def test_objects(api: Harness, target: str, keys: list[str]) -> None:
    assert list(api.request("GET", target).json()) == keys


@pytest.mark.parametrize(
    ("target", "keys"), [("/containers/json", ROW), ("/images/json", IMAGE_ROW), ("/networks", NETWORK)]
)
def test_rows(api: Harness, target: str, keys: list[str]) -> None:
    for row in api.request("GET", target).json():
        assert list(row) == keys


def test_inner_objects_of_a_container(api: Harness) -> None:
    value = api.request("GET", "/containers/old/json").json()
    assert list(value["State"]) == STATE
    assert set(value["HostConfig"]) == set(HOST) - {"Runtime"}  # the engine names the runtime, the fake does not
    assert list(value["Config"]) == CONFIG
    assert list(value["NetworkSettings"]["Networks"]["bridge"]) == ENDPOINT
    assert (value["State"]["Running"], value["State"]["ExitCode"]) == (False, 3)
    assert value["NetworkSettings"]["Ports"] == {} and value["GraphDriver"]["Data"]["MergedDir"] == ""
    assert "SizeRw" not in value
    assert api.request("GET", "/containers/old/json?size=1").json()["SizeRootFs"] == 1984411


def test_published_ports_are_shown_beside_those_only_named() -> None:
    definition = Definition(
        "", Config(exposed_ports={"80/tcp": {}, "90/udp": {}, "100": {}}), HostConfig(network_mode="x")
    )
    ports = tuple(PublishedPort(ip, 8080, "tcp", "172.30.0.2", 80) for ip in ("127.0.0.1", "127.0.0.2"))
    web = Container(WEB, "web", 0, definition, State(Status.RUNNING, ports=ports))
    both = [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "127.0.0.2", "HostPort": "8080"}]
    assert render.ports(web) == {"80/tcp": both, "90/udp": None, "100/tcp": None}
    assert render.summary(web, "", {})["Ports"] == [
        {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "127.0.0.2", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 90, "Type": "udp"},
        {"PrivatePort": 100, "Type": "tcp"},
    ]


def test_a_running_container_shows_its_network_and_its_root(api: Harness) -> None:
    value = api.request("GET", "/containers/web/json").json()
    settings = value["NetworkSettings"]
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"] == "172.30.0.2"
    assert settings["Ports"] == {"80/tcp": None} and settings["SandboxKey"] == "/proc/4242/ns/net"
    assert value["GraphDriver"]["Data"]["MergedDir"] == "/proc/4242/root"
    assert value["LogPath"].endswith(f"{WEB}-json.log") and value["Name"] == "/web"
    row = next(row for row in api.request("GET", "/containers/json?size=1").json() if row["Id"] == WEB)
    assert row["Ports"] == [{"PrivatePort": 80, "Type": "tcp"}] and row["SizeRw"] == 12
    assert row["Created"] == BORN // 10**9 and row["Command"] == "sh -c 'exit 3'"
    assert row["Mounts"][0] == {
        "Type": "volume", "Name": "data", "Source": "/v/data/_data", "Destination": "/data", "Driver": "local",
        "Mode": "z", "RW": True, "Propagation": "",
    }  # fmt: skip


def test_what_is_left_out_when_it_says_nothing_is_there_when_it_does() -> None:
    one = container(OLD, "old", State(), stop_timeout=0, stop_signal="TERM", shell=("sh",), network_disabled=True)
    pages = (HugepageLimit("2MB", 0),)
    host = HostConfig(
        init=True, tmpfs={"/t": ""}, sysctls={"net.a": "1"}, log_config=LogConfig("none"), hugepage_limits=pages
    )
    one.definition = dataclasses.replace(one.definition, host=host)
    value: dict[str, Any] = render.inspect(one, PLACE)
    assert {"StopSignal", "Shell", "NetworkDisabled", "StopTimeout"} <= set(value["Config"])
    assert {"Init", "Tmpfs", "Sysctls"} <= set(value["HostConfig"])
    assert value["HostConfig"]["HugepageLimits"] == [{"PageSize": "2MB", "Limit": 0}]
    assert value["LogPath"] == ""


def test_an_image_that_is_gone_does_not_hide_its_container(api: Harness) -> None:
    api.engine.images.busybox = dataclasses.replace(api.engine.images.busybox, id="sha256:" + "0" * 64)
    row = api.request("GET", "/containers/json").json()[0]
    assert row["Image"] == row["ImageID"] == "sha256:" + "a" * 64
    assert api.request("GET", "/containers/web/json").status == 200


PLACE = render.Place(Path("/d"), Path("/d/log"))
NOW = BORN + 10**15


def at(seconds: int) -> int:
    return NOW - seconds * times.SECOND


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(), "Created"),
        (State(exit_code=127, error="exec: x"), "Created"),
        (State(Status.RUNNING, started_at=at(3)), "Up 3 seconds"),
        (State(Status.RUNNING, started_at=at(0)), "Up Less than a second"),
        (State(Status.PAUSED, started_at=at(61)), "Up About a minute (Paused)"),
        (State(Status.EXITED, exit_code=1, started_at=at(500), finished_at=at(125)), "Exited (1) 2 minutes ago"),
        (State(Status.RESTARTING, exit_code=2, started_at=at(9), finished_at=at(5)), "Restarting (2) 5 seconds ago"),
        (State(Status.REMOVING, started_at=at(9)), "Removal In Progress"),
        (State(Status.DEAD, started_at=at(9)), "Dead"),
    ],
)
def test_status_for_people(state: State, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now", lambda: NOW)
    assert render.status_text(state) == text


@pytest.mark.parametrize(
    ("status", "flags"),
    [
        (Status.RUNNING, {"Running"}),
        (Status.PAUSED, {"Running", "Paused"}),
        (Status.RESTARTING, {"Running", "Restarting"}),
        (Status.DEAD, {"Dead"}),
        (Status.EXITED, set()),
    ],
)
def test_five_booleans_beside_one_word(status: Status, flags: set[str]) -> None:
    value = render.inspect(container(OLD, "old", State(status)), PLACE)["State"]
    assert {name for name in ("Running", "Paused", "Restarting", "Dead", "OOMKilled") if value[name]} == flags


def test_history_tells_each_layer_once() -> None:
    steps = (History("2026-01-01T00:00:00Z", "ADD a"), History(created_by="ENV b", empty_layer=True), History())
    image = Image("sha256:x", ("a:1",), history=steps)
    rows = render_image.history([image], [10, 20])
    assert [(row["CreatedBy"], row["Size"], row["Id"]) for row in rows] == [
        ("", 20, "sha256:x"),
        ("ENV b", 0, "<missing>"),
        ("ADD a", 10, "<missing>"),
    ]
    assert rows[0]["Tags"] == ["a:1"] and rows[1]["Tags"] is None
    untold = render_image.history([Image("sha256:x", size=7)], [3, 4])
    assert [row["Size"] for row in untold] == [4, 3]
    assert [row["Size"] for row in render_image.history([Image("sha256:x", size=7, comment="c")], [])] == [7]


def test_history_names_the_images_of_a_build() -> None:
    steps = tuple(History(created_by=word, empty_layer=True) for word in "abc")
    line = [Image("sha256:3", history=steps), Image("sha256:2", ("t:1",))]
    rows = render_image.history(line, [])
    assert [row["Id"] for row in rows] == ["sha256:3", "sha256:2", "<missing>"]
    assert [row["Tags"] for row in rows] == [None, ["t:1"], None]


def test_restart_policy_and_friends_keep_their_names() -> None:
    one: Container = container(OLD, "old", State())
    host = HostConfig(restart_policy=RestartPolicy("on-failure", 3), uts_mode="host")
    one.definition = dataclasses.replace(one.definition, host=host)
    value = render.inspect(one, PLACE)["HostConfig"]
    assert value["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3} and value["UTSMode"] == "host"


def test_the_extensions(api: Harness) -> None:
    plan = api.request("POST", "/minidock/plan", {"Image": "busybox"}).json()
    step = {"Kind": "clone3", "Fields": ["mnt,pid", ""], "Text": "clone3 into new namespaces"}
    assert plan == {"Steps": [step], "Warnings": ["careful"]}
    steps = api.request("GET", "/minidock/containers/web/plan").json()["Steps"]
    assert [(step["Kind"], step["Errno"], step["Usec"]) for step in steps] == [
        ("clone3", 0, 120),
        ("execve", None, None),
    ]
    checks = api.request("GET", "/minidock/doctor").json()["Checks"]
    assert checks == [{"Name": "overlay", "Status": "ok", "Detail": "mounts", "Hint": ""}]


def test_exec_keys(api: Harness) -> None:
    ident = api.request("POST", "/containers/web/exec", {"Cmd": ["ls"]}).json()["Id"]
    assert list(api.request("GET", f"/exec/{ident}/json").json()) == EXEC
