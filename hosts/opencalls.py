"""The calls of a replica that wait: who stops it waits for their end, or ends them.

A call that never lets go of the event loop is over before anybody could ask for it, so it is not
noted at all: that costs more than a short call of a guest takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any, TypeVar

import anyio

from hosts.eager import go_on
from lattice.errors import LatticeError

T = TypeVar("T")


class OpenCalls:
    """Calls that have begun and wait for something."""

    def __init__(self) -> None:
        self._waiting: set[_Waiting] = set()
        self._named: dict[str, _Waiting] = {}
        self._idle: anyio.Event | None = None  # while somebody waits for the last of them

    @coroutine
    def run(
        self,
        work: Awaitable[T],
        ended: Callable[[], LatticeError],
        name: str = "",
        caller: str = "",
    ) -> Generator[Any, Any, T]:
        """Return what a call returns; it is among the open ones while it waits.

        With a `name` that no other open call has, `end` ends this one. `callers` tells its `caller`
        then.

        Raises:
            LatticeError: what `ended` returns, when `end` or `end_all` ended it.
        """
        steps = work.__await__()
        try:
            awaited = next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        call = _Waiting(self._waiting, self._named, name, caller)
        call.begin()
        try:
            return (yield from go_on(steps, awaited))
        except asyncio.CancelledError:
            if call.was_ended():
                raise ended() from None
            raise
        finally:
            call.forget()
            if self._idle is not None and not self._waiting:
                self._idle.set()

    async def done(self) -> None:
        """Return when none is open."""
        while self._waiting:
            self._idle = anyio.Event()
            await self._idle.wait()

    def end(self, name: str) -> bool:
        """End the call of a name; False: none is open."""
        call = self._named.get(name)
        if call is not None:
            call.end()
        return call is not None

    def callers(self) -> dict[str, str]:
        """Return the callers of open calls that have one, by the names of the calls."""
        return {name: call.caller for name, call in self._named.items() if call.caller}

    def end_all(self) -> None:
        """End those that are open; their callers are told."""
        for call in tuple(self._waiting):
            call.end()


class _Waiting:
    """One call, and the task that it waits in."""

    __slots__ = ("_all", "_cancelled_before", "_is_ended", "_name", "_named", "_task", "caller")

    def __init__(
        self, all_: set[_Waiting], named: dict[str, _Waiting], name: str, caller: str
    ) -> None:
        self.caller = caller
        self._all = all_
        self._named = named
        self._name = name
        self._is_ended = False
        self._cancelled_before = 0
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """Note that the call waits."""
        self._task = asyncio.current_task()
        assert self._task is not None, "only a task waits"
        self._cancelled_before = self._task.cancelling()
        self._all.add(self)
        if self._name:
            self._named.setdefault(self._name, self)

    def forget(self) -> None:
        """Note that the call is over."""
        self._all.discard(self)
        if self._name and self._named.get(self._name) is self:
            del self._named[self._name]

    def end(self) -> None:
        """Have the call raise `CancelledError` where it waits."""
        if self._task is not None and not self._is_ended:
            self._is_ended = True
            self._task.cancel()

    def was_ended(self) -> bool:
        """Tell whether `end` alone cancelled the task: then the task goes on."""
        if not self._is_ended or self._task is None:
            return False
        # Somebody else may have cancelled it as well: that comes first.
        return self._task.uncancel() <= self._cancelled_before
