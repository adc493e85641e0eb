"""What `Bus.serve` promises, for each implementation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.abc
import pytest

from lattice.bus import serving as serving_module
from lattice.bus.base import PAYLOAD_BYTES_MAX, Bus, Packet
from lattice.errors import ConflictError, DeadlineExceededError, NoRouteError
from lattice.wire import codec
from tests.contract.conftest import At

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


def asker(bus: Bus, subject: str, replies: list[bytes]) -> Callable[[bytes], object]:
    async def ask(body: bytes) -> None:
        replies.append((await bus.request(subject, body, timeout_s=10)).body)

    return ask


async def settle(asking: Bus, serving: Bus) -> None:
    """Return when what was asked has arrived where it is served."""
    await asking.flush()
    await serving.flush()


async def test_an_error_of_the_handler_is_answered_in_the_askers_encoding(
    asking: Bus, serving: Bus, at: At
) -> None:
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
    async with serving.serve(at("a"), refuse):
        packed = await asking.request(at("a"), timeout_s=5)
        text = await asking.request(at("a"), timeout_s=5, headers=AS_JSON)
    assert codec.decode(packed.body) == expected
    assert json.loads(text.body) == expected
    assert codec.is_json(text.headers)


async def test_any_other_exception_is_answered_as_internal_with_the_id_in_the_log(
    asking: Bus, serving: Bus, at: At, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(packet: Packet) -> bytes:
        raise ZeroDivisionError("a secret detail")

    async with serving.serve(at("a"), fail):
        reply = await asking.request(at("a"), timeout_s=5)
        again = await asking.request(at("a"), timeout_s=5)
    error = codec.decode(reply.body)["err"]
    assert error["kind"] == "internal"
    assert "secret" not in str(error)
    assert any(
        error["details"]["id"] in record.getMessage() and record.exc_info
        for record in caplog.records
    )
    assert codec.decode(again.body)["err"]["details"]["id"] != error["details"]["id"]


async def test_details_that_cannot_be_encoded_do_not_lose_the_answer(
    asking: Bus, serving: Bus, at: At
) -> None:
    async def refuse(packet: Packet) -> bytes:
        raise ConflictError("odd", thing=object())

    async with serving.serve(at("a"), refuse):
        reply = await asking.request(at("a"), timeout_s=5)
    assert codec.decode(reply.body)["err"]["message"].startswith("odd (its details")


async def test_an_answer_that_is_too_large_becomes_an_error(
    asking: Bus, serving: Bus, at: At
) -> None:
    async def swell(packet: Packet) -> bytes:
        return b"x" * (PAYLOAD_BYTES_MAX + 1)

    async with serving.serve(at("a"), swell):
        reply = await asking.request(at("a"), timeout_s=5)
    error = codec.decode(reply.body)["err"]
    assert error["kind"] == "internal"
    assert "cannot be sent" in error["message"]


async def test_an_answer_to_json_says_that_it_is_json(asking: Bus, serving: Bus, at: At) -> None:
    async def answer(packet: Packet) -> bytes:
        return codec.encode({"ok": {}}, as_json=codec.is_json(packet.headers))

    async with serving.serve(at("a"), answer):
        text = await asking.request(at("a"), timeout_s=5, headers=AS_JSON)
        packed = await asking.request(at("a"), timeout_s=5)
    assert json.loads(text.body) == {"ok": {}}
    assert codec.is_json(text.headers)
    assert not packed.headers


async def test_an_error_that_is_too_large_is_answered_in_short(
    asking: Bus, serving: Bus, at: At
) -> None:
    async def refuse(packet: Packet) -> bytes:
        raise ConflictError("m" * 5000, found="x" * PAYLOAD_BYTES_MAX)

    async with serving.serve(at("a"), refuse):
        reply = await asking.request(at("a"), timeout_s=5)
    error = codec.decode(reply.body)["err"]
    assert (error["kind"], error["details"]) == ("conflict", {})
    assert error["message"].endswith("(cut from 5000 characters)")


async def test_requests_that_wait_take_a_bounded_number_of_bytes(
    asking: Bus, serving: Bus, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "WAITING_BYTES_MAX", 1000)
    gate = Gate()
    replies: list[bytes] = []
    async with serving.serve(at("a"), gate, concurrency=1), anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(asker(asking, at("a"), replies), b"x" * 900)
        await gate.has_begun(1)
        await settle(asking, serving)
        refused = await asking.request(at("a"), b"y" * 101, timeout_s=5)
        assert codec.decode(refused.body)["err"]["kind"] == "overloaded"
        gate.may_end.set()
    assert len(replies) == 2
    assert set(replies) == {b"x" * 900}


async def test_handlers_run_at_the_same_time_up_to_the_concurrency(
    asking: Bus, serving: Bus, at: At
) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with serving.serve(at("a"), gate, concurrency=3), anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(asker(asking, at("a"), replies), b"%d" % number)
        await gate.has_begun(3)
        await settle(asking, serving)
        assert len(gate.begun) == 3
        gate.may_end.set()
    assert sorted(replies) == [b"%d" % number for number in range(8)]


async def test_waiting_requests_start_in_their_order(asking: Bus, serving: Bus, at: At) -> None:
    gate = Gate()
    replies: list[bytes] = []
    ask = asker(asking, at("a"), replies)
    async with serving.serve(at("a"), gate, concurrency=1), anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(ask, b"%d" % number)
        await gate.has_begun(1)
        gate.may_end.set()
    assert replies == [b"0", b"1", b"2", b"3"]
    assert gate.begun == [b"0", b"1", b"2", b"3"]


async def test_over_four_times_as_many_are_answered_overloaded_at_once(
    asking: Bus, serving: Bus, at: At
) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with serving.serve(at("a"), gate, concurrency=2), anyio.create_task_group() as tasks:
        for number in range(2 + 8):
            tasks.start_soon(asker(asking, at("a"), replies), b"%d" % number)
        await gate.has_begun(2)
        await settle(asking, serving)
        refused = await asking.request(at("a"), b"one more", timeout_s=5)
        error = codec.decode(refused.body)["err"]
        assert (error["kind"], error["retryable"]) == ("overloaded", True)
        assert error["details"]["retry_after_ms"] > 0
        assert replies == []
        gate.may_end.set()
    assert len(replies) == 10


async def test_within_a_queue_one_server_takes_each_request(
    asking: Bus, serving: Bus, also_serving: Bus, at: At
) -> None:
    taken: list[str] = []

    async def first(packet: Packet) -> bytes:
        taken.append("first")
        return b""

    async def second(packet: Packet) -> bytes:
        taken.append("second")
        return b""

    async with (
        serving.serve(at("a"), first, queue="q"),
        also_serving.serve(at("a"), second, queue="q"),
    ):
        for _ in range(60):
            await asking.request(at("a"), timeout_s=5)
    assert len(taken) == 60
    assert set(taken) == {"first", "second"}


async def test_on_exit_running_and_waiting_requests_are_finished(
    asking: Bus, serving: Bus, at: At
) -> None:
    gate = Gate()
    replies: list[bytes] = []
    async with anyio.create_task_group() as tasks, serving.serve(at("a"), gate, concurrency=1):
        tasks.start_soon(asker(asking, at("a"), replies), b"running")
        await gate.has_begun(1)
        tasks.start_soon(asker(asking, at("a"), replies), b"waiting")
        tasks.start_soon(_let_go_when_nobody_serves, asking, at("a"), gate)
        await settle(asking, serving)
    assert replies == [b"running", b"waiting"]


async def test_handlers_that_outlast_the_drain_are_cancelled_and_answered(
    asking: Bus, serving: Bus, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "DRAIN_S", 0.05)
    monkeypatch.setattr(serving_module, "PATIENCE_S", 0.05)
    gate = Gate()
    replies: list[bytes] = []
    async with anyio.create_task_group() as tasks, serving.serve(at("a"), gate, concurrency=1):
        tasks.start_soon(asker(asking, at("a"), replies), b"running")
        await gate.has_begun(1)
        tasks.start_soon(asker(asking, at("a"), replies), b"waiting")
        await settle(asking, serving)
        await settle(asking, serving)
    kinds = {codec.decode(reply)["err"]["kind"] for reply in replies}
    assert (len(replies), kinds) == (2, {"deadline", "no-route"})


async def test_after_exit_nobody_answers(asking: Bus, serving: Bus, at: At) -> None:
    async with serving.serve(at("a"), Gate()):
        pass
    with pytest.raises(NoRouteError):
        await asking.request(at("a"), timeout_s=5)


async def test_an_error_of_the_caller_passes_as_it_is(serving: Bus, at: At) -> None:
    with pytest.raises(ConflictError, match="mine"):
        async with serving.serve(at("a"), Gate()):
            raise ConflictError("mine")


async def test_a_message_without_an_inbox_to_answer_to_is_ignored(
    asking: Bus, serving: Bus, at: At, caplog: pytest.LogCaptureFixture
) -> None:
    """What the server says, wherever somebody aimed it, comes without one."""
    gate = Gate()
    gate.may_end.set()
    with caplog.at_level(logging.WARNING):
        async with serving.serve(at("a"), gate):
            await asking.publish(at("a"), b"no request")
            await asking.request(at("a"), b"request", timeout_s=5)
    assert gate.begun == [b"request"]
    assert f"{at('a')} has no inbox to answer to" in caplog.text


async def _let_go_when_nobody_serves(asking: Bus, subject: str, gate: Gate) -> None:
    """End the handlers only when the server has been told that no more requests are taken."""
    with anyio.fail_after(5), suppress(NoRouteError):
        while True:
            with suppress(DeadlineExceededError):  # a probe may be taken, and waits then
                await asking.request(subject, b"probe", timeout_s=0.01)
    gate.may_end.set()


async def test_whoever_asks_while_the_server_is_cancelled_is_answered(
    asking: Bus, serving: Bus, at: At
) -> None:
    """What comes until the bus has taken note of the end is turned down, so that it is sent on."""
    subject, ended, answers = at("ask"), anyio.Event(), list[str]()

    async def echo(packet: Packet) -> bytes:
        return packet.body

    async def serve(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with serving.serve(subject, echo):
                task_status.started(scope)
                await anyio.sleep_forever()
        ended.set()

    async def ask() -> None:
        while not ended.is_set():
            try:
                reply = await asking.request(subject, b"body", timeout_s=10)
            except NoRouteError:
                return
            answers.append(
                "own" if reply.body == b"body" else codec.decode(reply.body)["err"]["kind"]
            )

    async with anyio.create_task_group() as group:
        scope = await group.start(serve)
        for _ in range(50):
            group.start_soon(ask)
        with anyio.fail_after(10):
            while len(answers) < 500:
                await asking.flush()
        scope.cancel()
    assert set(answers) <= {"own", NoRouteError.kind, DeadlineExceededError.kind}
