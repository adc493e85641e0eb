"""The HTTP server over real sockets: what RFC 9110 and 9112 ask of an origin server."""

from __future__ import annotations

import socket

import anyio
import pytest

from hosts.http.base import Exchange
from hosts.http.server import HttpServer
from hosts.sharing import PortReservation, listening_socket
from tests.integration.http_serving import (
    GET,
    HELLO,
    anyio_backend,
    echo,
    hello,
    serving,
    undated,
    until_seen,
)

__all__ = ["anyio_backend"]  # a fixture


async def test_a_connection_is_kept_and_answers_come_in_order():
    async with serving(echo) as running:
        many = b"".join(
            b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n%03d" % (n, n)
            for n in range(300)
        )
        answer = undated(await running.talk(many))
    expected = b"".join(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\nPOST /%d %03d" % (len(str(n)) + 10, n, n)
        for n in range(300)
    )
    assert answer == expected


async def test_an_answer_has_a_date():
    async with serving(hello) as running:
        answer = await running.talk(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert answer.count(b" GMT\r\n") == 1


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"connection: close\r\n"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n", b"connection: close\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", b"connection: close\r\n"),
        (
            b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + GET[:-2]
            + b"connection: close\r\n\r\n",
            b"connection: keep-alive\r\n",
        ),
    ],
)  # fmt: skip
async def test_the_client_says_whether_the_connection_is_kept(request_, connection):
    async with serving(hello) as running:
        answer = undated(await running.talk(request_, is_ended=False))
    assert answer.startswith(HELLO % connection)
    assert answer.endswith(b"connection: close\r\n\r\nhello\n")


async def test_head_gets_the_head_alone():
    async with serving(hello) as running:
        answer = undated(await running.talk(GET.replace(b"GET", b"HEAD") + GET))
    assert answer == (HELLO % b"")[:-6] + HELLO % b""


async def test_targets_of_every_form_are_understood():
    seen = []

    async def note(exchange: Exchange) -> None:
        head = exchange.head
        seen.append((head.method, head.authority, head.target, list(head.headers)))
        exchange.answer(204, (), b"")

    async with serving(note) as running:
        await running.talk(
            b"OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n"
            b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
            b"OPTIONS http://b:8 HTTP/1.1\r\nhost: a\r\n\r\n"
            b"GET http://b?y HTTP/1.1\r\nhost: a\r\n\r\n"
        )
    assert seen == [
        ("OPTIONS", "a:80", "*", [(b"host", b"a:80")]),
        ("GET", "b", "/x?y", [(b"host", b"b"), (b"x", b"1")]),
        ("OPTIONS", "b:8", "*", [(b"host", b"b:8")]),
        ("GET", "b", "/?y", [(b"host", b"b")]),
    ]


@pytest.mark.parametrize(
    "offer",
    [
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    ],
)
async def test_an_offer_to_upgrade_is_ignored(offer):
    async with serving(hello) as running:
        answer = undated(await running.talk(GET[:-2] + offer + b"\r\n" + GET))
    assert answer == (HELLO % b"") * 2


async def test_chunks_and_trailers_go_both_ways():
    async def back(exchange: Exchange) -> None:
        await exchange.begin(200, ((b"trailer", b"x"),))
        while part := await exchange.read(4):
            await exchange.write(part)
        await exchange.finish(exchange.trailers)

    async with serving(back) as running:
        answer = undated(
            await running.talk(
                b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                b"5;a=b\r\nhello\r\n3\r\n wo\r\n0\r\nX: y\r\nHost: evil\r\n\r\n" + GET
            )
        )
    head = b"HTTP/1.1 200 OK\r\ntrailer: x\r\ntransfer-encoding: chunked\r\n\r\n"
    first = b"4\r\nhell\r\n4\r\no wo\r\n0\r\nx: y\r\n\r\n"
    assert answer == head + first + head + b"0\r\n\r\n"


