"""How long a leader rests from one plan to the next, so that it answers reports meanwhile.

It measures how long plans take; it neither makes them nor decides what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lattice.clock import Clock

PLAN_GAP_S = 0.05
"""Least time between two plans: changes that come together are planned together."""

PLAN_SHARE = 4
"""Of its time a leader spends one part in so many on plans, at most: a thousand hosts that adopt
their targets are a thousand reasons for another plan, while their reports wait for an answer."""


class Resting:
    """The pace of one leader's plans."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s = 0.0

    @property
    def wait_s(self) -> float:
        """Return the seconds until a plan that is wanted now should be made."""
        return max(PLAN_GAP_S, self._until_s - self._clock.monotonic_s())

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Yield whether a plan may be made now; as long as the context takes, times `PLAN_SHARE`
        less one, none may be made after it.
        """
        began_s = self._clock.monotonic_s()
        may_plan = began_s >= self._until_s
        yield may_plan
        if may_plan:
            ended_s = self._clock.monotonic_s()
            self._until_s = ended_s + (ended_s - began_s) * (PLAN_SHARE - 1)
