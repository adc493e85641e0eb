"""Callers that leave: their calls are ended, also those that had not begun."""

from __future__ import annotations

import anyio
import pytest

from hosts.departures import EARLY_MAX, Departures, inbox_of
from lattice.bus.memory import memory_connection
from lattice.errors import DeadlineExceededError
from lattice.testing import eventually


def departures() -> Departures:
    return Departures(memory_connection("test").bus, lambda deployment: f"left.{deployment}.*")


async def test_a_call_ends_when_its_caller_is_heard_to_leave():
    bus = memory_connection("test").bus
    left, ends = Departures(bus, lambda deployment: f"left.{deployment}.*"), []

    async def call(name: str) -> None:
        with pytest.raises(DeadlineExceededError, match="caller has left"):
            await left.ended_when_left(name, anyio.sleep_forever())
        ends.append(name)

    async with anyio.create_task_group() as group:
        await group.start(left.run)
        left.open("d")
        left.open("d")
        left.close("d")
        group.start_soon(call, "c1")
        await anyio.wait_all_tasks_blocked()
        await bus.publish("left.d.c1")
        await eventually(lambda: ends == ["c1"])
        left.close("d")
        group.cancel_scope.cancel()


async def test_a_caller_that_left_before_its_call_began_is_remembered_once():
    left = departures()
    left.left("c1")
    with pytest.raises(DeadlineExceededError, match="caller has left"):
        left.require_there("c1")
    left.require_there("c1")


async def test_what_is_remembered_is_bounded():
    left = departures()
    for number in range(EARLY_MAX + 10):
        left.left(f"c{number}")
    left.require_there("c0")
    with pytest.raises(DeadlineExceededError):
        left.require_there(f"c{EARLY_MAX + 9}")
    left.left("x" * 1000)
    left.require_there("x" * 1000)


def test_only_below_an_inbox_with_an_address_for_each_request_a_caller_is_looked_for():
    assert inbox_of("_INBOX.UKEY.0123abcd.17") == "_INBOX.UKEY.0123abcd"
    assert inbox_of("_INBOX.nuid.token") == "_INBOX.nuid"
    assert not inbox_of("_INBOX.7")
    assert not inbox_of("")


async def test_a_call_whose_caller_is_missed_twice_is_ended_and_no_other():
    bus = memory_connection("test").bus
    left, ends = Departures(bus, lambda deployment: f"left.{deployment}.*", look_s=0.02), []

    async def call(name: str, reply_to: str) -> None:
        with pytest.raises(DeadlineExceededError, match="caller has left"):
            await left.ended_when_left(name, anyio.sleep_forever(), reply_to)
        ends.append(name)

    async with anyio.create_task_group() as group, bus.subscribe("_INBOX.there.*"):
        await group.start(left.run)
        group.start_soon(call, "c1", "_INBOX.there.1")
        group.start_soon(call, "c2", "_INBOX.gone.1")
        group.start_soon(call, "c3", "_INBOX.3")
        await eventually(lambda: ends, timeout_s=30)
        assert ends == ["c2"]
        group.cancel_scope.cancel()