async def test_chunks_of_one_byte_are_read_together_up_to_what_is_no_chunk():
    parts: list[bytes] = []

    async def back(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        while part := await exchange.read(65536):
            parts.append(part)
        await exchange.finish()

    async with serving(back) as running:
        head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        await running.talk(head + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        assert b"".join(parts) == b"a" * 5000
        assert len(parts) < 100
        parts.clear()
        await running.talk(head + b"1\r\na\r\n" * 100 + b"none\r\n")
        assert b"".join(parts) == b"a" * 100


async def test_what_is_streamed_to_http_1_0_ends_with_the_connection():
    async def stream(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        await exchange.write(b"one")
        await exchange.write(b"two")
        await exchange.finish()

    async with serving(stream) as running:
        answer = undated(await running.talk(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"))
    assert answer == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


EXPECTING = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"


async def test_continue_is_sent_when_the_handler_reads():
    may_read = anyio.Event()

    async def late(exchange: Exchange) -> None:
        await may_read.wait()
        await echo(exchange)

    async with serving(late) as running, await running.connect() as stream:
        await stream.send(EXPECTING)
        await running.until("in_flight == 1")
        may_read.set()
        assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send(b"ok")
        assert (await until_seen(stream, b"ok")).endswith(b"POST / ok")


async def test_who_answers_without_reading_never_asks_for_the_body():
    async with serving(hello) as running:
        answer = undated(await running.talk(EXPECTING))
    assert answer == HELLO % b"connection: close\r\n"


async def test_a_body_that_is_not_waited_for_is_not_asked_for():
    async with serving(echo) as running:
        answer = undated(await running.talk(EXPECTING + b"ok"))
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nPOST / ok"


async def test_informational_answers_come_before_the_final_one():
    async def hint(exchange: Exchange) -> None:
        await exchange.inform(103, ((b"link", b"</a.css>"),))
        exchange.answer(200, (), b"")

    async with serving(hint) as running:
        new = undated(await running.talk(GET))
        old = undated(await running.talk(b"GET / HTTP/1.0\r\n\r\n"))
    assert new.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert old.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_nobody_read_is_dropped_and_the_connection_kept():
    async with serving(hello) as running:
        answer = undated(
            await running.talk(
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000,
                GET,
            )
        )
    assert answer == (HELLO % b"") * 2


async def test_a_body_that_is_here_is_had_without_waiting():
    seen = []

    async def look(exchange: Exchange) -> None:
        seen.append(exchange.body)
        seen.append(await exchange.read(3))
        await hello(exchange)

    async with serving(look) as running:
        await running.talk(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n" + GET
        )
    assert seen == [b"hello", b"hel", b"ab", b"ab", b"", b""]


async def test_a_connection_that_was_accepted_elsewhere_is_served_with_what_was_read_of_it():
    async with serving(hello) as running:
        with socket.create_server(("127.0.0.1", 0)) as elsewhere:
            stream = await anyio.connect_tcp(*elsewhere.getsockname())
            accepted, _ = elsewhere.accept()
        async with stream:
            await stream.send(GET[10:])
            await running.server.adopt(accepted, GET[:10])
            assert undated(await until_seen(stream, b"hello\n")) == HELLO % b""


async def test_workers_share_a_port_and_one_may_leave():
    served = []

    def named(name: str) -> HttpServer:
        async def handler(exchange: Exchange) -> None:
            served.append(name)
            await hello(exchange)

        return HttpServer(handler)

    reserved = PortReservation("127.0.0.1", 0)
    first, second = named("first"), named("second")
    async with anyio.create_task_group() as tasks:
        for server in (first, second):
            await tasks.start(server.serve, [listening_socket(reserved.address, backlog=16)])
        for _ in range(40):
            async with await anyio.connect_tcp(*reserved.address) as stream:
                await stream.send(GET)
                await until_seen(stream, b"hello\n")
        assert set(served) == {"first", "second"}
        await first.drain(1)
        served.clear()
        for _ in range(10):
            async with await anyio.connect_tcp(*reserved.address) as stream:
                await stream.send(GET)
                await until_seen(stream, b"hello\n")
        assert served == ["second"] * 10
        tasks.cancel_scope.cancel()
    reserved.close()


async def test_requests_with_the_same_head_are_told_apart_by_their_bodies():
    post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"
    async with serving(echo) as running:
        answer = undated(await running.talk(post + b"1" + post + b"2" + GET + post + b"3"))
    assert [part[:8] for part in answer.split(b"\r\n\r\n")[1:]] == [
        b"POST / 1", b"POST / 2", b"GET /hel", b"POST / 3",
    ]  # fmt: skip
