"""Requests of guests to the outside, against real servers on the loopback."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator

import anyio
import pytest
import trustme

from hosts.http.base import Headers, HttpError
from hosts.http.call import OutgoingCall
from hosts.http.egress import Egress, Outlet
from hosts.http.outgoing import Body, EgressError, EgressLimits, OutgoingHead, Timeouts
from lattice.model.egress import parse_http_grant
from tests.integration.http_peers import PATIENCE_S, Peer, answer, each_request, names, serving

__all__ = ["names"]  # a fixture

LOOPBACK = ("127.0.0.0/8:*",)
QUICK = Timeouts(connect_s=PATIENCE_S, first_byte_s=0.05, between_bytes_s=PATIENCE_S)


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that a host may run on: their transports differ."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Parts:
    """A body that comes in parts, and then what a test has it do."""

    def __init__(self, *parts: bytes, trailers: Headers = (), then: Exception | None = None):
        self.parts = list(parts)
        self.trailers = trailers
        self.then = then

    async def read(self, limit_bytes: int) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.then is not None:
            raise self.then
        return b""


class Faucet:
    """A body that goes on until it is closed."""

    trailers: Headers = ()

    def __init__(self, part: bytes = b"x" * 65536) -> None:
        self.part = part
        self.read_bytes = 0

    async def read(self, limit_bytes: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.read_bytes += len(self.part)
        return self.part


class Held:
    """A body that waits until a test lets it go on."""

    trailers: Headers = ()

    def __init__(self) -> None:
        self.go = anyio.Event()

    async def read(self, limit_bytes: int) -> bytes:
        await self.go.wait()
        return b""


@contextlib.asynccontextmanager
async def egress(
    *allowed: str, limits: EgressLimits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Outlet]:
    with anyio.fail_after(PATIENCE_S):
        async with Egress(limits, tls=tls) as whole:
            outlet = whole.outlet(
                [each for text in allowed for each in parse_http_grant(text)], lambda *_: None
            )
            yield outlet
            outlet.close()


def get(port: int, target: str = "/", host: str = "127.0.0.1", **more: object) -> OutgoingHead:
    head: dict[str, object] = {
        "method": "GET", "scheme": "http", "authority": f"{host}:{port}", "target": target,
    }  # fmt: skip
    return OutgoingHead(**(head | more))  # type: ignore[arg-type]  # a test names what it needs


async def whole(call: OutgoingCall) -> bytes:
    found = bytearray()
    while part := await call.read(65536):
        found += part
    return bytes(found)


async def code_of(call: OutgoingCall) -> str:
    with pytest.raises(EgressError) as caught:
        await whole(call)
    return caught.value.code


def refusal(outlet: Outlet, head: OutgoingHead, body: Body = b"") -> str:
    with pytest.raises(EgressError) as caught:
        outlet.begin(head, body)
    return caught.value.code


# --- what is sent, and what comes back ----------------------------------------------------------


async def test_a_request_arrives_as_it_was_made_and_its_response_comes_back():
    heads: list[str] = []

    async def talk(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.say(answer(b"hello", "X-Twice: a", "x-twice: b", status="418 Teapot"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port, "/a%2Fb//../c?q=%20&r", headers=((b"x-own", b"\xe9"),)))
        found = await call.answered()
        assert (found.status, await whole(call)) == (418, b"hello")
    assert [value for name, value in found.headers if name == b"x-twice"] == [b"a", b"b"]
    assert heads == [f"get /a%2fb//../c?q=%20&r http/1.1\r\nhost: 127.0.0.1:{port}\r\nx-own: \xe9"]


async def test_a_body_that_is_all_there_has_a_length_and_a_streamed_one_comes_in_chunks():
    seen: list[bytes] = []

    async def talk(peer: Peer) -> None:
        head = await peer.head()
        mark = b"0\r\nx-sum: 7\r\n\r\n" if "chunked" in head else b"whole"
        seen.append(await peer.until(mark))
        await peer.say(answer())
        await talk(peer)

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        post = get(port, method="POST")
        await whole(outlet.begin(post, b"the whole"))
        parts = Parts(b"one", b"two", trailers=((b"x-sum", b"7"),))
        await whole(outlet.begin(post, parts))
    assert seen == [b"the ", b"3\r\none\r\n3\r\ntwo\r\n"]


async def test_trailers_of_a_response_are_there_after_its_end():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.say(b"2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n")

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        assert await whole(call) == b"hi"
        assert call.trailers == ((b"x-sum", b"9"),)


async def test_a_response_may_come_while_the_request_still_streams():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.say(b"5\r\nearly\r\n")
        await peer.until(b"0\r\n\r\n")
        await peer.say(b"4\r\nlate\r\n0\r\n\r\n")

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        body = Held()
        call = outlet.begin(get(port, method="POST"), body)
        assert (await call.answered()).status == 200
        assert await call.read(100) == b"early"
        body.go.set()
        assert await whole(call) == b"late"


async def test_a_server_that_has_answered_stops_a_request_that_streams_on():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"too much", status="413 Content Too Large"))
        await peer.left()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port, method="POST"), Faucet())
        assert (await call.answered()).status == 413
        assert await whole(call) == b"too much"


async def test_informational_responses_are_passed_over_and_endless_ones_refused():
    async def talk(peer: Peer) -> None:
        head = await peer.head()
        count = 1000 if "/many" in head else 2
        await peer.say(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * count + answer(b"final"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port))) == b"final"
        assert await code_of(outlet.begin(get(port, "/many"))) == "HTTP-protocol-error"


async def test_a_head_request_has_no_body_whatever_length_is_announced():
    async def talk(peer: Peer) -> None:
        await each_request(peer, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port, method="HEAD"))
        assert await whole(call) == b""


async def test_a_response_that_comes_byte_by_byte_is_the_same():
    async def talk(peer: Peer) -> None:
        await peer.head()
        said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n"
        for byte in said + b"3\r\none\r\n3;ext=1\r\ntwo\r\n0\r\na: b\r\n\r\n":
            await peer.say(bytes((byte,)))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        assert (await call.answered()).headers == ((b"x", b"y"),)
        assert (await whole(call), call.trailers) == (b"onetwo", ((b"a", b"b"),))


async def test_a_body_that_ends_with_the_connection_is_whole():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port))) == b"until the end"


async def test_redirects_are_the_guests_to_follow():
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"", "location: /elsewhere", status="302 Found"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert (await outlet.begin(get(port)).answered()).status == 302


async def test_the_trace_is_sent_on_unless_the_guest_says_another():
    heads: list[str] = []

    async def talk(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.say(answer())
        await talk(peer)

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    own = (b"traceparent", b"00-11111111111111111111111111111111-2222222222222222-00")
    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        await whole(outlet.begin(get(port), traceparent=trace))
        await whole(outlet.begin(get(port, headers=(own,)), traceparent=trace))
    assert re.findall(r"traceparent: (\S+)", heads[0])[0][:36] == trace[:36]
    assert re.findall(r"traceparent: (\S+)", heads[1]) == [own[1].decode()]


# --- connections ----------------------------------------------------------------------------------


async def test_a_thousand_requests_share_a_few_connections():
    connections = [0]

    async def talk(peer: Peer) -> None:
        connections[0] += 1
        await each_request(peer, answer(b"x" * 100))

    limits = EgressLimits(connections=8, idle_connections=8, requests_per_instance=1000)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        calls = [outlet.begin(get(port, f"/{number}")) for number in range(1000)]
        assert {len(await whole(call)) for call in calls} == {100}
    assert connections[0] <= 8


async def test_more_names_than_there_are_places_for_lookups_are_looked_up_in_turn(names):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"x", "connection: close"))

    limits = EgressLimits(connections=100, requests_per_instance=100)
    async with serving(talk) as port, egress("*:*", *LOOPBACK, limits=limits) as outlet:
        for number in range(100):
            names[f"n{number}.test"] = ["127.0.0.1"]
        calls = [outlet.begin(get(port, host=f"n{number}.test")) for number in range(100)]
        assert {await whole(call) for call in calls} == {b"x"}


async def test_what_is_denied_again_and_again_is_logged_once():
    lines: list[str] = []
    async with Egress() as whole_one:
        outlet = whole_one.outlet((), lambda _, line: lines.append(line))
        for _ in range(3):
            assert refusal(outlet, get(80, host="a.org")) == "HTTP-request-denied"
    assert len(lines) == 1


async def test_a_kept_connection_that_was_closed_is_replaced():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"once"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        for _ in range(5):
            assert await whole(outlet.begin(get(port))) == b"once"


async def test_a_kept_connection_that_ends_under_a_request_is_tried_again_only_where_that_is_safe():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"first"))
        await peer.head()  # and then no answer

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        await whole(outlet.begin(get(port)))
        assert await whole(outlet.begin(get(port))) == b"first"
        assert await code_of(outlet.begin(get(port, method="POST"))) == "connection-terminated"


async def test_a_connection_on_which_something_unasked_for_came_is_not_used_again():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"mine") + answer(b"smuggled"))
        await peer.left()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port))) == b"mine"
        assert await whole(outlet.begin(get(port))) == b"mine"


async def test_requests_wait_for_a_place_and_give_up_in_time():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()

    limits = EgressLimits(connections=1)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        first = outlet.begin(get(port))
        await anyio.wait_all_tasks_blocked()
        second = outlet.begin(get(port, timeouts=Timeouts(connect_s=0.01)))
        assert await code_of(second) == "connection-limit-reached"
        first.cancel()


async def test_an_instance_has_a_limit_of_requests_under_way():
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"x"))

    limits = EgressLimits(requests_per_instance=2)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        calls = [outlet.begin(get(port)), outlet.begin(get(port))]
        assert refusal(outlet, get(port)) == "connection-limit-reached"
        for call in calls:
            await whole(call)
        await whole(outlet.begin(get(port)))


async def test_a_request_that_is_given_up_closes_its_connection():
    left = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()
        left.set()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        await anyio.wait_all_tasks_blocked()
        call.cancel()
        assert await code_of(call) == "connection-terminated"
        await left.wait()


async def test_the_end_of_a_workload_ends_its_requests_and_connections():
    left = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()
        left.set()

    async with serving(talk) as port:
        async with Egress() as whole_one:
            outlet = whole_one.outlet(parse_http_grant(LOOPBACK[0]), lambda *_: None)
            call = outlet.begin(get(port))
            await anyio.wait_all_tasks_blocked()
        assert await code_of(call) == "connection-terminated"
        with anyio.fail_after(PATIENCE_S):
            await left.wait()


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_a_request_that_is_given_up_at_any_point_leaves_nothing_behind(turns):
    open_connections = [0]

    async def talk(peer: Peer) -> None:
        open_connections[0] += 1
        try:
            while True:
                await peer.head()
                await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                await peer.say(b"4\r\npart\r\n")
                await peer.until(b"0\r\n\r\n")
                await peer.say(b"0\r\n\r\n")
        finally:
            open_connections[0] -= 1

    limits = EgressLimits(connections=1)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        call = outlet.begin(get(port, method="POST"), Parts(b"a", b"b"))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        call.cancel()
        # The only place is free again: another request is served.
        assert await whole(outlet.begin(get(port, method="POST"), Parts(b"c"))) == b"part"
        outlet.close()
    assert open_connections == [0]


async def test_a_body_that_is_all_there_and_long_arrives_whole():
    body = bytes(range(256)) * 4096 * 4

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(await peer.exactly(len(body))))
        await talk(peer)

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        for _ in range(2):
            call = outlet.begin(get(port, method="PUT"), body)
            assert await whole(call) == body


async def test_the_whole_body_is_at_hand_when_all_of_it_came_with_the_head():
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"short"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        await call.answered()
        assert call.body == b"short"
        assert [await call.read(2), await call.read(2), await call.read(2)] == [b"sh", b"or", b"t"]
        assert (call.body, await call.read(2)) == (None, b"")


async def test_the_next_address_of_a_name_is_tried_when_nobody_is_at_the_first(names):
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"second"))

    names["two.test"] = ["127.0.0.2", "127.0.0.1"]  # the server listens on the other one only
    async with serving(talk) as port, egress("two.test:*", *LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port, host="two.test"))) == b"second"


# --- grants ---------------------------------------------------------------------------------------


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
        may = [*parse_http_grant("db.test:*"), *parse_http_grant("127.0.0.1:*")]
        assert await whole(whole_one.outlet(may, lambda *_: None).begin(get(port, host="db.test")))
        assert whole_one.connections_kept == 1
        other = whole_one.outlet(parse_http_grant("db.test:*"), lambda *_: None)
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


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_names_the_host_and_keeps_the_connection(authority, names):
    asked: list[str | None] = []
    connections = [0]

    async def talk(peer: Peer) -> None:
        connections[0] += 1
        await each_request(peer, answer(b"secret" * 10000))

    context = server_tls(authority, "api.test")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    names["api.test"] = ["127.0.0.1"]
    async with (
        serving(talk, context) as port,
        egress("https://api.test:*", "127.0.0.1:*", tls=client_tls(authority)) as outlet,
    ):
        for _ in range(3):
            call = outlet.begin(get(port, host="api.test", scheme="https"))
            assert await whole(call) == b"secret" * 10000
    assert (asked, connections) == (["api.test"], [1])


async def test_a_tls_server_may_end_the_connection_with_the_body(authority, caplog):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"secret" * 10000)

    async with (
        serving(talk, server_tls(authority, "127.0.0.1")) as port,
        egress(*LOOPBACK, tls=client_tls(authority)) as outlet,
    ):
        for _ in range(2):
            assert await whole(outlet.begin(get(port, scheme="https"))) == b"secret" * 10000
    assert caplog.records == []


async def test_a_certificate_of_another_name_or_authority_is_refused(authority, names):
    async def talk(peer: Peer) -> None:
        await peer.head()

    names["api.test"] = ["127.0.0.1"]
    allowed = ("https://api.test:*", "127.0.0.1:*")
    for issuer, name in ((authority, "other.test"), (trustme.CA(), "api.test")):
        async with (
            serving(talk, server_tls(issuer, name)) as port,
            egress(*allowed, tls=client_tls(authority)) as outlet,
        ):
            call = outlet.begin(get(port, host="api.test", scheme="https"))
            assert await code_of(call) == "TLS-certificate-error"


async def test_who_does_not_agree_on_tls_in_time_is_given_up(authority):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        port = server.getsockname()[1]
        async with egress(*LOOPBACK, tls=client_tls(authority)) as outlet:
            quick = Timeouts(connect_s=0.05)
            call = outlet.begin(get(port, scheme="https", timeouts=quick))
            assert await code_of(call) == "connection-timeout"


async def test_a_name_that_is_not_looked_up_in_time_is_given_up(monkeypatch):
    go = threading.Event()

    def lookup(*_: object, **__: object) -> list[object]:
        go.wait(PATIENCE_S)
        return []

    async with egress("slow.test:*") as outlet:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        quick = Timeouts(connect_s=0.05)
        call = outlet.begin(get(80, host="slow.test", timeouts=quick))
        assert await code_of(call) == "DNS-timeout"
        go.set()


async def test_a_server_without_tls_is_a_tls_error(authority):
    async def talk(peer: Peer) -> None:
        await peer.say(answer(b"plain"))
        await peer.left()

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, tls=client_tls(authority)) as outlet,
    ):
        call = outlet.begin(get(port, scheme="https"))
        assert await code_of(call) == "TLS-protocol-error"


# --- faults ---------------------------------------------------------------------------------------


async def test_nobody_there_is_refused():
    async with serving(lambda _: anyio.lowlevel.checkpoint()) as port:
        pass
    async with egress(*LOOPBACK) as outlet:
        assert await code_of(outlet.begin(get(port))) == "connection-refused"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "connection-terminated"),
        (b"HTTP/1.1 200 OK\r\nconte", "HTTP-response-incomplete"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "HTTP-response-incomplete"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
            "HTTP-response-incomplete",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "HTTP-protocol-error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "HTTP-response-transfer-coding"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP-protocol-error",
        ),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", "HTTP-protocol-error"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP-protocol-error"),
        (
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
            "HTTP-response-header-section-size",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000,
            "HTTP-response-body-size",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_response_is_an_error_of_its_own(said, code):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(said)

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, limits=EgressLimits(response_bytes=1000)) as outlet,
    ):
        assert await code_of(outlet.begin(get(port))) == code


async def test_a_reset_in_the_body_leaves_what_came_before_it():
    read = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await read.wait()
        peer.reset()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        assert await call.read(100) == b"half"
        read.set()
        assert await code_of(call) in ("connection-terminated", "HTTP-response-incomplete")


async def test_servers_that_do_not_answer_or_do_not_go_on_are_given_up():
    async def talk(peer: Peer) -> None:
        if "/half" in await peer.head():
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await peer.left()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await code_of(outlet.begin(get(port, timeouts=QUICK))) == "connection-read-timeout"
        slow = Timeouts(between_bytes_s=0.05)
        call = outlet.begin(get(port, "/half", timeouts=slow))
        assert await call.read(100) == b"half"
        assert await code_of(call) == "connection-read-timeout"


async def test_a_server_that_takes_nothing_is_given_up_and_the_body_is_not_read_ahead():
    body = Faucet()
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and reads nothing
        port = server.getsockname()[1]
        async with egress(*LOOPBACK) as outlet:
            slow = Timeouts(between_bytes_s=0.05)
            call = outlet.begin(get(port, method="POST", timeouts=slow), body)
            assert await code_of(call) == "connection-write-timeout"
    assert body.read_bytes < 64 * 2**20


async def test_a_response_that_nobody_reads_is_not_taken_in():
    sent = [0]

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.say(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent[0] += 65536

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        await call.answered()
        await anyio.wait_all_tasks_blocked()
        assert sent[0] < 64 * 2**20
        before = sent[0]
        while sent[0] == before:
            assert await call.read(1 << 20)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ((), lambda: Parts(b"x" * 600, b"x" * 600), "HTTP-request-body-size"),
        (((b"content-length", b"2"),), lambda: Parts(b"too long"), "HTTP-request-body-size"),
        (((b"content-length", b"20"),), lambda: Parts(b"too short"), "HTTP-request-body-size"),
        ((), lambda: Parts(b"x", then=HttpError("dropped")), "HTTP-protocol-error"),
    ],
)
async def test_bodies_that_are_not_what_was_announced_break_the_request_off(headers, body, code):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, limits=EgressLimits(request_bytes=1000)) as outlet,
    ):
        head = get(port, method="POST", headers=headers)
        assert await code_of(outlet.begin(head, body())) == code


async def test_whatever_a_server_says_becomes_a_response_or_an_error_of_http(rng):
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nz: a\r\n\r\n"
    )
    good = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + chunked,
        b"HTTP/1.0 404 Not Found\r\nconnection: close\r\n\r\nhello",
    )
    said = [b""]

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(said[0])

    codes: set[str] = set()
    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        for _ in range(150):
            mutant = bytearray(rng.choice(good))
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(mutant))
                mutant[at : at + rng.randrange(3)] = rng.choice(
                    (b"\r\n", b"\0", b"\xff", b"9", b":", b" ", b"", rng.choice(good))
                )
            said[0] = bytes(mutant)
            try:
                await whole(outlet.begin(get(port)))
            except EgressError as error:
                codes.add(error.code)
    assert codes
    assert "internal-error" not in codes
