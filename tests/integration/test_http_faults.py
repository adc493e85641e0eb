"""The HTTP server and its bad clients: slow, malformed, too many, gone; and how it stops."""

from __future__ import annotations

import logging
import socket
import struct

import anyio
import pytest
from anyio.abc import SocketAttribute

from hosts.http.base import Exchange, HttpError
from hosts.http.limits import Limits
from lattice.errors import GuestTrapError
from tests.integration.http_serving import GET, echo, rest, serving, undated, until_seen

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"
)


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, (), b"hello\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (GET.replace(b"\r\n", b"\n"), 400),
        (b"GET / HTTP/1.1\r\nhost: a\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\0\x01", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000, 431),
        (b"GET /" + b"a" * 40_000, 414),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (CHUNKED.replace(b"2\r\nhe", b"2\nhe"), 400),
        (CHUNKED.replace(b"2\r\nhe", b"2\r\nhel"), 400),
        (CHUNKED.replace(b"x: y", b"x : y"), 400),
    ],
)
async def test_bad_requests_are_refused_once_and_the_connection_closed(raw, status):
    async with serving(echo) as running:
        answer = await running.talk(raw, is_ended=False)
        assert (await running.talk(GET)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"\r\ndate: ") == 1
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_refusal_reaches_a_client_that_is_still_sending():
    async with serving(hello) as running:
        answer = await running.talk(b"GET / HTTP/1.1\r\n\r\n" + GET * 20_000)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<reset>" not in answer


@pytest.mark.parametrize("reading", ["read", "body", "none"])
async def test_a_bad_body_is_answered_once_though_its_handler_did_not_mind(reading):
    async def careless(exchange: Exchange) -> None:
        try:
            if reading == "read":
                while await exchange.read(100):
                    pass
            elif reading == "body":
                assert exchange.body is None
        except HttpError:
            pass
        await hello(exchange)

    async with serving(careless) as running:
        answer = await running.talk(CHUNKED.replace(b"3\r\n", b"x\r\n") + GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"\r\ndate: ") == 1
    assert (b"\r\nconnection: close\r\n" in answer) == (reading != "none")


async def test_a_handler_that_fails_because_of_a_bad_body_is_not_blamed(caplog):
    async def confused(exchange: Exchange) -> None:
        try:
            await echo(exchange)
        except HttpError:
            raise GuestTrapError("no body") from None

    async with serving(confused) as running:
        answer = await running.talk(CHUNKED.replace(b"3\r\n", b"x\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_the_requests_before_a_bad_one_are_answered():
    async with serving(hello) as running:
        answer = undated(await running.talk(GET + GET + b"bad\r\n\r\n" + GET))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"HTTP/1.1 ") == 3


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["get", "length", "chunked"])
async def test_a_request_cut_off_anywhere_is_refused_and_never_answered(request_):
    seen = []

    async def note(exchange: Exchange) -> None:
        await echo(exchange)
        seen.append(exchange.head.target)

    async with serving(note) as running:
        for cut in range(len(request_)):
            answer = await running.talk(request_[:cut])
            assert answer.startswith(b"HTTP/1.1 400 ") or not cut
        await running.until("connections == 0")
        assert running.server.in_flight == 0
    assert not seen


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["get", "length", "chunked"])
async def test_a_client_that_is_gone_at_any_point_leaves_nothing_behind(request_, caplog):
    async with serving(echo) as running:
        for cut in range(len(request_) + 1):
            client = socket.create_connection(("127.0.0.1", running.port))
            client.sendall(request_[:cut])
            # Closing with a linger time of zero sends a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert (await running.talk(GET)).startswith(b"HTTP/1.1 200 OK\r\n")
        await running.until("connections == 0")
        await running.until("in_flight == 0")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("taken", [1, 1000, 65536, 500_000])
async def test_a_client_that_is_gone_in_the_middle_of_an_answer_leaves_nothing_behind(
    taken, caplog
):
    failures = []

    async def pour(exchange: Exchange) -> None:
        try:
            await exchange.begin(200, ())
            while True:
                await exchange.write(bytes(10_000))
        except HttpError as error:
            failures.append(error)
            raise

    async with serving(pour) as running:
        async with await running.connect() as stream:
            await stream.send(GET)
            got = 0
            while got < taken:
                got += len(await stream.receive(taken - got))
            linger = struct.pack("ii", 1, 0)
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await running.until("in_flight == 0")
        await running.until("connections == 0")
    assert len(failures) == 1
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_handler_is_told_that_its_client_left():
    told = []

    async def wait(exchange: Exchange) -> None:
        await exchange.closed()
        told.append("closed")
        try:
            await exchange.begin(200, ())
            while True:
                await exchange.write(bytes(65536))
        except HttpError:
            told.append("error")
            raise

    async with serving(wait) as running:
        async with await running.connect() as stream:
            await stream.send(GET)
            await running.until("in_flight == 1")
        await running.until("connections == 0")
        await running.until("in_flight == 0")
    assert told == ["closed", "error"]


SHORT_S = 0.05


