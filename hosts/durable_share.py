"""This host's part of one lane of durable jobs: what it takes, and its signs of life for that.

Which lanes it takes part in is decided by `hosts.durable_worker`, what becomes of a job by
`hosts.durable_attempt`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.durable_attempt import Attempt, Workplace
from lattice.bus.durable import Lane, Pulling, Taken
from lattice.errors import InvalidError, LatticeError

SLOTS = 32
"""Jobs of one lane that this host holds at once: enough that a short one does not wait for the
server, few enough that other hosts get theirs."""

IDLE_S = 20.0
"""Seconds without a job after which a lane is left until one is stored for it."""

log = logging.getLogger(__name__)


class Share:
    """See the module."""

    def __init__(
        self,
        place: Workplace,
        lane: Lane,
        attempts: dict[str, Attempt],
        is_closing: Callable[[], bool],
    ) -> None:
        """Take part in nothing yet. What runs is noted in `attempts`, by job."""
        self._place = place
        self._lane = lane
        self._attempts = attempts
        self._is_closing = is_closing
        self._held: dict[str, Taken] = {}
        self._pulling: Pulling | None = None
        self._changed = anyio.Event()
        self._is_left = False

    async def hold(self, *, task_status: TaskStatus[None]) -> None:
        """Keep the share while something is held, also after no more is taken."""
        async with self._place.jobs.pull(self._lane) as self._pulling:
            task_status.started()
            while self._held or not self._is_left:
                self._changed = anyio.Event()
                with anyio.move_on_after(self._lane.ack_wait_s / 3):
                    await self._changed.wait()
                for taken in tuple(self._held.values()):
                    try:
                        await self._pulling.working(taken)
                    except LatticeError as error:
                        log.info("sign of life for %s: %s", taken.record.subject, error)

    async def take(self, running: TaskGroup) -> None:
        """Take jobs and start them, until the lane has been empty for `IDLE_S`.

        Raises:
            LatticeError: the lane cannot be read.
        """
        pulling = self._pulling
        assert pulling is not None, "the share is held"
        await pulling.ask(1 if self._lane.is_ordered else SLOTS)
        while True:
            taken: Taken | None = None
            with anyio.move_on_after(IDLE_S):
                taken = await pulling.next()
            if taken is not None:
                self._held[taken.token] = taken
                running.start_soon(self._carry_out, pulling, taken)
            elif not self._held and await pulling.is_empty():
                return

    async def leave(self) -> bool:
        """Take no more, give back what came and was not begun, and tell whether there was any."""
        late: Sequence[Taken] = ()
        try:
            if self._pulling is not None:
                late = await self._pulling.stop()
                for taken in late:
                    await self._put_back(self._pulling, taken)
        finally:
            self._is_left = True
            self._changed.set()
        return bool(late)

    async def _carry_out(self, pulling: Pulling, taken: Taken) -> None:
        attempt: Attempt | None = None
        try:
            attempt = Attempt(self._place, pulling, taken, self._is_closing)
            self._attempts[attempt.id] = attempt
            await attempt.carry_out()
        except InvalidError as error:
            # Nobody could ever name it, and it would come again for ever.
            log.warning("message at %s is removed: %s", taken.record.subject, error)
            await self._remove(taken)
        except LatticeError as error:
            log.warning("durable job at %s: %s", taken.record.subject, error)
        except Exception:  # the top of a task; the job is delivered again
            log.exception("durable job at %s", taken.record.subject)
        finally:
            if attempt is not None and self._attempts.get(attempt.id) is attempt:
                del self._attempts[attempt.id]
            del self._held[taken.token]
            if self._is_left:
                self._changed.set()
        if not self._is_left:
            await pulling.ask(1)

    async def _put_back(self, pulling: Pulling, taken: Taken) -> None:
        try:
            await Attempt(self._place, pulling, taken, self._is_closing).put_back()
        except InvalidError:
            await self._remove(taken)

    async def _remove(self, taken: Taken) -> None:
        try:
            await self._place.jobs.remove(taken.record.sequence)
        except LatticeError as error:
            log.info("message at %s: %s", taken.record.subject, error)
