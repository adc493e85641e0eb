"""What a workload may not ask for is refused, also through names that change their minds."""

from __future__ import annotations

import pytest

from hosts.engine.webvalues import OutgoingHead
from hosts.http.egress import Egress
from hosts.http.outgoing import EgressLimits
from lattice.model.egress import parse_http_grant
from tests.integration.http_asking import (
    LOOPBACK,
    anyio_backend,
    code_of,
    egress,
    get,
    refusal,
    whole,
)
from tests.integration.http_peers import Peer, answer, each_request, names, serving

__all__ = ["anyio_backend", "names"]  # fixtures


async def test_nothing_is_granted_by_default_and_the_log_says_what_would_be_needed():
    lines: list[str] = []
    async with Egress() as whole_one:
        outlet = whole_one.outlet((), lambda _, line: lines.append(line))
        assert refusal(outlet, get(80, host="api.example.com")) == "HTTP-request-denied"
    (line,) = lines
    assert line == (
        "denied: request to http://api.example.com:80; "
        "the grant http://api.example.com:80 would allow it"
    )


async def test_what_is_denied_again_and_again_is_logged_once():
    lines: list[str] = []
    async with Egress() as whole_one:
        outlet = whole_one.outlet((), lambda _, line: lines.append(line))
        for _ in range(3):
            assert refusal(outlet, get(80, host="a.org")) == "HTTP-request-denied"
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("allowed", "scheme", "authority", "code"),
    [
        ("https://api.test", "http", "api.test", "HTTP-request-denied"),
        ("https://api.test", "https", "api.test:8443", "HTTP-request-denied"),
        ("*.api.test", "http", "api.test", "HTTP-request-denied"),
        ("*", "http", "127.0.0.1", "destination-IP-prohibited"),
        ("*:*", "http", "localhost:1", "destination-IP-prohibited"),
        ("0.0.0.0/0:*", "http", "10.0.0.1", "destination-IP-prohibited"),
        ("0.0.0.0/0:*", "http", "169.254.169.254", "destination-IP-prohibited"),
        ("*:*", "http", "[::ffff:127.0.0.1]", "destination-IP-prohibited"),
        ("*:*", "http", "[::ffff:7f00:1]", "destination-IP-prohibited"),
        ("*:*", "http", "2130706433", "HTTP-request-URI-invalid"),
        ("*:*", "http", "127.1", "HTTP-request-URI-invalid"),
        ("*:*", "http", "user@api.test", "HTTP-request-URI-invalid"),
        ("*:*", "http", "api.test:99999", "HTTP-request-URI-invalid"),
        ("*:*", "http", "api.test/x", "HTTP-request-URI-invalid"),
        ("*:*", "http", "", "HTTP-request-URI-invalid"),
        ("*:*", "ftp", "api.test", "HTTP-request-URI-invalid"),
        ("*:*", "http", "shop.main.lattice.internal", "destination-not-found"),
    ],
)
async def test_what_is_not_granted_is_refused_at_once(allowed, scheme, authority, code):
    async with egress(allowed) as outlet:
        head = OutgoingHead(method="GET", scheme=scheme, authority=authority, target="/")
        assert refusal(outlet, head) == code


async def test_a_name_that_resolves_to_the_machine_needs_a_range(names):
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"inside"))

    names["evil.test"] = ["127.0.0.1"]
    async with serving(talk) as port:
        async with egress("evil.test:*") as outlet:
            call = outlet.begin(get(port, host="evil.test"))
            assert await code_of(call) == "destination-IP-prohibited"
        async with egress("evil.test:*", "127.0.0.1:*") as outlet:
            assert await whole(outlet.begin(get(port, host="EVIL.test."))) == b"inside"


async def test_a_name_that_changes_its_mind_is_held_to_the_grants_each_time(names):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"inside", "connection: close"))

    async with serving(talk) as port, egress("evil.test:*", "127.0.0.1:*") as outlet:
        names["evil.test"] = ["127.0.0.1"]
        assert await whole(outlet.begin(get(port, host="evil.test"))) == b"inside"
        names["evil.test"] = ["127.0.0.2"]
        call = outlet.begin(get(port, host="evil.test"))
        assert await code_of(call) == "destination-IP-prohibited"


async def test_a_kept_connection_is_not_for_who_may_not_reach_its_address(names):
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"inside"))

    names["db.test"] = ["127.0.0.1"]
    async with serving(talk) as port, Egress() as whole_one:
        may = [parse_http_grant("db.test:*"), parse_http_grant("127.0.0.1:*")]
        assert await whole(whole_one.outlet(may, lambda *_: None).begin(get(port, host="db.test")))
        assert whole_one.connections_kept == 1
        other = whole_one.outlet([parse_http_grant("db.test:*")], lambda *_: None)
        call = other.begin(get(port, host="db.test"))
        assert await code_of(call) == "destination-IP-prohibited"


async def test_a_name_that_nobody_knows_is_a_dns_error(names):
    async with egress("*:*") as outlet:
        assert await code_of(outlet.begin(get(80, host="nobody.test"))) == "DNS-error"


@pytest.mark.parametrize(
    ("more", "body", "code"),
    [
        ({"method": "CONNECT"}, b"", "HTTP-request-method-invalid"),
        ({"target": "no-slash"}, b"", "HTTP-request-URI-invalid"),
        ({"target": "/" + "x" * 70000}, b"", "HTTP-request-URI-too-long"),
        ({"headers": ((b"Host", b"other"),)}, b"", "HTTP-protocol-error"),
        ({"headers": ((b"transfer-encoding", b"chunked"),)}, b"", "HTTP-protocol-error"),
        ({"headers": ((b"x", b"y" * 70000),)}, b"", "HTTP-request-header-section-size"),
        ({}, b"x" * 1001, "HTTP-request-body-size"),
    ],
)
async def test_requests_that_may_not_be_sent_are_refused_at_once(more, body, code):
    async with egress(*LOOPBACK, limits=EgressLimits(request_bytes=1000)) as outlet:
        assert refusal(outlet, get(1, **more), body) == code


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"target": "/a b"}, "HTTP-request-URI-invalid"),
        ({"target": "/a\r\nx: y"}, "HTTP-request-URI-invalid"),
        ({"method": "GE T"}, "HTTP-protocol-error"),
        ({"headers": ((b"x", b"a\r\nb: c"),)}, "HTTP-protocol-error"),
        ({"headers": ((b"x y", b"a"),)}, "HTTP-protocol-error"),
        ({"headers": ((b"content-length", b"1, 2"),)}, "HTTP-protocol-error"),
    ],
)
async def test_nothing_can_be_smuggled_into_a_head(more, code):
    async with egress(*LOOPBACK) as outlet:
        assert await code_of(outlet.begin(get(1, **more))) == code