@pytest.mark.parametrize(
    ("limits", "sent", "answer"),
    [
        (Limits(head_timeout_s=SHORT_S), b"GET / HT", b"HTTP/1.1 408 "),
        (Limits(idle_timeout_s=SHORT_S), b"", b""),
        (Limits(idle_timeout_s=SHORT_S), GET, b"HTTP/1.1 200 "),
        (Limits(body_timeout_s=SHORT_S), POST[:-1], b"HTTP/1.1 408 "),
        (Limits(body_timeout_s=SHORT_S), CHUNKED[:-3], b"HTTP/1.1 408 "),
    ],
    ids=["head", "idle", "kept", "length", "chunked"],
)
async def test_who_is_too_slow_is_left(limits, sent, answer):
    async with serving(echo, limits=limits) as running:
        found = await running.talk(sent, is_ended=False)
    assert found.startswith(answer)
    assert found.count(b"HTTP/1.1 ") == bool(answer)


async def test_a_body_that_drips_is_refused_though_it_never_stops():
    limits = Limits(body_rate_grace_s=SHORT_S, body_rate_bytes_s=10**6)
    async with serving(echo, limits=limits) as running, await running.connect() as stream:
        await stream.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
        answer = b""

        async def drip() -> None:
            while not answer:
                await stream.send(b"x")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip)
            answer = await until_seen(stream, b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_takes_no_answer_is_cut_off():
    limits = Limits(write_timeout_s=SHORT_S)
    broken = anyio.Event()

    async def pour(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        try:
            while True:
                await exchange.write(bytes(65536))
        except HttpError:
            broken.set()
            raise

    async with serving(pour, limits=limits) as running, await running.connect() as stream:
        await stream.send(GET)
        with anyio.fail_after(10):
            await broken.wait()
        await running.until("connections == 0")


async def test_over_the_cap_of_connections_a_client_is_told_when_to_come_back():
    limits = Limits(connections_max=1)
    async with serving(hello, limits=limits) as running, await running.connect() as first:
        await running.until("connections == 1")
        answer = await running.talk(GET * 20_000)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"<reset>" not in answer
        assert b"\r\nretry-after: 1\r\n" in answer
        await first.send(GET)
        assert b"hello\n" in await until_seen(first, b"hello\n")


async def test_at_twice_the_cap_connections_are_dropped_without_a_word():
    async with (
        serving(hello, limits=Limits(connections_max=1)) as running,
        await running.connect() as first,
        await running.connect() as second,
    ):
        await until_seen(second, b"Unavailable\n")
        assert await running.talk(is_ended=False) in (b"", b"<reset>")
        await first.send(GET)
        assert b"hello\n" in await until_seen(first, b"hello\n")


async def test_over_the_cap_of_requests_a_client_is_told_when_to_come_back():
    may_answer = anyio.Event()

    async def late(exchange: Exchange) -> None:
        await may_answer.wait()
        await hello(exchange)

    limits = Limits(in_flight_max=1)
    async with serving(late, limits=limits) as running, await running.connect() as first:
        await first.send(GET)
        await running.until("in_flight == 1")
        async with await running.connect() as second:
            await second.send(GET)
            answer = await until_seen(second, b"Unavailable\n")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in answer
            assert b"connection: close" not in answer
            may_answer.set()
            await until_seen(first, b"hello\n")
            await second.send(GET)
            await until_seen(second, b"hello\n")


async def test_draining_finishes_requests_and_closes_what_is_idle():
    may_answer = anyio.Event()

    async def late(exchange: Exchange) -> None:
        await may_answer.wait()
        await hello(exchange)

    async with (
        serving(late) as running,
        anyio.create_task_group() as tasks,
        await running.connect() as busy,
        await running.connect() as idle,
    ):
        await busy.send(GET)
        await running.until("connections == 2")
        await running.until("in_flight == 1")
        tasks.start_soon(running.server.drain, 10)
        assert await rest(idle) == b""
        with pytest.raises(OSError):
            await running.connect()
        may_answer.set()
        answer = undated(await rest(busy))
    assert answer == (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")


async def test_after_the_grace_what_is_left_is_cut_off():
    cancelled = anyio.Event()

    async def never(exchange: Exchange) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(never) as running, await running.connect() as stream:
        await stream.send(GET)
        await running.until("in_flight == 1")
        await running.server.drain(0.01)
        await cancelled.wait()
        assert b"200" not in await rest(stream)


async def test_each_request_is_a_line_of_the_log(caplog):
    caplog.set_level(logging.INFO, logger="hosts.http.accesslog")
    served = []
    async with serving(echo, on_served=served.append) as running:
        await running.talk(POST + POST.replace(b"/", b"/b", 1))
    records = [record for record in caplog.records if record.name == "hosts.http.accesslog"]
    assert [record.http["target"] for record in records] == ["/", "/b"]
    assert records[0].getMessage().startswith("POST a/ 200, 12 bytes in ")
    one = served[0]
    assert (one.method, one.status, one.received_bytes, one.sent_bytes) == ("POST", 200, 5, 12)
    assert one.is_complete
    assert one.error == ""


async def test_damaged_requests_never_stop_the_server(rng, caplog):
    async with serving(echo) as running:
        for _ in range(200):
            raw = bytearray(rng.choice((GET, POST, CHUNKED)) * 2)
            for _ in range(rng.randrange(1, 4)):
                place = rng.randrange(len(raw))
                raw[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
            answer = await running.talk(bytes(raw))
            assert answer.startswith((b"HTTP/1.1 ", b"<reset>")) or not answer
        assert (await running.talk(GET)).startswith(b"HTTP/1.1 200 OK\r\n")
        await running.until("connections == 0")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
