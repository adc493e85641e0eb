"""Runs the first part of a coroutine at once, in the name of a task that waits for something else.

Most requests are answered without waiting for anything. To wake a task for each of them costs more
than to read their heads, so what the event loop calls when bytes arrive runs the coroutine itself;
only one that has to wait is handed to the task. Cancel scopes, and whoever else asks for the
current task, see that task all the while (asyncio, "Extending": `_enter_task`).

Nothing here knows what the coroutines do: calls from the bus and requests over HTTP begin so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Rest(Generic[T]):
    """What is left of a coroutine: its task awaits this, once, and gets the result."""

    __slots__ = ("_awaited", "_context", "_coroutine", "_error", "_thrown")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        context: Context,
        *,
        awaited: Any = None,
        error: BaseException | None = None,
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._awaited = awaited  # what the coroutine waits for
        self._error = error  # or what ended it
        self._thrown: BaseException | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the rest, and return what the coroutine returns, or raise what it raises."""
        if self._error is not None:
            raise self._error
        run, send = self._context.run, self._coroutine.send
        throw: Callable[[BaseException], Any] = self._coroutine.throw
        awaited, value, thrown = self._awaited, None, self._thrown
        _mark(awaited, is_handed_on=True)
        while True:
            if thrown is None:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001 (it is the coroutine's to handle)
                    thrown = error
            try:
                if thrown is None:
                    awaited = run(send, value)
                else:
                    awaited, thrown = run(throw, thrown), None
            except StopIteration as end:
                return cast("T", end.value)

    async def cancelled(self) -> None:
        """Let the coroutine end whose task was cancelled before it could await this.

        Raises:
            CancelledError: unless the coroutine catches it.
        """
        if self._error is None:
            self._thrown = asyncio.CancelledError()
            await self


class Eager:
    """Begins coroutines in the name of one task."""

    __slots__ = ("_context", "_loop", "_task")

    def __init__(self) -> None:
        """Take the current task; each coroutine has a copy of its context variables of now."""
        task = asyncio.current_task()
        assert task is not None, "made by the task that coroutines are begun for"
        self._task = task
        self._loop = asyncio.get_running_loop()
        # A copy: until Python 3.12 a task does not tell its own.
        self._context = copy_context()

    def can_begin(self) -> bool:
        """Tell whether no task is at work: true in what the event loop itself calls."""
        return asyncio.current_task(self._loop) is None

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> T | Rest[T]:
        """Run a coroutine as far as it gets without waiting. No task may be at work.

        Returns its result, or what is left of it, which is the task's to await: also when it
        failed, so that nothing is raised here.
        """
        context = self._context.copy()
        asyncio._enter_task(self._loop, self._task)  # noqa: SLF001 (asyncio, "Extending")
        try:
            awaited: Any = context.run(coroutine.send, cast("Any", None))
        except StopIteration as end:
            return cast("T", end.value)
        except BaseException as error:  # noqa: BLE001 (it is raised where the task awaits the rest)
            return Rest(coroutine, context, error=error)
        finally:
            asyncio._leave_task(self._loop, self._task)  # noqa: SLF001 (as above)
        # Others may await the same future before the task does.
        _mark(awaited, is_handed_on=False)
        return Rest(coroutine, context, awaited=awaited)


def _mark(awaited: object, *, is_handed_on: bool) -> None:
    """Set what says that a future is on its way from `await` to the task that is to wait for it."""
    if asyncio.isfuture(awaited):
        awaited._asyncio_future_blocking = is_handed_on  # noqa: SLF001 (what `isfuture` looks for)
