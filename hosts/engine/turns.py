"""Shares the event loop between guests that spin and everybody else.

The `Ticker` interrupts a guest that runs for long: at each tick the epoch advances, and a guest
that passes its epoch deadline yields. `Turns` then lets the yielded guests continue one by one,
one for each turn of the loop, so that any number of spinning guests delays a timer by little more
than one tick. Neither knows wasmtime nor what a guest is.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

TICK_S = 0.005
"""Time between epochs: the longest that one guest holds the loop is about two ticks."""

IDLE_TICKS = 20
"""Ticks without a guest running after which the ticker parks; waking it costs a few us."""

CLOSE_WAIT_S = 5.0
"""How long closing waits for the ticker's thread, which wakes once each tick."""


class Ticker:
    """A thread that advances the epoch while guests run, and sleeps when none does."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance
        self.epoch = 0
        """How often the epoch advanced: while it is the same, a deadline need not be set again."""
        # Whoever runs guests sets these two itself on its hot path; `enter` and `leave` say how.
        self.is_running = False  # a guest runs at this moment
        self.was_running = False  # one ran since the last tick
        self.is_parked = True
        """Whether no epoch advances because no guest ran lately."""
        self._unparked = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """Note that a guest starts to run on this thread, and see that epochs advance."""
        self.is_running = True
        if self.is_parked:
            self.unpark()

    def leave(self) -> None:
        """Note that the guest has stopped running."""
        self.is_running = False
        self.was_running = True

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._closed.set()
        self._unparked.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT_S)

    def unpark(self) -> None:
        """See that epochs advance."""
        self.is_parked = False
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._tick, name="lattice-epoch-ticker", daemon=True
            )
            self._thread.start()
        self._unparked.set()

    def _tick(self) -> None:
        idle = 0
        while not self._closed.wait(TICK_S):
            self._advance()
            self.epoch += 1
            idle = 0 if self.is_running or self.was_running else idle + 1
            self.was_running = False
            if idle < IDLE_TICKS:
                continue
            self._unparked.clear()
            self.is_parked = True
            # A guest that entered just before this line has not seen that the ticker parks.
            if self.is_running or self.was_running:
                self.is_parked = False
            else:
                self._unparked.wait()
            idle = 0


class Turns:
    """The queue of guests that wait to run on, woken ones before those that merely yielded.

    Belongs to the event loop that runs; one that ended with guests waiting leaves nothing behind.
    """

    def __init__(self) -> None:
        self._woken: deque[asyncio.Future[None]] = deque()
        self._yielded: deque[asyncio.Future[None]] = deque()
        self._scheduled_on: asyncio.AbstractEventLoop | None = None
        self.is_spent = False
        """Whether a guest has used up this turn of the loop; who finds it so waits."""

    def spend(self) -> None:
        """Note that a guest used up this turn of the loop."""
        self.is_spent = True
        self._schedule()

    async def wait(self, *, is_woken: bool) -> None:
        """Return when the caller's guest may run. Cancelling leaves the queue."""
        queue = self._woken if is_woken else self._yielded
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        queue.append(place)
        while True:
            self._schedule()
            await place
            if not self.is_spent:
                return
            # Somebody was quicker in this turn: first in the next.
            place = loop.create_future()
            queue.appendleft(place)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._scheduled_on is not loop:
            self._scheduled_on = loop
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.is_spent = False
        self._scheduled_on = None
        while self._woken:
            _release(self._woken.popleft())
        while self._yielded and not _release(self._yielded.popleft()):
            pass
        if self._yielded:
            self._schedule()


def _release(place: asyncio.Future[None]) -> bool:
    """Let a waiting guest go on; False when it has left the queue meanwhile."""
    if place.done():
        return False
    place.set_result(None)
    return True
