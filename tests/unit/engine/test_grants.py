"""What a grant to the network allows, and what it does not."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.network.grants import Grants, is_unicast, special_range
from lattice.model.network import Network, parse_endpoint, parse_listen, parse_pattern

PUBLIC = "8.8.8.8"


def grants(*connect: str, listen: tuple[str, ...] = (), lookup: tuple[str, ...] = ()) -> Grants:
    return Grants(
        Network(
            connect=tuple(map(parse_endpoint, connect)),
            listen=tuple(map(parse_listen, listen)),
            lookup=tuple(map(parse_pattern, lookup)),
        )
    )


def may_connect(granted: Grants, address: str, port: int, *names: str) -> bool:
    return granted.may_connect(ipaddress.ip_address(address), port, names)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_nothing_is_allowed_without_a_grant(address: object, port: int) -> None:
    granted = grants()
    assert not may_connect(granted, str(address), port, "example.com")
    assert not granted.may_look_up("example.com")
    assert granted.listening_address(ipaddress.ip_address(str(address)), port) is None


def test_range_allows_its_addresses_on_its_ports() -> None:
    granted = grants("8.8.0.0/16:400-500", "[2600::/16]:443")
    assert may_connect(granted, PUBLIC, 443)
    assert may_connect(granted, "2600::1", 443)
    assert not may_connect(granted, PUBLIC, 501)
    assert not may_connect(granted, "8.9.0.0", 443)
    assert not may_connect(granted, "2601::1", 443)


def test_name_allows_the_addresses_that_it_resolved_to() -> None:
    granted = grants("db.example.com:5432", "*.example.org:443")
    assert may_connect(granted, PUBLIC, 5432, "db.example.com")
    assert may_connect(granted, PUBLIC, 443, "other", "www.example.org")
    assert not may_connect(granted, PUBLIC, 5432)
    assert not may_connect(granted, PUBLIC, 443, "db.example.com")
    assert not may_connect(granted, PUBLIC, 5432, "www.example.org")


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::127.0.0.1",
        "::ffff:0:10.0.0.1", "168.63.129.16", "3fff::1", "5f00::1",
    ],
)  # fmt: skip
def test_addresses_near_the_machine_need_a_range_of_their_own(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert special_range(found) is not None
    for everything in ("0.0.0.0/0:*", "[::/0]:*", "*:*"):
        granted = grants(everything, "rebind.example.com:*")
        assert not may_connect(granted, address, 80, "rebind.example.com")
        assert not granted.may_use(found)
    own = f"[{address}]:80" if found.version == 6 else f"{address}:80"
    granted = grants(own)
    assert may_connect(granted, address, 80)
    assert granted.may_use(found)


def test_range_within_a_private_one_names_it() -> None:
    granted = grants("10.1.0.0/16:443")
    assert may_connect(granted, "10.1.2.3", 443)
    assert not may_connect(granted, "10.2.0.1", 443)
    # Wider than what makes the address special, so it does not name it.
    assert not may_connect(grants("8.0.0.0/5:443"), "10.1.2.3", 443)


def test_names_to_connect_to_may_be_looked_up_and_others_by_their_own_grant() -> None:
    granted = grants("*.example.com:443", lookup=("plain.example.org",))
    assert granted.may_look_up("www.example.com")
    assert granted.may_look_up("plain.example.org")
    assert not granted.may_look_up("example.com")
    assert not may_connect(granted, PUBLIC, 443, "plain.example.org")


@pytest.mark.parametrize(
    ("grant", "asked", "port", "given_address"),
    [
        ("0.0.0.0:8080", "0.0.0.0", 8080, "0.0.0.0"),
        ("127.0.0.1:8080", "0.0.0.0", 8080, "127.0.0.1"),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1"),
        ("127.0.0.1:8080", "0.0.0.0", 8081, None),
        ("127.0.0.1:8080", "10.0.0.1", 8080, None),
        ("10.0.0.0/8:*", "10.0.0.1", 1, "10.0.0.1"),
        ("10.0.0.0/8:*", "0.0.0.0", 1, None),
        ("[::1]:80", "::", 80, "::1"),
        ("[::1]:80", "0.0.0.0", 80, None),
    ],
)
def test_listening_is_granted_by_address_and_port(
    grant: str, asked: str, port: int, given_address: str | None
) -> None:
    found = grants(listen=(grant,)).listening_address(ipaddress.ip_address(asked), port)
    assert (None if found is None else str(found)) == given_address


def test_only_one_host_answers_at_a_unicast_address() -> None:
    assert all(is_unicast(ipaddress.ip_address(each)) for each in (PUBLIC, "0.0.0.0", "::1"))
    for address in ("224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:1.2.3.4"):
        assert not is_unicast(ipaddress.ip_address(address))
