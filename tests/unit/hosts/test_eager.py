"""What does not wait costs nothing more; what waits is told of, limited and cancelled."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from hosts.eager import noticing, within

LONG_S = 30.0


class ReachedError(Exception):
    """What the work raises."""


async def test_result_comes_through_and_nobody_is_told_when_nothing_waits() -> None:
    told: list[bool] = []

    async def work() -> int:
        return 7

    assert await noticing(work(), lambda: told.append(True)) == 7
    assert await within(work(), 0.0) == 7
    assert told == []


async def test_error_comes_through_before_and_after_waiting() -> None:
    async def work(waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ReachedError

    for waits in (False, True):
        with pytest.raises(ReachedError):
            await noticing(work(waits), lambda: None)
        with pytest.raises(ReachedError):
            await within(work(waits), LONG_S)


async def test_waiting_is_told_once_and_results_of_futures_come_through() -> None:
    told: list[bool] = []
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def work() -> str:
        await first.wait()
        loop.call_soon(answer.set_result, "answer")
        loop.call_soon(second.set)
        await second.wait()
        return await answer

    def tell() -> None:
        told.append(True)
        loop.call_soon(first.set)

    assert await noticing(work(), tell) == "answer"
    assert told == [True]


async def test_work_that_waits_too_long_is_cancelled() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(work(), 0.0)
    assert ended == [True]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancellation_from_outside_stays_one() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await within(work(), LONG_S)
    assert scope.cancelled_caught
    with anyio.CancelScope() as scope:
        await noticing(work(), scope.cancel)
    assert scope.cancelled_caught
    assert ended == [True, True]


async def test_scopes_inside_the_work_are_its_own() -> None:
    async def work() -> bool:
        with anyio.move_on_after(0) as inner:
            await asyncio.Event().wait()
        return inner.cancelled_caught

    assert await within(work(), LONG_S)
    assert await noticing(work(), lambda: None)


async def test_work_may_end_in_spite_of_the_limit() -> None:
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved"
        return ""

    assert await within(work(), 0.0) == "saved"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
