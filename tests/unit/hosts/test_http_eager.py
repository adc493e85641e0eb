"""A coroutine that is begun in the name of a task runs as if the task had begun it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest

from lattice.bus.eager import Eager, Rest

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Waiting:
    """A task that waits, and awaits what was begun for it."""

    def __init__(self) -> None:
        self.eager = Eager()
        self.task = asyncio.current_task()
        self.woken = asyncio.get_running_loop().create_future()
        self.outcome: object = None

    async def run(self) -> None:
        try:
            rest = await self.woken
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        try:
            self.outcome = await rest
        except ValueError as error:
            self.outcome = error

    async def begin(self, coroutine):
        """Begin a coroutine as the loop would do it: outside of any task."""
        begun = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: begun.set_result(self.eager.begin(coroutine) if self.eager.can_begin() else 1)
        )
        return await begun


@asynccontextmanager
async def waiting() -> AsyncIterator[Waiting]:
    async with anyio.create_task_group() as tasks:
        made = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            made.set_result(Waiting())
            await made.result().run()

        tasks.start_soon(wait)
        yield await made
        tasks.cancel_scope.cancel()


async def test_what_waits_for_nothing_is_done_at_once_in_the_tasks_name() -> None:
    async def who() -> object:
        return asyncio.current_task()

    async with waiting() as one:
        assert await one.begin(who()) is one.task


async def test_what_waits_is_ended_by_the_task() -> None:
    event = anyio.Event()

    async def slow() -> list[object]:
        first = asyncio.current_task()
        await event.wait()
        await anyio.lowlevel.checkpoint()
        return [first, asyncio.current_task()]

    async with waiting() as one:
        rest = await one.begin(slow())
        assert isinstance(rest, Rest)
        one.woken.set_result(rest)
        event.set()
        while one.outcome is None:
            await anyio.lowlevel.checkpoint()
        assert one.outcome == [one.task, one.task]


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_fails_fails_in_the_task(is_late) -> None:
    async def wrong() -> None:
        if is_late:
            await anyio.lowlevel.checkpoint()
        raise ValueError("wrong")

    async with waiting() as one:
        one.woken.set_result(await one.begin(wrong()))
        while one.outcome is None:
            await anyio.lowlevel.checkpoint()
        assert str(one.outcome) == "wrong"


async def test_variables_that_were_set_stay_set_for_the_rest_and_for_nobody_else() -> None:
    async def set_and_get() -> str:
        variable.set("set")
        await anyio.lowlevel.checkpoint()
        return variable.get()

    async with waiting() as one:
        one.woken.set_result(await one.begin(set_and_get()))
        while one.outcome is None:
            await anyio.lowlevel.checkpoint()
        assert one.outcome == "set"
        assert variable.get() == "unset"


async def test_time_limits_hold_for_what_was_begun() -> None:
    async def limited() -> str:
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        return "moved on"

    async with waiting() as one:
        one.woken.set_result(await one.begin(limited()))
        with anyio.fail_after(10):
            while one.outcome is None:
                await anyio.lowlevel.checkpoint()
        assert one.outcome == "moved on"


async def test_a_future_that_others_await_too_can_be_awaited() -> None:
    shared = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        return await shared

    async with waiting() as one, anyio.create_task_group() as tasks:
        rest = await one.begin(wait())
        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        one.woken.set_result(rest)
        await anyio.lowlevel.checkpoint()
        shared.set_result("shared")
        while one.outcome is None:
            await anyio.lowlevel.checkpoint()
        assert one.outcome == "shared"


async def test_a_task_that_is_cancelled_before_it_took_over_ends_the_rest() -> None:
    ended = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(asyncio.current_task())

    async with waiting() as one:
        rest = await one.begin(slow())
        with pytest.raises(asyncio.CancelledError):
            await rest.cancelled()
        assert len(ended) == 1


async def test_nothing_is_begun_while_a_task_is_at_work() -> None:
    async with waiting() as one:
        assert not one.eager.can_begin()
