"""Requests that one host takes and another answers: over memory and over a real server."""

from __future__ import annotations

import anyio
import pytest

from hosts.http.base import Exchange, HttpError
from hosts.http.flow import CHUNK_BYTES, WINDOW_BYTES
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.http import HttpReply, HttpRequest
from lattice.wire.subjects import Names
from tests.contract.forwarding import Net, Party, echo, hello
from tests.contract.taking import take
from tests.integration.recorded_exchange import RecordedExchange

LIMIT_S = 20.0
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


LENGTH = ((b"content-length", b"60000"),)


# --- what arrives ---------------------------------------------------------------------------------


async def test_a_small_request_is_answered_by_another_host(near: Party, far: Party) -> None:
    await far.serves("site", hello)
    headers = ((b"x-a", b"\xff"), (b"x-a", b""))
    exchange = RecordedExchange("/a?b=c", method="POST", body=b"world", headers=headers)
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert (exchange.status, bytes(exchange.received)) == (200, b"hello world")
    assert exchange.headers == [(b"x-method", b"POST")]
    assert exchange.is_whole


async def test_the_head_of_a_request_comes_as_the_client_sent_it(near: Party, far: Party) -> None:
    seen: list[Exchange] = []

    async def keep(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.answer(204, (), b"")

    site = await far.serves("site", keep)
    headers = [(b"x-a", b"\xff"), (b"x-a", b""), (b"traceparent", TRACE.encode())]
    exchange = RecordedExchange("/a?b=%20c", method="PUT", headers=headers, trailers=[(b"t", b"1")])
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.status == 204
    assert seen[0].head == exchange.head
    assert (seen[0].body, seen[0].trailers) == (b"", [(b"t", b"1")])
    assert site.contexts[0].trace == TRACE
    assert site.contexts[0].hops == 0


async def test_bodies_stream_both_ways_at_once(near: Party, far: Party) -> None:
    await far.serves("site", echo)
    parts = [bytes([number]) * 40_000 for number in range(100)]
    exchange = RecordedExchange(method="POST", parts=parts, trailers=((b"t", b"1"),))
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert bytes(exchange.received) == b"".join(parts)
    assert exchange.sent_trailers == [(b"x-end", b"yes"), (b"t", b"1")]


async def test_an_answer_that_fits_into_no_message_comes_all_the_same(
    near: Party, far: Party
) -> None:
    body = bytes(range(256)) * 16 * 1024

    async def large(exchange: Exchange) -> None:
        exchange.answer(200, ((b"content-length", b"%d" % len(body)),), body)

    await far.serves("site", large)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert bytes(exchange.received) == body
    assert exchange.is_whole


async def test_a_small_exchange_is_one_request_and_one_reply() -> None:
    net = Net(None)  # in memory, where everybody may hear all
    async with net.party("near") as near, net.party("far") as far:
        await far.serves("site", hello)
        async with near.bus.subscribe(">") as packets:
            await near.ask(RecordedExchange(method="POST", body=b"x" * 60_000))
            await near.ask(RecordedExchange(method="POST", parts=[b"x" * 60_000], headers=LENGTH))
            seen = [packet.subject.partition(".")[0] for packet in await take(packets, 4)]
    assert seen == ["lat", "_INBOX", "lat", "_INBOX"]


async def test_an_answer_begins_before_the_request_has_ended(near: Party, far: Party) -> None:
    exchange = RecordedExchange(method="POST", parts=())
    begun: anyio.Event = exchange.begun

    async def slow_parts(limit_bytes: int) -> bytes:
        await begun.wait()
        return b""

    exchange.read = slow_parts  # type: ignore[method-assign]  # a client that waits for an answer

    async def early(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        assert not await exchange.read(1)
        await exchange.finish()

    await far.serves("site", early)
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.is_whole


async def test_a_refusal_does_not_wait_for_the_body(near: Party, far: Party) -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.answer(413, (), b"too large")

    await far.serves("site", refuse)
    exchange = RecordedExchange(method="POST", parts=(b"x" * 1000 for _ in range(10_000)))
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert (exchange.status, bytes(exchange.received)) == (413, b"too large")
    assert exchange.read_bytes <= WINDOW_BYTES + CHUNK_BYTES


async def test_events_come_as_they_are_sent(near: Party, far: Party) -> None:
    received = anyio.Event()

    async def events(exchange: Exchange) -> None:
        await exchange.begin(200, ((b"content-type", b"text/event-stream"),))
        await exchange.write(b"data: 1\n\n")
        await received.wait()
        await exchange.write(b"data: 2\n\n")
        await exchange.finish()

    class Watching(RecordedExchange):
        async def write(self, data: bytes) -> None:
            await super().write(data)
            received.set()

    await far.serves("site", events)
    exchange = Watching()
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.writes == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_informational_answers_come_first(near: Party, far: Party) -> None:
    async def hints(exchange: Exchange) -> None:
        await exchange.inform(103, ((b"link", b"</a>"),))
        await exchange.inform(103, ((b"link", b"</b>"),))
        exchange.answer(200, (), b"done")

    await far.serves("site", hints)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.informed == [(103, [(b"link", b"</a>")]), (103, [(b"link", b"</b>")])]
    assert (exchange.status, bytes(exchange.received)) == (200, b"done")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_body_of_an_answer_to_head_does_not_travel(
    near: Party, far: Party, is_streamed: bool
) -> None:
    async def answer(exchange: Exchange) -> None:
        if not is_streamed:
            exchange.answer(200, (), b"x" * 70_000)
            return
        await exchange.begin(200, ((b"content-length", b"70000"),))
        await exchange.write(b"x" * 70_000)
        await exchange.finish()

    await far.serves("site", answer)
    exchange = RecordedExchange(method="HEAD")
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert list(exchange.headers) == [(b"content-length", b"70000")]
    assert not exchange.received


# --- memory ---------------------------------------------------------------------------------------


async def test_a_client_that_takes_nothing_holds_the_sender_back(near: Party, far: Party) -> None:
    written = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal written
        await exchange.begin(200, ())
        while True:
            await exchange.write(b"x" * 10_000)
            written += 10_000

    await far.serves("site", endless)
    exchange = RecordedExchange(keeps=False)
    exchange.takes = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(_until_broken, near, exchange)
        await eventually(lambda: written > WINDOW_BYTES - CHUNK_BYTES)
        await _turns()
        assert written <= WINDOW_BYTES + CHUNK_BYTES
        exchange.leave()
        group.cancel_scope.cancel()


async def test_a_guest_that_reads_nothing_holds_the_client_back(near: Party, far: Party) -> None:
    async def never(exchange: Exchange) -> None:
        await exchange.read(1)
        await anyio.sleep_forever()

    await far.serves("site", never)
    exchange = RecordedExchange(method="POST", parts=(b"x" * 10_000 for _ in range(10_000)))
    async with anyio.create_task_group() as group:
        group.start_soon(_until_broken, near, exchange)
        await eventually(lambda: exchange.read_bytes > WINDOW_BYTES - CHUNK_BYTES)
        await _turns()
        assert exchange.read_bytes <= WINDOW_BYTES + 2 * CHUNK_BYTES
        group.cancel_scope.cancel()


# --- clients that are no hosts --------------------------------------------------------------------


async def test_a_plain_request_without_a_lane_gets_its_answer_whole(
    near: Party, far: Party, names: Names
) -> None:
    async def streamed(exchange: Exchange) -> None:
        await exchange.inform(103, ())
        await exchange.begin(200, ((b"x", b"1"),))
        await exchange.write(b"a")
        await exchange.write(b"b" * int(exchange.head.target[1:]))
        await exchange.finish(((b"t", b"2"),))

    await far.serves("site", streamed, generation=7)
    for subject in (names.http("site"), names.http_at(far.id, "site", 7)):
        packet = await near.bus.request(subject, encode(HttpRequest(target="/2")), timeout_s=5)
        reply = decode_as(HttpReply, packet.body)
        assert (reply.status, reply.headers, reply.body) == (200, [b"x", b"1"], b"abb")
        assert (reply.trailers, reply.generation) == ([b"t", b"2"], 7)
    packet = await near.bus.request(subject, encode(HttpRequest(target="/999999")), timeout_s=5)
    assert decode_as(HttpReply, packet.body).err["kind"] == "invalid"
    packet = await near.bus.request(subject, encode(HttpRequest(body=None)), timeout_s=5)
    assert decode_as(HttpReply, packet.body).err["kind"] == "invalid"
    subject = names.http_at(far.id, "site", 8)
    packet = await near.bus.request(subject, encode(HttpRequest()), timeout_s=5)
    assert decode_as(HttpReply, packet.body).err["kind"] == "no-route"


async def test_frames_go_to_lanes_and_inboxes_only(near: Party, far: Party, names: Names) -> None:
    await far.serves("site", hello)
    for lane in ("lat.test.ctl.ping", "lat.test.at.x.http.p1.*", "a b"):
        request = HttpRequest(lane=lane, window=10)
        packet = await near.bus.request(names.http("site"), encode(request), timeout_s=5)
        assert decode_as(HttpReply, packet.body).err["kind"] == "invalid"


async def _until_broken(near: Party, exchange: RecordedExchange) -> None:
    with pytest.raises(HttpError):
        await near.ask(exchange)


async def _turns() -> None:
    """Let the others run on: more turns of the loop than a frame needs."""
    for _ in range(200):
        await anyio.lowlevel.checkpoint()
