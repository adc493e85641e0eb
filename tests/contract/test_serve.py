"""What `Bus.serve` promises, for each implementation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.abc
import pytest

from lattice.bus import serving
from lattice.bus.base import PAYLOAD_BYTES_MAX, Bus, Connection, Packet
from lattice.errors import ConflictError, DeadlineExceededError, NoRouteError
from lattice.wire import codec

AS_JSON = {"Content-Type": "application/json"}


class Gate:
    """A handler that says when it has begun and ends when it is let."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.may_end = anyio.Event()
        self._waiters: list[tuple[int, anyio.Event]] = []

    async def __call__(self, packet: Packet) -> bytes:
        self.begun.append(packet.body)
        for count, event in self._waiters:
            if len(self.begun) >= count:
                event.set()
        await self.may_end.wait()
        return packet.body

    async def has_begun(self, count: int) -> None:
        event = anyio.Event()
        self._waiters.append((count, event))
        if len(self.begun) < count:
            with anyio.fail_after(10):
                await event.wait()


def asker(bus: Bus, replies: list[bytes]) -> Callable[[bytes], object]:
    async def ask(body: bytes) -> None:
        replies.append((await bus.request("a", body, timeout_s=10)).body)

    return ask


async def test_an_error_of_the_handler_is_answered_in_the_askers_encoding(bus: Bus) -> None:
    async def refuse(packet: Packet) -> bytes:
        raise ConflictError("stands elsewhere", found=7)

    expected = {
        "err": {
            "kind": "conflict",
            "message": "stands elsewhere",
            "retryable": False,
            "details": {"found": 7},
        }
    }
    async with bus.serve("a", refuse):
        packed = await bus.request("a", timeout_s=5)
        text = await bus.request("a", timeout_s=5, headers=AS_JSON)
    assert codec.decode(packed.body) == expected
    assert json.loads(text.body) == expected
    assert codec.is_json(text.headers)


