"""Calls of a replica that wait: who waits for them, and who ends them."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from hosts.opencalls import OpenCalls
from lattice.errors import DeadlineExceededError, LatticeError


def ended() -> LatticeError:
    return DeadlineExceededError("stopped")


async def at_once() -> str:
    return "done"


async def test_a_call_that_never_waits_returns_what_it_returns():
    calls = OpenCalls()
    assert await calls.run(at_once(), ended) == "done"
    calls.end_all()
    await calls.done()


async def test_whoever_waits_for_them_is_told_after_the_last_one():
    calls, first, second, order = OpenCalls(), anyio.Event(), anyio.Event(), []

    async def wait(event: anyio.Event, name: str) -> None:
        await calls.run(event.wait(), ended)
        order.append(name)

    async def see() -> None:
        await calls.done()
        order.append("none is open")

    async with anyio.create_task_group() as group:
        group.start_soon(wait, first, "first")
        group.start_soon(wait, second, "second")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(see)
        await anyio.wait_all_tasks_blocked()
        first.set()
        await anyio.wait_all_tasks_blocked()
        assert order == ["first"]
        second.set()
    assert order == ["first", "second", "none is open"]


async def test_a_call_that_is_ended_tells_its_caller_who_goes_on():
    calls, told = OpenCalls(), []

    async def call() -> None:
        with pytest.raises(DeadlineExceededError, match="stopped"):
            await calls.run(anyio.sleep_forever(), ended)
        await anyio.lowlevel.checkpoint()  # nothing of the cancelling is left
        told.append(await calls.run(at_once(), ended))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        calls.end_all()
        calls.end_all()
    assert told == ["done"]


async def test_one_call_is_ended_by_its_name_and_the_others_go_on():
    calls, ends, goes_on = OpenCalls(), [], anyio.Event()

    async def call(name: str) -> None:
        try:
            await calls.run(goes_on.wait(), ended, name)
            ends.append(f"{name} went on")
        except DeadlineExceededError:
            ends.append(f"{name} was ended")

    async with anyio.create_task_group() as group:
        group.start_soon(call, "a")
        group.start_soon(call, "b")
        await anyio.wait_all_tasks_blocked()
        assert calls.end("a")
        assert not calls.end("c")
        await anyio.wait_all_tasks_blocked()
        assert not calls.end("a")
        goes_on.set()
    assert ends == ["a was ended", "b went on"]


async def test_what_others_cancel_stays_cancelled():
    calls, seen = OpenCalls(), []

    async def call() -> None:
        try:
            await calls.run(anyio.sleep_forever(), ended)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    for is_ended_too in (False, True):
        task = asyncio.get_running_loop().create_task(call())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        if is_ended_too:
            calls.end_all()
        await asyncio.wait([task])
        assert task.cancelled()
    assert seen == ["cancelled"] * 2


async def test_of_calls_inside_each_other_the_one_that_is_ended_tells_it():
    outer, inner, told = OpenCalls(), OpenCalls(), []

    async def call() -> str:
        try:
            return await inner.run(anyio.sleep_forever(), ended)
        except DeadlineExceededError:
            return "the inner one ended"

    async def run() -> None:
        try:
            told.append(await outer.run(call(), ended))
        except DeadlineExceededError:
            told.append("the outer one ended")

    for which in ((inner,), (outer,), (inner, outer)):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            for calls in which:
                calls.end_all()
    assert told == ["the inner one ended", "the outer one ended", "the outer one ended"]
