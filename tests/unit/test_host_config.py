"""Every field of Docker's HostConfig has a fate: honoured, shown as dockerd does, discarded with a warning, refused.

The fields are those of API 1.45's HostConfig, Resources included. A field that had no row would be one that minidock
passes over in silence. That an honoured one does what it should is for tests/root and tests/cgroup to show.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from minidock.cgroup.limits import Limits
from minidock.engine import create, meaningless
from minidock.engine.codec import decode, encode
from minidock.engine.config import Config, HostConfig
from minidock.engine.requests import CreateRequest
from minidock.image.model import Image, ImageConfig
from minidock.wire.errors import Error, InvalidArgument, NotImplemented
from tests.support.sources import TOP

RATE, WEIGHT = {"Path": "/dev/sda", "Rate": 1 << 20}, {"Path": "/dev/sda", "Weight": 300}
DEVICE = {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}

HONOURED: dict[str, Any] = {
    "Binds": ["/tmp:/mnt"],
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    "NetworkMode": "none",
    "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
    "AutoRemove": True,
    "VolumesFrom": ["other:ro"],
    "ConsoleSize": [24, 80],
    "CapAdd": ["CAP_NET_ADMIN"],
    "CapDrop": ["CAP_CHOWN"],
    "CgroupnsMode": "host",
    "Dns": ["192.0.2.1"],
    "DnsOptions": ["ndots:1"],
    "DnsSearch": ["example.com"],
    "ExtraHosts": ["name:192.0.2.1"],
    "GroupAdd": ["audio"],
    "IpcMode": "shareable",
    "Links": ["other:alias"],
    "OomScoreAdj": 100,
    "PidMode": "host",
    "Privileged": True,
    "PublishAllPorts": True,
    "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"],
    "Tmpfs": {"/run": "size=1m"},
    "UTSMode": "host",
    "ShmSize": 1 << 20,
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "Runtime": "runc",
    "CgroupParent": "team/web",
    "CpuShares": 512,
    "Memory": 64 << 20,
    "NanoCpus": 10**9,
    "BlkioWeight": 300,
    "BlkioWeightDevice": [WEIGHT],
    "BlkioDeviceReadBps": [RATE],
    "BlkioDeviceWriteBps": [RATE],
    "BlkioDeviceReadIOps": [RATE],
    "BlkioDeviceWriteIOps": [RATE],
    "CpuPeriod": 50_000,
    "CpuQuota": 20_000,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "Devices": [DEVICE],
    "DeviceCgroupRules": ["c 1:3 rwm"],
    "MemoryReservation": 32 << 20,
    "MemorySwap": -1,
    "PidsLimit": 10,
    "HugepageLimits": [{"PageSize": "2MB", "Limit": 4 << 20}],  # ours
    "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
    "Mounts": [{"Type": "tmpfs", "Target": "/run"}],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Init": True,
}
SHOWN: dict[str, Any] = {  # as dockerd on Linux: kept and given back, of no effect
    "ContainerIDFile": "/tmp/id",
    "Annotations": {"a": "b"},
    "Cgroup": "x",
    "CpuCount": 2,
    "CpuPercent": 50,
    "IOMaximumIOps": 9,
    "IOMaximumBandwidth": 9,
    "VolumeDriver": "local",
    "Isolation": "default",
}
DISCARDED: dict[str, tuple[Any, str]] = {
    "MemorySwappiness": (10, "memory swappiness capabilities .* Memory swappiness discarded"),
    "OomKillDisable": (True, "Your kernel does not support OomKillDisable. OomKillDisable discarded."),
}
REFUSED: dict[str, tuple[Any, type[Error], str]] = {
    "DeviceRequests": ([{"Count": -1}], NotImplemented, "--gpus"),
    "UsernsMode": ("private", InvalidArgument, "invalid USER mode"),
    "CpuRealtimePeriod": (10_000, InvalidArgument, "CPU real-time scheduler"),
    "CpuRealtimeRuntime": (5_000, InvalidArgument, "CPU real-time scheduler"),
    "StorageOpt": ({"size": "1g"}, InvalidArgument, "pquota"),
    "Isolation": ("hyperv", InvalidArgument, "invalid isolation"),
    "VolumeDriver": ("flocker", InvalidArgument, 'plugin "flocker" not found'),
    "Runtime": ("kata", InvalidArgument, "unknown or invalid runtime name: kata"),
    "IpcMode": ("other", InvalidArgument, "invalid IPC mode"),
    "PidMode": ("other", InvalidArgument, "invalid PID mode"),
    "UTSMode": ("other", InvalidArgument, "invalid UTS mode"),
    "CgroupnsMode": ("other", InvalidArgument, "invalid cgroup namespace mode"),
    "Sysctls": ({"kernel.core_pattern": "|/x"}, InvalidArgument, "is not allowed"),
    "Ulimits": ([{"Name": "x", "Soft": 1, "Hard": 1}], InvalidArgument, "invalid ulimit type: x"),
    "SecurityOpt": (["systempaths=unconfined"], InvalidArgument, "systempaths"),  # clients send the two lists of paths
    "LogConfig": ({"Type": "syslog", "Config": {}}, InvalidArgument, "no log driver named 'syslog'"),
    "Devices": ([{**DEVICE, "CgroupPermissions": "x"}], InvalidArgument, "x"),
    "DeviceCgroupRules": (["z 1:1 r"], InvalidArgument, "z 1:1 r"),
    "OomScoreAdj": (2000, InvalidArgument, "range for oom score adj"),
    "ShmSize": (-1, InvalidArgument, "SHM size"),
}

RECORDED = """
    AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight
    BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile CpuCount CpuPercent
    CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems DeviceCgroupRules
    DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth IOMaximumIOps IpcMode
    Isolation Links LogConfig MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness Mounts NanoCpus
    NetworkMode OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths
    ReadonlyRootfs RestartPolicy SecurityOpt ShmSize UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom
