"""The calls of a replica that wait: who stops it waits for their end, or ends them.

A call that never lets go of the event loop is over before anybody could ask for it, so it is not
noted at all: that costs more than a short call of a guest takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from hosts.eager import noticing
from lattice.errors import LatticeError

T = TypeVar("T")


class OpenCalls:
    """Calls that have begun and wait for something."""

    def __init__(self) -> None:
        self._waiting: set[_Waiting] = set()
        self._idle: anyio.Event | None = None  # while somebody waits for the last of them

    async def run(self, work: Awaitable[T], ended: Callable[[], LatticeError]) -> T:
        """Return what a call returns; it is among the open ones while it waits.

        Raises:
            LatticeError: what `ended` returns, when `end_all` ended it.
        """
        call = _Waiting(self._waiting)
        try:
            return await noticing(work, call.begin)
        except asyncio.CancelledError:
            if call.was_ended():
                raise ended() from None
            raise
        finally:
            self._waiting.discard(call)
            if self._idle is not None and not self._waiting:
                self._idle.set()

    async def done(self) -> None:
        """Return when none is open."""
        while self._waiting:
            self._idle = anyio.Event()
            await self._idle.wait()

    def end_all(self) -> None:
        """End those that are open; their callers are told."""
        for call in tuple(self._waiting):
            call.end()


class _Waiting:
    """One call, and the task that it waits in."""

    __slots__ = ("_all", "_cancelled_before", "_is_ended", "_task")

    def __init__(self, all_: set[_Waiting]) -> None:
        self._all = all_
        self._is_ended = False
        self._cancelled_before = 0
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """Note that the call waits."""
        self._task = asyncio.current_task()
        assert self._task is not None, "only a task waits"
        self._cancelled_before = self._task.cancelling()
        self._all.add(self)

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
