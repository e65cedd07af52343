"""--blkio-weight-device, and --device-read-bps with its siblings: lists of devices for io.weight and io.max.

A device is named by a path of the host and looked up anew for each start, since numbers of devices change with a
reboot. A rate or weight of 0 is none: that is how an update takes one away again. See: cgroup-v2.rst, "IO
Interface Files". Read next: cgroup/limits.py.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator
from typing import Any

from minidock.engine.config import HostConfig
from minidock.linux.reason import reason
from minidock.wire.errors import InvalidArgument

FIELDS = (
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip
"""The lists in HostConfig."""


def io_max(host: HostConfig) -> tuple[str, ...]:
    """``("8:0 rbps=1048576",)``. Raises InvalidArgument for what is no block device or no rate."""
    return tuple(_lines(host))


def _lines(host: HostConfig) -> Iterator[str]:
    for key, wanted in (
        ("rbps", host.blkio_device_read_bps),
        ("wbps", host.blkio_device_write_bps),
        ("riops", host.blkio_device_read_iops),
        ("wiops", host.blkio_device_write_iops),
    ):
        for entry in wanted or ():
            yield f"{_number(entry)} {key}={_rate(entry) or 'max'}"


def io_weights(host: HostConfig) -> tuple[tuple[str, int], ...]:
    """``(("8:0", 300),)``. Raises InvalidArgument for no block device or no number."""
    return tuple((_number(entry), _weight(entry)) for entry in host.blkio_weight_device or ())


def _weight(entry: Any) -> int:
    weight = entry.get("Weight")
    if type(weight) is not int:
        raise InvalidArgument(f"invalid weight for device {entry.get('Path')}: {weight!r}", "an integer, 10 to 1000")
    return weight


def _number(entry: Any) -> str:
    path = _path(entry)
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"invalid device to throttle: {path!r}", "give the path of a block device")
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"throttle {path}: {reason(error)}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"throttle {path}: not a block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _rate(entry: Any) -> int:
    rate = entry.get("Rate")
    if type(rate) is not int or not 0 <= rate < 1 << 63:
        raise InvalidArgument(f"invalid rate for device {entry.get('Path')}: {rate!r}", "a positive integer")
    return rate


def updated(host: HostConfig, wish: HostConfig) -> HostConfig:
    """``host`` with what a wish says of devices: those that it names get its word, the others keep theirs."""
    lists: dict[str, Any] = {
        name: _merged(getattr(host, name), getattr(wish, name)) for name in FIELDS if getattr(wish, name)
    }
    return dataclasses.replace(host, **lists)


def _merged(old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> tuple[Any, ...]:
    named = [_path(entry) for entry in new]
    return (*(entry for entry in old or () if _path(entry) not in named), *new)


def _path(entry: Any) -> Any:
    return entry.get("Path") if isinstance(entry, dict) else None


def without_zeros(host: HostConfig) -> HostConfig:
    """As it is to be kept: what was taken away needs no device any more."""
    lists: dict[str, Any] = {
        name: tuple(filter(_counts, getattr(host, name))) for name in FIELDS if getattr(host, name)
    }
    return dataclasses.replace(host, **lists)


def _counts(entry: Any) -> bool:
    return bool(entry.get("Rate") or entry.get("Weight"))
