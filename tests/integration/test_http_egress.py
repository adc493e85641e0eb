"""What an outgoing request says, and what comes back, against real servers on the loopback."""

from __future__ import annotations

import re

from tests.integration.http_asking import (
    LOOPBACK,
    Faucet,
    Held,
    Parts,
    anyio_backend,
    code_of,
    egress,
    get,
    whole,
)
from tests.integration.http_peers import Peer, answer, each_request, serving

__all__ = ["anyio_backend"]  # a fixture


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
