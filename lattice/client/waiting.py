"""Methods of asynchronous objects as ones that wait: what the client that waits is made of.

An event loop in a thread carries them out; this module knows none of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial, update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import anyio
from anyio.from_thread import BlockingPortal

from lattice.errors import UnavailableError

P = ParamSpec("P")
T = TypeVar("T")

AHEAD_MAX = 64
"""Events or log lines that are fetched before they are asked for."""

CLOSING_S = 5.0
"""Seconds in which what yields them must end: unsubscribing takes milliseconds."""


class blocking(Generic[P, T]):  # noqa: N801 - stands where a decorator would
    """A method of the client as one that waits: same arguments, same result, same errors."""

    def __init__(self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__wrapped__ = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Facade]) -> blocking[P, T]: ...

    @overload
    def __get__(self, owner: Facade, kind: type[Facade]) -> Callable[P, T]: ...

    def __get__(self, owner: Facade | None, kind: type[Facade]) -> Callable[P, T] | blocking[P, T]:
        """Return the method of one client."""
        if owner is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return owner.loop.wait_for(partial(self._method, owner.behind, *args, **kwargs))

        return update_wrapper(method, self._method)


class iterating(Generic[P, T]):  # noqa: N801 - stands where a decorator would
    """A method of the client that yields, as one whose iterator waits for each next value."""

    def __init__(self, method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> None:
        self._method = method
        self.__wrapped__ = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Facade]) -> iterating[P, T]: ...

    @overload
    def __get__(self, owner: Facade, kind: type[Facade]) -> Callable[P, Iterator[T]]: ...

    def __get__(
        self, owner: Facade | None, kind: type[Facade]
    ) -> Callable[P, Iterator[T]] | iterating[P, T]:
        """Return the method of one client."""
        if owner is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return owner.loop.iterate(partial(self._method, owner.behind, *args, **kwargs))

        return update_wrapper(method, self._method)


class Loop:
    """The event loop that works, and what waits for it. Several threads may use it."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._pumping: set[_Job[None]] = set()
        self._is_closed = False

    def wait_for(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what a coroutine function on the client's loop returns.

        An exception while waiting, such as KeyboardInterrupt, cancels it.

        Raises:
            UnavailableError: the client is closed, or is closed meanwhile.
        """
        job = _Job(ask)
        try:
            return self._start(job.run).result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            self._end(job)
            raise

    def iterate(self, ask: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Yield what an asynchronous iterator yields; leaving the loop over it ends it."""
        pump = _Pump(ask)
        job = _Job(pump.run)
        self._pumping.add(job)
        try:
            self._start(job.run)
            while values := self.wait_for(pump.some):
                yield from values
        finally:
            self._pumping.discard(job)
            self._end(job)

    def entered(self, context: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Return a context manager that enters and leaves another one on the client's loop.

        Raises:
            UnavailableError: the client is closed.
        """
        if self._is_closed:
            raise _closed()
        return self._portal.wrap_async_context_manager(context)

    def close(self) -> None:
        """Have nothing more done, and end what yields values; the portal is its owner's to end."""
        for job in tuple(self._pumping):
            self._end(job)
        self._is_closed = True

    def _start(self, ask: Callable[[], Awaitable[T]]) -> Future[T]:
        if self._is_closed:
            raise _closed()
        return self._portal.start_task_soon(ask)

    def _end(self, job: _Job[Any]) -> None:
        if not self._is_closed:
            self._portal.start_task_soon(job.cancel)


class _Job(Generic[T]):
    """A coroutine that can be cancelled before it is known whether it was started."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._scope: anyio.CancelScope | None = None
        self._is_cancelled = False

    async def run(self) -> T:
        """Return what the coroutine returns. `Raises:` CancelledError, too."""
        with anyio.CancelScope() as self._scope:
            if self._is_cancelled:
                self._scope.cancel()
            return await self._ask()
        raise CancelledError

    def cancel(self) -> None:
        """Cancel it, on the loop; if it is over, this has no effect."""
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()


class Facade:
    """An asynchronous object whose methods wait; they are named one by one in a subclass."""

    def __init__(self, behind: Any, loop: Loop) -> None:
        self.behind = behind
        """The object that does the work; it belongs to the loop."""
        self.loop = loop


class _Pump(Generic[T]):
    """Runs an asynchronous iterator in one task, as it wants, and hands out what it yields."""

    def __init__(self, ask: Callable[[], AsyncIterator[T]]) -> None:
        self._ask = ask
        self._values: list[T] = []
        self._error: Exception | None = None
        self._is_over = False
        self._more: anyio.Event | None = None  # set when there are values, or no more will come
        self._room: anyio.Event | None = None  # set when values were taken

    async def run(self) -> None:
        """Fetch values until there are none; at most `AHEAD_MAX` wait."""
        iterator = self._ask()
        try:
            async for value in iterator:
                self._values.append(value)
                _set(self._more)
                while len(self._values) >= AHEAD_MAX:
                    self._room = anyio.Event()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - raised again where the values are taken
            self._error = error
        finally:
            self._is_over = True
            _set(self._more)
            if isinstance(iterator, AsyncGenerator):
                with anyio.move_on_after(CLOSING_S, shield=True):
                    await iterator.aclose()

    async def some(self) -> list[T]:
        """Return the values that are there, at least one; none at the end."""
        while not self._values and not self._is_over:
            self._more = anyio.Event()
            await self._more.wait()
        taken, self._values = self._values, []
        _set(self._room)
        if not taken and self._error is not None:
            raise self._error
        return taken


def _set(event: anyio.Event | None) -> None:
    if event is not None:
        event.set()


def _closed() -> UnavailableError:
    return UnavailableError("the client is closed")
