"""Leases and subnets: the lowest free address, no double booking, nothing that the host already reaches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from minidock.db import Database
from minidock.network.leases import (
    CANDIDATES,
    Leases,
    Wish,
    choose_gateway,
    conflicting,
    lowest_free,
    mac_of,
    overlapping,
)
from minidock.wire.errors import Forbidden, Unavailable

GATEWAY = IPv4Interface("172.30.0.1/16")


def networks(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


def container(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database(tmp_path / "minidock.db")
    for name in ("net", "other"):
        db.execute(
            "INSERT INTO networks (id, name, driver, bridge, address, created) VALUES (?, ?, 'bridge', 'br', ?, 0)",
            (name, name, str(GATEWAY)),
        )
    yield db
    db.close()


@pytest.fixture
def leases(db: Database) -> Leases:
    return Leases(db, "net", GATEWAY)


def test_addresses_start_after_the_gateway_and_fill_gaps(leases: Leases) -> None:
    """Seen to fail where the gateway's own is given."""
    given = [str(leases.claim(container(n)).address) for n in range(3)]
    assert given == ["172.30.0.2", "172.30.0.3", "172.30.0.4"]
    leases.release(container(1))
    assert str(leases.claim(container(9)).address) == "172.30.0.3"
    assert str(leases.claim(container(10)).address) == "172.30.0.5"


def test_a_container_keeps_its_lease_when_it_claims_again(leases: Leases) -> None:
    """Seen to fail where each claim makes a lease."""
    assert leases.claim(container(1)) == leases.claim(container(1))
    assert len(leases.all()) == 1


def test_release_is_idempotent(leases: Leases) -> None:
    """Seen to fail where a lease must be there."""
    leases.claim(container(1))
    leases.release(container(1))
    leases.release(container(1))
    assert leases.all() == {}


def test_leases_survive_the_daemon(db: Database, leases: Leases) -> None:
    """Seen to fail where the endpoint is not read back."""
    lease = leases.claim(container(1))
    db.close()
    reopened = Database(db.path)
    assert Leases(reopened, "net", GATEWAY).all() == {container(1): lease}
    reopened.close()


def test_networks_do_not_see_each_other(db: Database, leases: Leases) -> None:
    """Seen to fail where all leases are looked at, and where all are cleared."""
    other = Leases(db, "other", GATEWAY)
    assert leases.claim(container(1)).address == other.claim(container(1)).address
    leases.clear()
    assert leases.all() == {}
    assert len(other.all()) == 1


def test_no_address_twice_from_many_threads(leases: Leases) -> None:
    """Seen to fail where what is taken is looked up before the transaction."""
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda n: leases.claim(container(n)).address, range(100)))
    assert len(set(given)) == 100
    assert max(given) == IPv4Address("172.30.0.101")


def test_a_full_subnet_says_so() -> None:
    """Seen to fail where the gateway's address, or the broadcast's, is given."""
    gateway = IPv4Interface("10.9.8.5/29")
    taken: set[IPv4Address] = set()
    for _ in range(5):
        taken.add(lowest_free(gateway, taken))
    assert [str(address) for address in sorted(taken)] == [f"10.9.8.{last}" for last in (1, 2, 3, 4, 6)]
    with pytest.raises(Unavailable, match=r"10\.9\.8\.0/29 has no free one; hint: .*--bip"):
        lowest_free(gateway, taken)


def test_mac_is_that_of_the_address_as_in_docker() -> None:
    """Seen to fail with its bytes the other way round."""
    assert mac_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"


def test_first_candidate_on_a_quiet_host() -> None:
    """Seen to fail where the default route counts."""
    assert choose_gateway(networks("0.0.0.0/0", "192.0.2.0/24"), []) == GATEWAY


@pytest.mark.parametrize("route", ["172.30.0.0/16", "172.30.7.0/24", "172.16.0.0/12", "172.30.0.1/32"])
def test_a_candidate_that_overlaps_a_route_is_passed_over(route: str) -> None:
    """Seen to fail where an equal route alone counts."""
    assert not choose_gateway(networks(route), []).network.overlaps(IPv4Network(route))


def test_a_resolver_behind_the_default_route_counts(leases: Leases) -> None:
    """Seen to fail where resolvers are not looked at."""
    assert str(choose_gateway(networks("0.0.0.0/0"), [IPv4Address("172.30.0.2")])) == "172.31.0.1/16"


def test_candidates_do_not_overlap_each_other_or_docker() -> None:
    """Seen to fail with 172.17.0.1/16 among them."""
    pools = [candidate.network for candidate in CANDIDATES] + networks("172.17.0.0/16", "172.18.0.0/16")
    assert not any(a.overlaps(b) for n, a in enumerate(pools) for b in pools[n + 1 :])


def test_all_taken() -> None:
    """Seen to fail where the first is taken then."""
    with pytest.raises(Unavailable, match="--bip"):
        choose_gateway(networks("172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16"), [])


@pytest.mark.parametrize(
    ("route", "breaks", "overlaps"),
    [
        ("0.0.0.0/0", False, False),
        ("172.30.0.0/16", True, True),
        ("172.30.7.0/24", True, True),
        ("172.16.0.0/12", False, True),
        ("172.31.0.0/16", False, False),
    ],
)
def test_an_asked_for_address_gives_way_to_what_it_would_break(route: str, breaks: bool, overlaps: bool) -> None:
    """Seen to fail where a wider route is a conflict."""
    assert bool(conflicting(GATEWAY, networks(route))) is breaks
    assert bool(overlapping(GATEWAY, networks(route))) is overlaps


GATEWAY6 = IPv6Interface("fd00:5::1/64")


def test_a_network_with_ipv6_leases_an_address_of_each(db: Database) -> None:
    """Seen to fail where IPv6 is passed over."""
    both = Leases(db, "net", GATEWAY, GATEWAY6)
    kept = frozenset({IPv6Address("fd00:5::2")})
    assert both.claim(container(1), Wish(reserved=kept)).address6 == IPv6Address("fd00:5::3")
    assert both.claim(container(2)).address6 == IPv6Address("fd00:5::2")
    wish = Wish(address6=IPv6Address("fd00:5::77"), within6=IPv6Network("fd00:5::100/120"))
    assert both.claim(container(3), wish).address6 == IPv6Address("fd00:5::77")
    assert both.claim(container(4), Wish(within6=wish.within6)).address6 == IPv6Address("fd00:5::100")
    for taken in (wish.address6, GATEWAY6.ip):
        with pytest.raises(Forbidden, match="Address already in use"):
            both.claim(container(5), Wish(address6=taken))
    assert container(5) not in both.all() and both.all()[container(3)].address6 == wish.address6


def test_a_database_from_before_ipv6_is_read_and_goes_on(tmp_path: Path) -> None:
    """Seen to fail without the migration."""
    old = Database(tmp_path / "minidock.db")
    sql = (
        "INSERT INTO networks (id, name, driver, bridge, address, created) VALUES ('net', 'net', 'bridge', 'br', ?, 0)"
    )
    old.execute(sql, (str(GATEWAY),))
    lease = Leases(old, "net", GATEWAY).claim(container(1))
    old.execute("ALTER TABLE leases DROP COLUMN address6")
    old.execute("PRAGMA user_version=1")
    old.close()
    new = Database(tmp_path / "minidock.db")
    assert Leases(new, "net", GATEWAY).all() == {container(1): lease}
    assert Leases(new, "net", GATEWAY, GATEWAY6).claim(container(2)).address6 == IPv6Address("fd00:5::2")
    new.close()