"""
"""What dockerd 26.1.5 and its CLI 28 were recorded to send, but KernelMemory, which went with API 1.42."""

IMAGE = Image("sha256:" + "0" * 64, (), (), "", 0, "amd64", "linux", "", (), ImageConfig(), (), "", "")


def created(key: str, value: Any) -> HostConfig:
    """The HostConfig that a container has which was asked for with this one key."""
    host = decode(HostConfig, {key: value}, "HostConfig")
    return create.definition(CreateRequest(Config(image="x", cmd=("true",)), host), IMAGE, "f" * 64).host


def test_every_field_has_a_fate_and_no_fate_is_of_a_field_that_is_none() -> None:
    fields = set(encode(HostConfig()))
    assert set(RECORDED.split()) <= fields
    assert fields == HONOURED.keys() | SHOWN.keys() | DISCARDED.keys() | REFUSED.keys()
    assert not (HONOURED.keys() & SHOWN.keys() | DISCARDED.keys() & (HONOURED.keys() | SHOWN.keys()))


@pytest.mark.parametrize("key", [*HONOURED, *SHOWN])
def test_what_is_accepted_is_shown_back(key: str) -> None:
    value = (HONOURED | SHOWN)[key]
    shown = encode(created(key, value))[key]
    if key == "Mounts":  # inspect shows what it left open, too
        shown = [{name: one[name] for name in value[0]} for one in shown]
    assert shown == value


@pytest.mark.parametrize("key", HONOURED)
def test_what_is_honoured_is_read_somewhere(key: str) -> None:
    """In the engine, where it is not only a field's name in a list of those to copy."""
    host = decode(HostConfig, {key: HONOURED[key]}, "HostConfig")
    default = HostConfig()
    (name,) = [name for name in host.__dataclass_fields__ if getattr(host, name) != getattr(default, name)]
    files = [path for path in (TOP / "minidock/engine").rglob("*.py") if path.name not in ("config.py", "updates.py")]
    assert any(re.search(rf"host\.{name}\b", path.read_text()) for path in files), f"nobody reads {name}"


@pytest.mark.parametrize("key", DISCARDED)
def test_what_is_discarded_is_warned_about(key: str) -> None:
    value, words = DISCARDED[key]
    host, lines = meaningless.discard(decode(HostConfig, {key: value}, "HostConfig"))
    assert len(lines) == 1 and re.search(words, lines[0])
    assert encode(host)[key] is None and encode(created(key, value))[key] is None
    assert meaningless.discard(HostConfig(memory_swappiness=-1, oom_kill_disable=False))[1] == []


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_refused_says_why(key: str) -> None:
    value, error, words = REFUSED[key]
    with pytest.raises(error, match=re.escape(words)):
        created(key, value)


@pytest.mark.parametrize("option", ["label=disable", "label=user:x", "label:type:y", "no-new-privileges=false"])
def test_security_options_without_effect_here_are_taken_as_docker_takes_them(option: str) -> None:
    """Without SELinux Docker passes labels over."""
    assert created("SecurityOpt", [option]).security_opt == (option,)


def test_weights_of_devices_are_weighed_as_the_default_is() -> None:
    from minidock.cgroup.limits import check, settings

    limits = Limits(io_weight=10, io_weights=(("8:0", 1000), ("8:16", 505)))
    assert [one.value for one in settings(limits) if one.file == "io.weight"] == ["default 1", "8:0 10000", "8:16 5000"]
    with pytest.raises(InvalidArgument, match="Range of blkio weight is from 10 to 1000"):
        check(Limits(io_weights=(("8:0", 9),)), 1)
