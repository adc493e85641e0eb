"""Holds a call until the dispatch core admits it: the shell around `hosts.dispatch`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import anyio

from hosts.dispatch import RETRY_AFTER_MS, Dispatch
from lattice.errors import DeadlineExceededError, OverloadedError


class Gate:
    """Admission to one replica's program or service."""

    def __init__(self, name: str, *, concurrency: int, queue: int) -> None:
        self.name = name
        """Whose admission it is, for messages; also which queue was full."""
        self._dispatch = Dispatch(concurrency, queue)
        self._admitted: dict[int, anyio.Event] = {}
        self._ids = count()

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait now."""
        return len(self._dispatch.running) + len(self._dispatch.waiting)

    @property
    def waiting(self) -> int:
        """Return how many calls wait now."""
        return len(self._dispatch.waiting)

    @asynccontextmanager
    async def entry(self, *, deadline_s: float) -> AsyncIterator[None]:
        """Hold a place while the block runs; waits in arrival order for at most `deadline_s`.

        Cancelling gives the place back.

        Raises:
            OverloadedError: the queue is full.
            DeadlineExceededError: no place came free in time; the call was not started.
        """
        call = next(self._ids)
        admission = self._dispatch.arrive(call)
        if admission == "refuse":
            raise OverloadedError(
                f"{self.name} is full: {len(self._dispatch.running)} calls run, "
                f"{len(self._dispatch.waiting)} wait, raise limits.queue or replicas",
                retry_after_ms=RETRY_AFTER_MS,
                full=self.name,
            )
        try:
            if admission == "wait":
                await self._wait(call, deadline_s)
            yield
        finally:
            self.leave(call)

    def try_enter(self) -> int | None:
        """Take a place that is free now and return its number for `leave`, None without one."""
        call = next(self._ids)
        return call if self._dispatch.start(call) else None

    def leave(self, call: int) -> None:
        """Give back a place, and admit those who waited for it."""
        if self._admitted:
            self._admitted.pop(call, None)
        for admitted in self._dispatch.leave(call):
            self._admitted.pop(admitted).set()

    async def _wait(self, call: int, deadline_s: float) -> None:
        admitted = self._admitted[call] = anyio.Event()
        with anyio.move_on_after(deadline_s):
            await admitted.wait()
        if not admitted.is_set():
            raise DeadlineExceededError(
                f"{self.name} had no free place within {deadline_s:.3f} s; the call was not started"
            )
