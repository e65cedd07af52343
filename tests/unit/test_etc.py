"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, from the host's files and the options."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.network.etc import host_resolv_conf, render_hostname, render_hosts, render_resolv_conf
from minidock.wire.errors import InvalidArgument


def test_hosts_is_dockers() -> None:
    assert render_hosts("3f2a91bc0d4e", ["172.30.0.2"]).splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "172.30.0.2\t3f2a91bc0d4e",
    ]


def test_hosts_with_extra_entries_and_a_domain() -> None:
    text = render_hosts("web", ["172.30.0.2"], ["db:10.0.0.5", "six:2001:db8::1"], domainname="example.org")
    assert text.splitlines()[6:] == ["10.0.0.5\tdb", "2001:db8::1\tsix", "172.30.0.2\tweb.example.org web"]


def test_hosts_without_a_network_names_localhost_only() -> None:
    assert "web" not in render_hosts("web")


@pytest.mark.parametrize(
    "entry", ["evil\n10.0.0.1 bank:10.0.0.5", "two names:10.0.0.5", ":10.0.0.5", "db:10.0.0", "db"]
)
def test_hosts_entries_that_would_forge_lines_are_refused(entry: str) -> None:
    with pytest.raises(InvalidArgument):
        render_hosts("web", ["172.30.0.2"], [entry])


def test_hostname() -> None:
    assert render_hostname("web") == "web\n"
    with pytest.raises(InvalidArgument, match="host name"):
        render_hostname("a\nb")


HOST = """\
# made by hand
nameserver 10.0.0.1
nameserver 127.0.0.53
nameserver ::1
nameserver 2001:db8::53
nameserver nonsense
search old.example
search example.org corp.example
options edns0
options ndots:2
sortlist 10.0.0.0/8
"""


def test_loopback_and_ipv6_resolvers_stay_outside() -> None:
    assert render_resolv_conf(HOST).splitlines() == [
        "nameserver 10.0.0.1",
        "search example.org corp.example",
        "options edns0 ndots:2",
        "sortlist 10.0.0.0/8",
    ]


def test_ipv6_resolvers_where_the_network_has_ipv6() -> None:
    assert "nameserver 2001:db8::53" in render_resolv_conf(HOST, ipv6=True)


@pytest.mark.parametrize("host", ["", "nameserver 127.0.0.53\n", "nameserver 127.8.8.8\nnameserver ::1\n"])
def test_public_resolvers_where_none_is_left(host: str) -> None:
    assert render_resolv_conf(host) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_what_was_asked_for_replaces_the_hosts() -> None:
    text = render_resolv_conf(HOST, dns=["127.0.0.1", "9.9.9.9"], search=["a.example"], options=["timeout:1"])
    assert text.splitlines()[:3] == ["nameserver 127.0.0.1", "nameserver 9.9.9.9", "search a.example"]
    assert "options timeout:1" in text.splitlines()
    assert "10.0.0.1" not in text


def test_a_dot_means_no_search_list() -> None:
    assert "search" not in render_resolv_conf(HOST, search=["."])


@pytest.mark.parametrize(
    ("dns", "search", "options"),
    [(["dns.example"], [], []), ([], ["a\nnameserver 6.6.6.6"], []), ([], [], ["a b"]), ([], [""], [])],
)
def test_options_that_would_forge_lines_are_refused(dns: list[str], search: list[str], options: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        render_resolv_conf(HOST, dns, search, options)


@pytest.mark.parametrize(
    ("etc", "systemd", "used"),
    [
        ("nameserver 127.0.0.53\n", "nameserver 10.0.0.1\n", "nameserver 10.0.0.1\n"),
        ("nameserver 10.0.0.7\n", "nameserver 10.0.0.1\n", "nameserver 10.0.0.7\n"),
        ("nameserver 2001:db8::7\n", "nameserver 10.0.0.1\n", "nameserver 2001:db8::7\n"),
        ("nameserver 127.0.0.53\n", None, "nameserver 127.0.0.53\n"),
        (None, "nameserver 10.0.0.1\n", ""),
    ],
)
def test_the_resolvers_behind_systemds_stub(tmp_path: Path, etc: str | None, systemd: str | None, used: str) -> None:
    for name, text in (("etc", etc), ("systemd", systemd)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert host_resolv_conf(tmp_path / "etc", tmp_path / "systemd") == used
