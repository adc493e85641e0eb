"""Awaits what mostly does not wait: what is for waiting alone is done when it really begins.

Watching a client, or a time limit, costs more than a short call of a guest does. Here the call runs
first, and only if it lets go of the event loop somebody is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def noticing(work: Awaitable[T], on_wait: Callable[[], object]) -> Generator[Any, Any, T]:
    """Return what `work` returns; `on_wait` is called once, if it lets go of the event loop.

    Cancelling reaches the work as if it were awaited by itself.
    """
    steps = work.__await__()
    try:
        awaited = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    on_wait()
    return (yield from go_on(steps, awaited))


@coroutine
def within(work: Awaitable[T], limit_s: float) -> Generator[Any, Any, T]:
    """Return what `work` returns, which is cancelled when it has waited for so long.

    Raises:
        TimeoutError: it was.
    """
    steps = work.__await__()
    try:
        awaited = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    return (yield from _limited(steps, awaited, limit_s))


def _limited(steps: Generator[Any, Any, T], awaited: Any, limit_s: float) -> Generator[Any, Any, T]:
    """Go on with what waits, until the time is up."""
    task = asyncio.current_task()
    assert task is not None, "only a task awaits"
    is_over = False
    cancelled_before = task.cancelling()

    def end() -> None:
        nonlocal is_over
        is_over = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(max(0.0, limit_s), end)
    is_cancelled = False
    try:
        return (yield from go_on(steps, awaited))
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        timer.cancel()
        # Somebody else may have cancelled the task as well: that comes first.
        if is_over and task.uncancel() <= cancelled_before and is_cancelled:
            raise TimeoutError from None


def go_on(steps: Generator[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Take step after step, from one that waits for something on."""
    try:
        while True:
            try:
                got = yield awaited
            except BaseException as error:  # noqa: BLE001 (handed on to the work)
                awaited = steps.throw(error)
            else:
                awaited = steps.send(got)
    except StopIteration as done:
        result: T = done.value
        return result
