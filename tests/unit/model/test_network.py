"""Grants to the network: what they say, and what is no grant."""

from __future__ import annotations

import pytest

from lattice.errors import InvalidError
from lattice.model.network import (
    NamePattern,
    Network,
    normal_name,
    parse_endpoint,
    parse_listen,
    parse_pattern,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db.example.com:5432", "db.example.com:5432"),
        ("DB.Example.com.:5432", "db.example.com:5432"),
        ("*.example.com:443", "*.example.com:443"),
        ("*:443", "*:443"),
        ("bücher.example:80", "xn--bcher-kva.example:80"),
        ("10.0.0.0/8:443", "10.0.0.0/8:443"),
        ("192.0.2.1:8000-8999", "192.0.2.1:8000-8999"),
        ("192.0.2.1/32:80-80", "192.0.2.1:80"),
        ("[2001:db8::/32]:*", "[2001:db8::/32]:*"),
        ("[::1]:0-65535", "[::1]:*"),
    ],
)
def test_endpoint_is_read_and_written(text: str, shown: str) -> None:
    endpoint = parse_endpoint(text)
    assert str(endpoint) == shown
    assert parse_endpoint(shown) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "", ":80", "db", "db:", "db:http", "db:80-", "db:90-80", "db:65536", "db:-1", "a b:80",
        "-a:80", "a..b:80", "*.*.org:80", "a.*:80", "10.0.0.1/8:80", "10.0.0.0/33:80", "127.1:80",
        "0x7f000001:80", "2130706433:80", "::1:80", "[::1]", "[10.0.0.1]:80", "fd00::/8:80",
        "[fd00::/8:80", "a" * 64 + ":80", "[fe80::1%eth0]:80", "[fe80::%1/64]:80",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=r"is no|has no|brackets"):
        parse_endpoint(text)


def test_names_are_no_place_to_listen() -> None:
    assert str(parse_listen("0.0.0.0:8080")) == "0.0.0.0:8080"
    with pytest.raises(InvalidError, match="no address to listen on"):
        parse_listen("localhost:8080")


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("a.org", "a.org", True), ("a.org", "b.a.org", False), ("a.org", "xa.org", False),
        ("*.a.org", "b.a.org", True), ("*.a.org", "c.b.a.org", True), ("*.a.org", "a.org", False),
        ("*.a.org", "xa.org", False), ("*.a.org", ".a.org", False), ("*", "anything", True),
    ],
)  # fmt: skip
def test_pattern_matches_names_as_a_whole(pattern: str, name: str, is_match: bool) -> None:
    assert parse_pattern(pattern).matches(name) is is_match


@pytest.mark.parametrize("text", ["", ".", "a_b..c", "1.2.3.4", "127.1", "a:80", "ä" * 70, "*"])
def test_what_is_no_name_has_no_normal_form(text: str) -> None:
    assert normal_name(text) is None


def test_grants_of_several_parts_add_up() -> None:
    a, b = parse_endpoint("a:1"), parse_endpoint("b:2")
    one = Network(connect=(a,), lookup=(NamePattern("x"),))
    both = one | Network(connect=(a, b), listen=(parse_endpoint("0.0.0.0:80"),))
    assert both == Network(
        connect=(a, b), listen=(parse_endpoint("0.0.0.0:80"),), lookup=(NamePattern("x"),)
    )
