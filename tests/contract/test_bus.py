"""What `Bus` promises about publishing, subscribing and requesting, for each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from lattice.bus.base import PAYLOAD_BYTES_MAX, Bus, Packet
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import header_bytes
from lattice.errors import DeadlineExceededError, InvalidError, NoRouteError
from tests.contract.conftest import At
from tests.contract.taking import take, take_all, take_one

WRONG_SUBJECTS = ("", "a b", "a..b", ".a", "a.", "a.*", "a.>", "a\r\nPUB b 0", "x" * 5000)


async def echo(packet: Packet) -> bytes:
    return packet.body


async def test_a_message_reaches_every_matching_subscription(
    asking: Bus, serving: Bus, also_serving: Bus, at: At
) -> None:
    async with (
        serving.subscribe(at("a.b")) as exact,
        serving.subscribe(at("a.*")) as one_token,
        also_serving.subscribe(at("a.>")) as the_rest,
        also_serving.subscribe(at("a.*.c")) as longer,
    ):
        await asking.publish(at("a.b"), b"1")
        await asking.publish(at("a.b.c"), b"2")
        await asking.publish(at("b"), b"3")
        await asking.flush()

        assert [packet.body for packet in await take(exact, 1)] == [b"1"]
        assert [packet.body for packet in await take(one_token, 1)] == [b"1"]
        assert [packet.body for packet in await take(the_rest, 2)] == [b"1", b"2"]
        assert [packet.body for packet in await take(longer, 1)] == [b"2"]


async def test_a_packet_has_subject_body_headers_and_no_reply_address(
    asking: Bus, serving: Bus, at: At
) -> None:
    async with serving.subscribe(at("a.>")) as packets:
        await asking.publish(at("a.b"), b"\x00\xff", headers={"X-One": "1", "X-Two": "zwei"})
        await asking.publish(at("a.c"))

        assert await take(packets, 2) == [
            Packet(subject=at("a.b"), body=b"\x00\xff", headers={"X-One": "1", "X-Two": "zwei"}),
            Packet(subject=at("a.c")),
        ]


async def test_publishing_to_nobody_is_no_error(asking: Bus, at: At) -> None:
    await asking.publish(at("nobody.listens"), b"x")
    await asking.flush()


async def test_messages_from_one_publisher_keep_their_order(
    asking: Bus, also_serving: Bus, at: At
) -> None:
    async with also_serving.subscribe(at("a"), pending_max=500) as packets:
        for number in range(500):
            await asking.publish(at("a"), str(number).encode())

        assert [int(packet.body) for packet in await take(packets, 500)] == list(range(500))


async def test_on_entry_the_server_knows_the_interest(asking: Bus, serving: Bus, at: At) -> None:
    for number in range(20):
        async with serving.subscribe(at(f"a.{number}")) as packets:
            await asking.publish(at(f"a.{number}"), b"x")
            assert (await take_one(packets)).body == b"x"


async def test_within_a_queue_each_message_has_one_receiver(
    asking: Bus, serving: Bus, also_serving: Bus, at: At
) -> None:
    async with (
        serving.subscribe(at("a"), queue="q") as first,
        also_serving.subscribe(at("a"), queue="q") as second,
        also_serving.subscribe(at("a"), queue="other") as whole,
    ):
        for number in range(100):
            await asking.publish(at("a"), str(number).encode())
        await asking.publish(at("a"), b"end")
        await take(whole, 101)  # the other queue has every message

        received: list[bytes] = []
        async with anyio.create_task_group() as tasks:

            async def gather(packets: AsyncIterator[Packet]) -> None:
                async for packet in packets:
                    received.append(packet.body)
                    if len(received) == 101:
                        tasks.cancel_scope.cancel()

            tasks.start_soon(gather, first)
            tasks.start_soon(gather, second)
        assert sorted(received) == sorted([*(b"%d" % n for n in range(100)), b"end"])


async def test_over_pending_max_messages_are_dropped_and_counted(
    asking: Bus, serving: Bus, at: At
) -> None:
    async with (
        serving.subscribe(at("a"), pending_max=3) as packets,
        serving.subscribe(at("a")) as patient,
    ):
        for number in range(10):
            await asking.publish(at("a"), str(number).encode())
        await take(patient, 10)

        assert isinstance(packets, Mailbox)
        assert packets.dropped == 7
        assert [packet.body for packet in await take(packets, 3)] == [b"0", b"1", b"2"]


async def test_leaving_the_context_ends_the_iteration(serving: Bus, at: At) -> None:
    async with serving.subscribe(at("a")) as packets:
        pass
    assert await take_all(packets) == []


async def test_leaving_the_context_ends_a_waiting_iteration(serving: Bus, at: At) -> None:
    ended = anyio.Event()

    async def read(packets: AsyncIterator[Packet]) -> None:
        await take_all(packets)
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with serving.subscribe(at("a")) as packets:
            tasks.start_soon(read, packets)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await ended.wait()


@pytest.mark.parametrize("subject", WRONG_SUBJECTS)
async def test_a_malformed_subject_is_refused(asking: Bus, subject: str) -> None:
    with pytest.raises(InvalidError, match="is not a subject"):
        await asking.publish(subject, b"x")
    with pytest.raises(InvalidError, match="is not a subject"):
        await asking.request(subject, timeout_s=1)


@pytest.mark.parametrize("pattern", ["", "a b", "a..b", "a.>.b", "a.b*", "a\r\n"])
async def test_a_malformed_pattern_is_refused(serving: Bus, pattern: str) -> None:
    with pytest.raises(InvalidError, match="is not a subject pattern"):
        async with serving.subscribe(pattern):
            pass


@pytest.mark.parametrize("headers", [{"a b": "1"}, {"a:": "1"}, {"": "1"}, {"a": "1\r\nB: 2"}])
async def test_a_malformed_header_is_refused(asking: Bus, at: At, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="is malformed"):
        await asking.publish(at("a"), b"", headers=headers)


async def test_the_largest_message_passes_and_one_byte_more_is_refused(
    asking: Bus, serving: Bus, at: At
) -> None:
    headers = {"X-Name": "value"}
    body = b"x" * (PAYLOAD_BYTES_MAX - header_bytes(headers))
    async with serving.subscribe(at("a")) as packets:
        with pytest.raises(InvalidError, match="at most 1048576"):
            await asking.publish(at("a"), body + b"x", headers=headers)
        with pytest.raises(InvalidError, match="at most 1048576"):
            await asking.request(at("a"), body + b"x", headers=headers, timeout_s=1)
        await asking.publish(at("a"), body, headers=headers)

        assert (await take_one(packets)).body == body


async def test_a_request_returns_the_first_reply(asking: Bus, also_serving: Bus, at: At) -> None:
    async def answer(packet: Packet) -> Packet:
        assert packet.headers == {"X-Asked": "1"}
        return Packet(subject="ignored", body=packet.body * 2, headers={"X-Answered": "2"})

    async with also_serving.serve(at("a"), answer):
        reply = await asking.request(at("a"), b"hi", timeout_s=5, headers={"X-Asked": "1"})
    assert (reply.body, reply.headers) == (b"hihi", {"X-Answered": "2"})


async def test_a_request_to_nobody_fails_at_once(asking: Bus, at: At) -> None:
    with anyio.fail_after(5), pytest.raises(NoRouteError, match=f"nobody answers on {at('a')}"):
        await asking.request(at("a"), timeout_s=60)


async def test_a_request_without_reply_ends_at_its_time(asking: Bus, serving: Bus, at: At) -> None:
    async with serving.subscribe(at("a")):
        with pytest.raises(DeadlineExceededError, match=rf"no reply on {at('a')} within 0\.05 s"):
            await asking.request(at("a"), timeout_s=0.05)


async def test_a_cancelled_request_leaves_nothing_behind(asking: Bus, serving: Bus, at: At) -> None:
    async with serving.subscribe(at("a")) as requests:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: asking.request(at("a"), timeout_s=60))
            asked = await take_one(requests)
            tasks.cancel_scope.cancel()
        await serving.publish(asked.reply_to, b"too late")
        await serving.flush()
        await asking.flush()
    async with serving.serve(at("a"), echo):
        assert (await asking.request(at("a"), b"next", timeout_s=5)).body == b"next"


async def test_many_requests_at_once_get_their_own_replies(
    asking: Bus, also_serving: Bus, at: At
) -> None:
    replies: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        replies[number] = (await asking.request(at("a"), b"%d" % number, timeout_s=10)).body

    async with (
        also_serving.serve(at("a"), echo, concurrency=200),
        anyio.create_task_group() as tasks,
    ):
        for number in range(200):
            tasks.start_soon(ask, number)
    assert replies == {number: b"%d" % number for number in range(200)}


async def test_request_many_yields_every_reply_in_time(
    asking: Bus, serving: Bus, also_serving: Bus, at: At
) -> None:
    async with (
        serving.serve(at("a"), echo),
        also_serving.serve(at("a"), echo),
        also_serving.serve(at("a"), echo),
    ):
        replies = [reply.body async for reply in asking.request_many(at("a"), b"x", timeout_s=0.3)]
    assert replies == [b"x", b"x", b"x"]


async def test_request_many_yields_replies_as_they_arrive(
    asking: Bus, serving: Bus, at: At
) -> None:
    async with serving.serve(at("a"), echo):
        replies = asking.request_many(at("a"), b"x", timeout_s=60)
        assert (await take_one(replies)).body == b"x"
        await replies.aclose()  # type: ignore[attr-defined]  # both are async generators


async def test_request_many_to_nobody_yields_nothing(asking: Bus, at: At) -> None:
    with anyio.fail_after(5):
        assert [reply async for reply in asking.request_many(at("a"), timeout_s=60)] == []


async def test_a_connection_says_that_it_is_connected(asking: Bus) -> None:
    assert asking.state == "connected"
