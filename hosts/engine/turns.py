"""Shares the event loop between guests that spin and everybody else.

The `Ticker` interrupts a guest that runs for long: at each tick the epoch advances, and a guest
that passes its epoch deadline yields. One that ran for a whole tick before is also interrupted as
soon as I/O waits for the loop; ordinary calls are not, which are over sooner than that is done.
`Turns` then lets the yielded guests continue one by one, when nothing else waits for the loop, so
that any number of spinning guests delays a timer by little more than one tick, and an answer to
somebody else by much less. Neither knows wasmtime nor what a guest is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from hosts.engine.loopwatch import LoopWatch

TICK_S = 0.005
"""Time between epochs: the longest that one guest holds the loop is about two ticks."""

IDLE_TICKS = 20
"""Ticks without a guest running after which the ticker parks; waking it costs a few us."""

ALERT_TICKS = 20
"""Ticks for which the loop is watched after a guest was seen running at a tick."""

EPOCHS_MAX = 2
"""Epochs that a guest may run before it first yields: at least one whole tick. None has more."""

SETTLE_S = 0.0003
"""Time that the loop has to take what waits before a guest is interrupted again, and with that
the least that a guest runs between two interruptions."""

SUSPECT_S = 0.0001
"""How long a guest runs that is suspect before it is taken for one that runs for long again."""

PATIENCE_S = 0.005
"""How long a guest that yielded waits for others at most; then it has a whole tick for itself."""

QUIET_PASSES = 2
"""Turns of the loop without another callback after which nothing waits: the second has looked for
I/O after the first."""

CLOSE_WAIT_S = 5.0
"""How long closing waits for the ticker's thread, which wakes once each tick."""


class Ticker:
    """A thread that advances the epoch while guests run, and sleeps when none does."""

    def __init__(
        self, advance: Callable[[], None], runs_suspect: Callable[[], bool] = lambda: False
    ) -> None:
        """Advance the epoch by `advance`; `runs_suspect` tells whether who runs may run for long.

        Both are called on the ticker's thread.
        """
        self._advance = advance
        self._runs_suspect = runs_suspect
        self.epoch = 0
        """How often the epoch advanced: while it is the same, a deadline need not be set again."""
        # Whoever runs guests sets these two itself on its hot path; `enter` and `leave` say how.
        self.is_running = False  # a guest runs at this moment
        self.was_running = False  # one ran since the last tick
        self.is_wanted = False
        """The loop is wanted: who yields now has had its turn."""
        self._is_long = False  # the one that runs ran for long before
        self._is_owed = False  # it has waited, and keeps its tick to itself
        self.is_parked = True
        """Whether no epoch advances because no guest ran lately."""
        self._unparked = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch: LoopWatch | None = None

    def enter(self) -> None:
        """Note that a guest starts to run on this thread, and see that epochs advance."""
        self.is_running = True
        if self.is_parked:
            self.unpark()

    def leave(self) -> None:
        """Note that the guest has stopped running."""
        self.is_running = False
        self.was_running = True

    def begin_turn(self, *, is_long: bool, is_owed: bool) -> None:
        """Note whether the guest that runs next ran for long before, and whether it is owed a tick.

        Until `end_turn`; a guest of which nothing is noted is one that has not run yet.
        """
        self._is_long, self._is_owed, self.is_wanted = is_long, is_owed, False

    def end_turn(self) -> None:
        """Forget what was noted."""
        self._is_long = self._is_owed = False

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._closed.set()
        self._unparked.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT_S)

    def unpark(self) -> None:
        """See that epochs advance."""
        self.is_parked = False
        self._watch = LoopWatch.of_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._tick, name="lattice-epoch-ticker", daemon=True
            )
            self._thread.start()
        self._unparked.set()

    def _tick(self) -> None:
        idle = alert = 0
        while not self._closed.is_set():
            if alert and self._watch is not None and self._watch.can_wait:
                self._watch_for_a_tick(self._watch)
            else:
                self._closed.wait(TICK_S)
            self._advance()
            self.epoch += 1
            alert = ALERT_TICKS if self.is_running else max(0, alert - 1)
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

    def _watch_for_a_tick(self, watch: LoopWatch) -> None:
        """Pass a tick, and interrupt a guest that runs for long whenever I/O waits for the loop."""
        end_s = time.monotonic() + TICK_S
        while (left_s := end_s - time.monotonic()) > 0:
            if not watch.wait(left_s):
                self._closed.wait(max(0.0, end_s - time.monotonic()))
                return
            if self._runs_long() and not self._is_owed:
                self.is_wanted = True
                for _ in range(EPOCHS_MAX):  # whatever its deadline is
                    self._advance()
                    self.epoch += 1
            time.sleep(SETTLE_S)

    def _runs_long(self) -> bool:
        """Tell whether a guest runs that did so for long before, or may, and does since a while."""
        if self._is_long or not self._runs_suspect():
            return self.is_running and self._is_long
        was_running, self.was_running = self.was_running, False
        time.sleep(SUSPECT_S)
        has_ended, is_running = self.was_running, self.is_running
        self.was_running |= was_running
        return is_running and not has_ended


class Turns:
    """The queue of guests that wait to run on, woken ones before those that merely yielded.

    Belongs to the event loop that runs; one that ended with guests waiting leaves nothing behind.
    """

    def __init__(self) -> None:
        self._woken: deque[asyncio.Future[None]] = deque()
        self._yielded: deque[asyncio.Future[None]] = deque()
        self._scheduled_on: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # which `_watch` watches
        self.is_spent = False
        """Whether a guest has used up this turn of the loop; who finds it so waits."""
        self._is_owed = False
        self._watch: LoopWatch | None = None
        self._quiet_passes = 0
        self._refused_s: float | None = None  # when those that yielded were first kept waiting

    def spend(self) -> None:
        """Note that a guest used up this turn of the loop."""
        self.is_spent = True
        self._schedule()

    def take_owed(self) -> bool:
        """Tell, once, whether the guest that was let go on last had waited for `PATIENCE_S`."""
        is_owed, self._is_owed = self._is_owed, False
        return is_owed

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
            if self._loop is not loop:
                self._loop, self._watch = loop, LoopWatch(loop)
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.is_spent = False
        self._scheduled_on = None
        while self._woken:
            _release(self._woken.popleft())
        if self._yielded and self._is_their_turn():
            while self._yielded and not _release(self._yielded.popleft()):
                pass
        if self._yielded:
            self._schedule()

    def _is_their_turn(self) -> bool:
        """Tell whether a guest that yielded may go on: nobody else waits, or it waited long."""
        now_s = time.monotonic()
        self._quiet_passes += 1
        if self._watch is not None and not self._watch.is_quiet:
            self._quiet_passes = 0
        if self._refused_s is None:
            self._refused_s = now_s
        self._is_owed = now_s - self._refused_s >= PATIENCE_S
        if self._quiet_passes < QUIET_PASSES and not self._is_owed:
            return False
        self._quiet_passes, self._refused_s = 0, None
        return True


def _release(place: asyncio.Future[None]) -> bool:
    """Let a waiting guest go on; False when it has left the queue meanwhile."""
    if place.done():
        return False
    place.set_result(None)
    return True
