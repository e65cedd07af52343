"""The three files in a container's /etc that depend on its network: hosts, resolv.conf, hostname.

They are made on the host and bind-mounted over the image's own, as Docker does it, so the container may edit them and
the image stays untouched. A resolver on the host's loopback is of no use inside: 127.0.0.53 there is the container
itself. That of systemd-resolved is replaced by the servers it forwards to; where nothing is left, Google's public ones
stand in, as in Docker.

All but ``host_resolv_conf`` are pure. Serves the engine. See: hosts(5), resolv.conf(5). Read next: bridge.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from minidock.wire.errors import InvalidArgument

PUBLIC_RESOLVERS = ("8.8.8.8", "8.8.4.4")

ETC = Path("/etc/resolv.conf")
SYSTEMD = Path("/run/systemd/resolve/resolv.conf")
"""What systemd-resolved really asks; its stub in /etc/resolv.conf names 127.0.0.53."""

_WORD = re.compile(r"[\x21-\x7e]+", re.ASCII)

_LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def render_hosts(
    hostname: str,
    addresses: Iterable[str] = (),
    extra: Iterable[str] = (),
    domainname: str = "",
    linked: Iterable[tuple[str, str]] = (),
) -> str:
    """/etc/hosts: localhost, then ``extra`` in the form of --add-host (``name:address``), then the container itself,
    then ``linked`` ones, each an address and its names.

    ``addresses``: one or two a network, none without a network of its own. Raises InvalidArgument for what would break
    the file's lines.
    """
    text = _LOCALHOST
    for entry in extra:
        name, _, address = entry.partition(":")
        text += f"{_address(address)}\t{_word('host name', name)}\n"
    names = [f"{hostname}.{domainname}", hostname] if domainname else [hostname]
    for address in addresses:
        text += f"{_address(address)}\t{' '.join(_word('host name', name) for name in names)}\n"
    for address, called in linked:
        text += f"{_address(address)}\t{' '.join(_word('host name', name) for name in called.split(' '))}\n"
    return text


def render_hostname(hostname: str) -> str:
    """/etc/hostname."""
    return f"{_word('host name', hostname)}\n"


@dataclass(frozen=True)
class Resolv:
    """A parsed resolv.conf: the servers that parse as addresses, search list, options, and other lines as they were."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolv:
    """As resolv.conf(5) has it: the last search or domain line counts, options add up."""
    servers: list[str] = []
    options: list[str] = []
    other: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.split():
            case [] | ["nameserver" | "search" | "domain" | "options"]:
                continue
            case [word, *_] if word[0] in "#;":
                continue
            case ["nameserver", server, *_]:
                servers += [server] if _parsed(server) else []
            case ["search" | "domain", *names]:
                search = tuple(names)
            case ["options", *names]:
                options += names
            case words:
                other.append(" ".join(words))
    return Resolv(tuple(servers), search, tuple(options), tuple(other))


def render_resolv_conf(
    host_text: str, dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = (), ipv6: bool = False
) -> str:
    """A container's /etc/resolv.conf from the host's (see host_resolv_conf) and what --dns… asked for.

    Servers that were asked for are taken as they are; of the host's, loopback ones go, and IPv6 ones unless the
    network has ``ipv6``. ``--dns-search .`` means no search list.
    """
    host = parse_resolv_conf(host_text)
    servers = [_address(server) for server in dns] or usable(host.servers, ipv6) or list(PUBLIC_RESOLVERS)
    names = [_word("search domain", name) for name in search] or list(host.search)
    words = [_word("resolver option", option) for option in options] or list(host.options)
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(names)}"] if names and names != ["."] else []
    lines += [f"options {' '.join(words)}"] if words else []
    return "\n".join([*lines, *host.other, ""])


def usable(servers: Iterable[str], ipv6: bool = False) -> list[str]:
    """The resolvers that can be reached from another network namespace."""
    parsed = [(server, _parsed(server)) for server in servers]
    return [
        server for server, address in parsed if address and not address.is_loopback and (ipv6 or address.version == 4)
    ]


def host_resolv_conf(etc: Path = ETC, systemd: Path = SYSTEMD) -> str:
    """The host's resolv.conf, or systemd-resolved's own where the host's names only loopback servers."""
    text = _read(etc)
    servers = parse_resolv_conf(text).servers
    if servers and not usable(servers, ipv6=True):
        return _read(systemd) or text
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parsed(server: str) -> IPv4Address | IPv6Address | None:
    """An address, which may carry an interface (fe80::1%eth0)."""
    try:
        return ip_address(server)
    except ValueError:
        return None


def _address(text: str) -> str:
    if not _parsed(text):
        raise InvalidArgument(f"invalid IP address: {text}")
    return text


def _word(what: str, text: str) -> str:
    """One word of printable ASCII: a newline or blank in it would forge another line or name of the file."""
    if not _WORD.fullmatch(text):
        raise InvalidArgument(f"invalid {what} {text!r}: only printable characters without blanks are allowed")
    return text