async def test_any_other_exception_is_answered_as_internal_with_the_id_in_the_log(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(packet: Packet) -> bytes:
        raise ZeroDivisionError("a secret detail")

    async with bus.serve("a", fail):
        reply = await bus.request("a", timeout_s=5)
        again = await bus.request("a", timeout_s=5)
    error = codec.decode(reply.body)["err"]
    assert error["kind"] == "internal"
    assert "secret" not in str(error)
    assert any(
        error["details"]["id"] in record.getMessage() and record.exc_info
        for record in caplog.records
    )
    assert codec.decode(again.body)["err"]["details"]["id"] != error["details"]["id"]


async def test_details_that_cannot_be_encoded_do_not_lose_the_answer(bus: Bus) -> None:
    async def refuse(packet: Packet) -> bytes:
        raise ConflictError("odd", thing=object())

    async with bus.serve("a", refuse):
        reply = await bus.request("a", timeout_s=5)
    assert codec.decode(reply.body)["err"]["message"].startswith("odd (its details")


async def test_an_answer_that_is_too_large_becomes_an_error(bus: Bus) -> None:
    async def swell(packet: Packet) -> bytes:
        return b"x" * (PAYLOAD_BYTES_MAX + 1)

    async with bus.serve("a", swell):
        reply = await bus.request("a", timeout_s=5)
    error = codec.decode(reply.body)["err"]
    assert error["kind"] == "internal"
    assert "cannot be sent" in error["message"]


async def test_handlers_run_at_the_same_time_up_to_the_concurrency(bus: Bus) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with bus.serve("a", gate, concurrency=3), anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(asker(bus, replies), b"%d" % number)
        await gate.has_begun(3)
        await bus.flush()
        assert len(gate.begun) == 3
        gate.may_end.set()
    assert sorted(replies) == [b"%d" % number for number in range(8)]


async def test_waiting_requests_start_in_their_order(bus: Bus, other: Connection) -> None:
    gate = Gate()
    async with bus.serve("a", gate, concurrency=1):
        for number in range(4):
            await other.bus.publish("a", b"%d" % number)
        await gate.has_begun(1)
        gate.may_end.set()
        await gate.has_begun(4)
    assert gate.begun == [b"0", b"1", b"2", b"3"]


async def test_over_four_times_as_many_are_answered_overloaded_at_once(bus: Bus) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with bus.serve("a", gate, concurrency=2), anyio.create_task_group() as tasks:
        for number in range(2 + 8):
            tasks.start_soon(asker(bus, replies), b"%d" % number)
        await gate.has_begun(2)
        await bus.flush()
        refused = await bus.request("a", b"one more", timeout_s=5)
        error = codec.decode(refused.body)["err"]
        assert (error["kind"], error["retryable"]) == ("overloaded", True)
        assert error["details"]["retry_after_ms"] > 0
        assert replies == []
        gate.may_end.set()
    assert len(replies) == 10


async def test_within_a_queue_one_server_takes_each_request(bus: Bus, other: Connection) -> None:
    taken: list[str] = []

    async def first(packet: Packet) -> bytes:
        taken.append("first")
        return b""

    async def second(packet: Packet) -> bytes:
        taken.append("second")
        return b""

    async with bus.serve("a", first, queue="q"), other.bus.serve("a", second, queue="q"):
        for _ in range(60):
            await bus.request("a", timeout_s=5)
    assert len(taken) == 60
    assert set(taken) == {"first", "second"}


async def test_on_exit_running_and_waiting_requests_are_finished(
    bus: Bus, other: Connection
) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with anyio.create_task_group() as tasks, bus.serve("a", gate, concurrency=1):
        tasks.start_soon(asker(other.bus, replies), b"running")
        await gate.has_begun(1)
        tasks.start_soon(asker(other.bus, replies), b"waiting")
        tasks.start_soon(_let_go_when_nobody_serves, other.bus, gate)
        await other.bus.flush()
    assert replies == [b"running", b"waiting"]


async def test_handlers_that_outlast_the_drain_are_cancelled_and_answered(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "DRAIN_S", 0.05)
    gate = Gate()
    replies: list[bytes] = []
    async with anyio.create_task_group() as tasks, bus.serve("a", gate, concurrency=1):
        tasks.start_soon(asker(bus, replies), b"running")
        await gate.has_begun(1)
        tasks.start_soon(asker(bus, replies), b"waiting")
        await bus.flush()
        await bus.flush()
    kinds = {codec.decode(reply)["err"]["kind"] for reply in replies}
    assert (len(replies), kinds) == (2, {"deadline", "no-route"})


async def test_after_exit_nobody_answers(bus: Bus, other: Connection) -> None:
    async with bus.serve("a", Gate()):
        pass
    with pytest.raises(NoRouteError):
        await other.bus.request("a", timeout_s=5)


async def test_an_error_of_the_caller_passes_as_it_is(bus: Bus) -> None:
    with pytest.raises(ConflictError, match="mine"):
        async with bus.serve("a", Gate()):
            raise ConflictError("mine")


async def test_a_message_without_reply_address_is_handled(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    handled = anyio.Event()

    async def fail(packet: Packet) -> bytes:
        handled.set()
        raise ConflictError("nobody will hear")

    with caplog.at_level(logging.WARNING):
        async with bus.serve("a", fail):
            await bus.publish("a", b"x")
            with anyio.fail_after(5):
                await handled.wait()
    assert "nobody will hear" in caplog.text


async def _let_go_when_nobody_serves(bus: Bus, gate: Gate) -> None:
    """End the handlers only when the server has been told that no more requests are taken."""
    with anyio.fail_after(5), suppress(NoRouteError):
        while True:
            with suppress(DeadlineExceededError):  # a probe may be taken, and waits then
                await bus.request("a", b"probe", timeout_s=0.01)
    gate.may_end.set()
