"""`update`, decided: what a wish changes, what it leaves, and what does not go together."""

from __future__ import annotations

import pytest

from minidock.engine import throttles
from minidock.engine.config import Config, HostConfig, HugepageLimit, RestartPolicy, Ulimit
from minidock.engine.model import Container, Definition
from minidock.engine.updates import merged
from minidock.wire.errors import Conflict, NotImplemented


def container(**host: object) -> Container:
    return Container("1" * 64, "web", 1, Definition("i", Config(), HostConfig(**host)))  # type: ignore[arg-type]


def test_only_what_is_wished_changes() -> None:
    old = container(memory=64 << 20, cpu_shares=512, pids_limit=10, binds=("/a:/b",))
    new = merged(old, HostConfig(memory=128 << 20, restart_policy=RestartPolicy("always")))
    assert (new.memory, new.cpu_shares, new.pids_limit, new.binds) == (128 << 20, 512, 10, ("/a:/b",))
    assert new.restart_policy.name == "always" and merged(old, HostConfig()) == old.host


def test_a_pids_limit_of_0_is_no_limit() -> None:
    assert merged(container(pids_limit=10), HostConfig(pids_limit=0)).pids_limit == -1


def test_huge_pages_of_a_size_that_is_named_get_the_wish_s_limit_and_the_others_keep_theirs() -> None:
    old = container(hugepage_limits=(HugepageLimit("2MB", 4 << 20), HugepageLimit("1GB", 0)))
    wish = HostConfig(hugepage_limits=(HugepageLimit("2MB", -1),))
    assert merged(old, wish).hugepage_limits == (HugepageLimit("1GB", 0), HugepageLimit("2MB", -1))


@pytest.mark.parametrize(
    ("host", "wish", "words"),
    [
        ({"nano_cpus": 10**9}, HostConfig(cpu_quota=5000), "CPU Quota cannot be updated as NanoCPUs"),
        ({"cpu_period": 5000}, HostConfig(nano_cpus=10**9), "Nano CPUs cannot be updated as CPU Period"),
        (
            {"memory": 1 << 25, "memory_swap": 1 << 26},
            HostConfig(memory=1 << 27),
            "update the memoryswap at the same time",
        ),
        ({"auto_remove": True}, HostConfig(restart_policy=RestartPolicy("always")), "because AutoRemove is enabled"),
    ],
)
def test_conflicts_are_docker_s(host: dict[str, object], wish: HostConfig, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        merged(container(**host), wish)


def test_what_is_not_there_is_refused_and_not_passed_over() -> None:
    with pytest.raises(NotImplemented, match="update of ulimits"):
        merged(container(), HostConfig(ulimits=(Ulimit("nofile", 1, 1),)))


def test_devices_that_are_named_get_the_wish_s_rate_and_the_others_keep_theirs() -> None:
    old = container(blkio_device_read_bps=({"Path": "/a", "Rate": 1}, {"Path": "/b", "Rate": 2}))
    wish = HostConfig(blkio_device_read_bps=({"Path": "/b", "Rate": 0}, {"Path": "/c", "Rate": 3}))
    told = merged(old, wish).blkio_device_read_bps
    assert told == ({"Path": "/a", "Rate": 1}, {"Path": "/b", "Rate": 0}, {"Path": "/c", "Rate": 3}), "0 is told, too"
    kept = throttles.without_zeros(merged(old, wish))
    assert kept.blkio_device_read_bps == ({"Path": "/a", "Rate": 1}, {"Path": "/c", "Rate": 3}), "and not kept"
    assert merged(old, HostConfig(blkio_device_read_bps=())) == old.host, "what clients send that wish nothing"
