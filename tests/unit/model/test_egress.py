"""Grants for requests over HTTP: how they are written, and which connections they mean."""

from __future__ import annotations

import pytest

from lattice.errors import InvalidError
from lattice.model.egress import network_of, parse_http_grant


@pytest.mark.parametrize(
    ("text", "http", "https"),
    [
        ("https://api.example.com", [], ["api.example.com:443"]),
        ("API.example.com", ["api.example.com:80"], ["api.example.com:443"]),
        ("*.a.org:8000-8999", ["*.a.org:8000-8999"], ["*.a.org:8000-8999"]),
        ("http://10.0.0.0/8", ["10.0.0.0/8:80"], []),
        ("http://[fc00::/7]", ["[fc00::/7]:80"], []),
        ("https://[::1]:*", [], ["[::1]:*"]),
        ("*", ["*:80"], ["*:443"]),
    ],
)
def test_a_grant_says_scheme_host_and_ports(text, http, https):
    found = parse_http_grant(text)
    assert [str(each) for each in network_of([found], "http").connect] == http
    assert [str(each) for each in network_of([found], "https").connect] == https
    assert str(found) == text.lower()
    assert parse_http_grant(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "https://", "ftp://a.org", "http://https://a.org", "a.org/path", "a.org:", "a.org:x",
     "a.org:99999", "::1", "http://::1:80", "[a.org]", "10.0.0.1/8", "user@a.org", "a b"],
)  # fmt: skip
def test_what_is_no_grant_is_refused(text):
    with pytest.raises(InvalidError):
        parse_http_grant(text)


def test_a_scheme_grants_nothing_for_the_other():
    grants = [parse_http_grant("https://a.org"), parse_http_grant("http://b.org:8080")]
    assert [str(each) for each in network_of(grants, "http").connect] == ["b.org:8080"]
    assert [str(each) for each in network_of(grants, "https").connect] == ["a.org:443"]
