"""Admission of calls: the core by examples and by random runs, the gate by real tasks."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.dispatch import Dispatch
from hosts.gate import Gate
from lattice.errors import DeadlineExceededError, OverloadedError


def test_calls_start_then_wait_then_are_refused():
    core = Dispatch(concurrency=1, queue=1)
    assert [core.arrive(1), core.arrive(2), core.arrive(3)] == ["start", "wait", "refuse"]
    assert core.leave(1) == (2,)
    assert core.arrive(4) == "wait"


def test_a_waiting_call_that_gives_up_frees_its_place():
    core = Dispatch(concurrency=1, queue=1)
    core.arrive(1)
    core.arrive(2)
    assert core.leave(2) == ()
    assert core.arrive(3) == "wait"


@given(
    concurrency=st.integers(1, 4),
    queue=st.integers(0, 4),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200),
)
def test_limits_and_order_hold_for_any_run(concurrency, queue, steps):
    core = Dispatch(concurrency, queue)
    admitted: list[int] = []
    waiting: list[int] = []
    next_call = 0
    for is_arrival, pick in steps:
        present = [*core.running, *core.waiting]
        if is_arrival or not present:
            admission = core.arrive(next_call)
            if admission == "start":
                admitted.append(next_call)
            elif admission == "wait":
                waiting.append(next_call)
            next_call += 1
        else:
            gone = present[pick % len(present)]
            if gone in waiting:
                waiting.remove(gone)
            started = core.leave(gone)
            assert list(started) == waiting[: len(started)], "the oldest waiting run first"
            del waiting[: len(started)]
        core.check()


async def test_the_gate_runs_so_many_at_once_and_in_order():
    gate = Gate("replica x", concurrency=2, queue=10)
    running, most, order = 0, 0, []

    async def call(number):
        nonlocal running, most
        async with gate.entry(deadline_s=10):
            running += 1
            most = max(most, running)
            order.append(number)
            await anyio.lowlevel.checkpoint()
            running -= 1

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(call, number)
    assert most == 2
    assert order == sorted(order)
    assert gate.in_flight == 0


async def test_a_full_gate_refuses_at_once_with_a_hint():
    gate = Gate("replica x", concurrency=1, queue=0)
    async with gate.entry(deadline_s=10):
        with pytest.raises(OverloadedError, match="replica x is full") as caught:
            async with gate.entry(deadline_s=10):
                raise AssertionError
    assert caught.value.details["retry_after_ms"] > 0


async def test_a_call_that_waits_too_long_is_told_that_it_was_not_started():
    gate = Gate("replica x", concurrency=1, queue=1)
    async with gate.entry(deadline_s=10):
        with pytest.raises(DeadlineExceededError, match="not started"):
            async with gate.entry(deadline_s=0.01):
                raise AssertionError
    async with gate.entry(deadline_s=1):
        assert gate.in_flight == 1


async def test_a_cancelled_waiting_call_gives_its_place_back():
    gate = Gate("replica x", concurrency=1, queue=1)
    async with gate.entry(deadline_s=10), anyio.create_task_group() as group:

        async def wait():
            async with gate.entry(deadline_s=10):
                raise AssertionError

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert gate.in_flight == 2
        group.cancel_scope.cancel()
    assert gate.in_flight == 0


async def test_a_gate_gives_a_place_at_once_only_where_nobody_waits() -> None:
    gate = Gate("replica", concurrency=2, queue=5)
    first, second = gate.try_enter(), gate.try_enter()
    assert first is not None
    assert second is not None
    assert gate.try_enter() is None
    order: list[str] = []

    async def wait() -> None:
        async with gate.entry(deadline_s=5.0):
            order.append("waited")

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert gate.in_flight == 3, "a place that was refused is not taken"
        gate.leave(first)
        assert gate.try_enter() is None, "who waits comes first"
    assert order == ["waited"]
    gate.leave(second)
    assert gate.in_flight == 0
