"""The values of -p, --publish and --expose, as docker writes them.

    80  8080:80  127.0.0.1:8080:80  127.0.0.1::80  8000-8010:80  8000-8002:80-82/udp  [::1]:8080:80
    published=8080,target=80,protocol=udp

For options.py, which builds the create body, and imports this where a port is asked for only.
See: docker run --publish; go-connections, nat.ParsePortSpec. Read next: values.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidock.cli.values import address
from minidock.wire.errors import InvalidArgument

Json = dict[str, Any]
_PROTOCOLS = ("tcp", "udp", "sctp")


def publish(text: str) -> list[tuple[str, Json]]:
    """``-p``: (container's port, binding) for each port of a range."""
    text = _standard(text)
    where, ip, host, container = text, *_parts(text)
    if not container:
        raise InvalidArgument(f"no port specified: {where}<empty>")
    port, _, protocol = container.partition("/")
    protocol = _protocol(protocol)
    first, last = _range(port, "containerPort")
    if not host or host == "0":
        return [(f"{number}/{protocol}", {"HostIp": ip, "HostPort": ""}) for number in range(first, last + 1)]
    low, high = _range(host, "hostPort")
    if high - low != last - first:
        if first != last:
            raise InvalidArgument(f"invalid ranges specified for container and host Ports: {port} and {host}")
        return [(f"{first}/{protocol}", {"HostIp": ip, "HostPort": f"{low}-{high}"})]  # the daemon takes a free one
    pairs = zip(range(first, last + 1), range(low, high + 1), strict=True)
    return [(f"{inner}/{protocol}", {"HostIp": ip, "HostPort": str(outer)}) for inner, outer in pairs]


def _standard(text: str) -> str:
    """The long form, ``published=8080,target=80``, as the short one."""
    if "=" not in text:
        return text
    given = {"protocol": "tcp", "published": "", "target": ""}
    for part in text.split(","):
        name, equals, wanted = part.partition("=")
        if not equals or name not in given:
            raise InvalidArgument(f"invalid publish opts format (should be name=value but got '{part}')")
        given[name] = wanted
    return f"{given['published']}:{given['target']}/{given['protocol']}"


def _parts(text: str) -> tuple[str, str, str]:
    """Host address, host port, container port with its protocol; what is not given is empty."""
    rest, _, container = text.rpartition(":")
    ip, _, host = rest.rpartition(":")
    if ip:
        ip = ip[1:-1] if ip.startswith("[") and ip.endswith("]") else ip
        try:
            address(ip)
        except InvalidArgument:
            raise InvalidArgument(f"invalid IP address: {ip}") from None
    return ip, host, container


def _protocol(text: str) -> str:
    name = (text or "tcp").lower()
    if name not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {text}")
    return name


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low, high = _port(first, what, text), _port(last if dash else first, what, text)
    if high < low:
        raise InvalidArgument(f"invalid {what}: {text}", "the end of a range comes after its start")
    return low, high


def _port(text: str, what: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise InvalidArgument(f"invalid {what}: {whole}")
    return int(text)


def expose(text: str) -> list[str]:
    """``--expose 80``, ``--expose 8000-8010/udp``: the ports one by one."""
    if ":" in text:
        raise InvalidArgument(f"invalid port format for --expose: {text}")
    port, _, protocol = text.partition("/")
    first, last = _range(port, "range format for --expose")
    return [f"{number}/{_protocol(protocol)}" for number in range(first, last + 1)]


def bindings(published: Iterable[Iterable[tuple[str, Json]]]) -> dict[str, list[Json]]:
    """All of -p, as PortBindings."""
    found: dict[str, list[Json]] = {}
    for port, binding in (one for many in published for one in many):
        found.setdefault(port, []).append(binding)
    return found
